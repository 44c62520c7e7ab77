package tokenizer

import (
	"fmt"
	"sort"
	"strings"
	"unicode"
)

// addedToken is a token outside of the vocabulary's byte pairs: where its content
// occurs in a text, it is that token, whatever stands around it.
type addedToken struct {
	ID         int    `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"` // takes the white space before it
	RStrip     bool   `json:"rstrip"` // takes the white space after it
	Special    bool   `json:"special"`
}

// addedTokens finds added tokens in a text.
type addedTokens struct {
	byID        map[int]*addedToken
	byFirstByte map[byte][]*addedToken // the longest first
	last        int                    // the largest id, or −1
}

func newAddedTokens(tokens []addedToken, v *vocabulary) (addedTokens, error) {
	a := addedTokens{byID: map[int]*addedToken{}, byFirstByte: map[byte][]*addedToken{}, last: -1}
	for i := range tokens {
		t := &tokens[i]
		if t.Content == "" {
			return a, fmt.Errorf("%d: content: empty", i)
		}
		if t.SingleWord {
			return a, fmt.Errorf("%d: %w", i, errUnsupported("single_word"))
		}
		if t.ID < 0 || t.ID > maxID {
			return a, fmt.Errorf("%d: id: %d is not between 0 and %d", i, t.ID, maxID)
		}
		if id, ok := v.ids[t.Content]; ok && id != t.ID {
			return a, fmt.Errorf("%d: id: %q has number %d in the vocabulary, not %d", i, t.Content, id, t.ID)
		}
		if other, ok := v.tokens[t.ID]; ok && other != t.Content {
			return a, fmt.Errorf("%d: id: %d is %q in the vocabulary, not %q", i, t.ID, other, t.Content)
		}
		if other := a.byID[t.ID]; other != nil && other.Content != t.Content {
			return a, fmt.Errorf("%d: id: %d is both %q and %q", i, t.ID, other.Content, t.Content)
		}
		a.byID[t.ID] = t
		a.byFirstByte[t.Content[0]] = append(a.byFirstByte[t.Content[0]], t)
		a.last = max(a.last, t.ID)
	}
	for _, bucket := range a.byFirstByte {
		sort.SliceStable(bucket, func(i, j int) bool { return len(bucket[i].Content) > len(bucket[j].Content) })
	}
	return a, nil
}

func (a *addedTokens) size() int { return a.last + 1 }

// segment is an added token, or text without any.
type segment struct {
	token *addedToken
	text  string
	first bool // the text that was split begins with it
}

// split finds the added tokens of a text: from the left, at each place the
// longest that fits.
func (a *addedTokens) split(text string) []segment {
	var out []segment
	begin := 0
	keep := func(from, to int) {
		if from < to {
			out = append(out, segment{text: text[from:to], first: from == 0})
		}
	}
	for i := 0; i < len(text); {
		t := a.at(text[i:])
		if t == nil {
			i++
			continue
		}
		before, after := i, i+len(t.Content)
		if t.LStrip {
			before = begin + len(strings.TrimRightFunc(text[begin:i], unicode.IsSpace))
		}
		if t.RStrip {
			after = len(text) - len(strings.TrimLeftFunc(text[after:], unicode.IsSpace))
		}
		keep(begin, before)
		out = append(out, segment{token: t})
		begin, i = after, after
	}
	keep(begin, len(text))
	return out
}

// at returns the longest added token that text begins with, or nil.
func (a *addedTokens) at(text string) *addedToken {
	for _, t := range a.byFirstByte[text[0]] {
		if strings.HasPrefix(text, t.Content) {
			return t
		}
	}
	return nil
}
