package tokenizer

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// addedToken is a token outside the byte pair encoding, such as <s>. Its content is
// matched in a text before the text is tokenized.
type addedToken struct {
	ID         int    `json:"-"` // see newAddedTokens
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"` // does not match within a word
	LStrip     bool   `json:"lstrip"`      // the match includes white space before it
	RStrip     bool   `json:"rstrip"`      // the match includes white space after it
	Special    bool   `json:"special"`
	Normalized *bool  `json:"normalized"` // its normalized content is matched in normalized text; nil: !Special

	matched string // the content that is matched: normalized, if Normalized
}

// normalized reports whether the token is matched in normalized text.
func (t *addedToken) normalized() bool { return or(t.Normalized, !t.Special) }

// addedTokens are the added tokens of a file. Tokens that are matched in the original text are
// found first; the others are then found in the normalized text between them.
type addedTokens struct {
	byID            map[int]*addedToken
	ids             map[string]int // by their content
	raw, normalized tokenFinder
	last            int // the largest id, or −1
}

// tokenFinder has the tokens to find in a text, by their first byte; in each bucket the
// longest come first.
type tokenFinder map[byte][]*addedToken

// newAddedTokens numbers the tokens as the tokenizers library does: those of the vocabulary have
// its numbers, and the others follow it in the order of the file. The library ignores an "id"
// that says otherwise.
func newAddedTokens(tokens []addedToken, v *vocabulary, normalize normalizer) (addedTokens, error) {
	a := addedTokens{byID: map[int]*addedToken{}, ids: map[string]int{}, last: -1}
	next := len(v.ids)
	for i := range tokens {
		t := &tokens[i]
		if t.Content == "" {
			return a, fmt.Errorf("%d: content: empty", i)
		}
		id, known := a.ids[t.Content]
		if !known {
			id, known = v.ids[t.Content]
		}
		if !known {
			id = next
			next++
		}
		t.matched = t.Content
		if t.normalized() {
			var err error
			if t.matched, err = normalize(t.Content); err != nil {
				return a, fmt.Errorf("%d: content: normalizer: %w", i, err)
			}
		}
		t.ID = id
		a.byID[id], a.ids[t.Content] = t, id
		a.last = max(a.last, id)
	}
	for _, t := range a.byID {
		finder := &a.raw
		if t.normalized() {
			finder = &a.normalized
		}
		finder.add(t)
	}
	a.raw.sort()
	a.normalized.sort()
	return a, nil
}

// add adds a token to be found where t.matched occurs.
func (f *tokenFinder) add(t *addedToken) {
	if t.matched == "" {
		return
	}
	if *f == nil {
		*f = tokenFinder{}
	}
	(*f)[t.matched[0]] = append((*f)[t.matched[0]], t)
}

// sort sorts the buckets; it must be called before the finder is used.
func (f tokenFinder) sort() {
	for _, bucket := range f {
		slices.SortFunc(bucket, func(a, b *addedToken) int {
			return cmp.Or(len(b.matched)-len(a.matched), a.ID-b.ID)
		})
	}
}

func (a *addedTokens) size() int { return a.last + 1 }

// segment is an added token, or text without added tokens.
type segment struct {
	token *addedToken
	text  string
	first bool // it is at the beginning of the text that was split
}

// split finds the added tokens of a text from left to right, at each position the longest
// match. Matches do not overlap, but the white space that a match strips may have others.
func (f tokenFinder) split(text string) []segment {
	var out []segment
	begin := 0 // the end of the last match, white space included
	keep := func(from, to int) {
		if from < to {
			out = append(out, segment{text: text[from:to], first: from == 0})
		}
	}
	for i := 0; i < len(text); {
		t := f.at(text[i:])
		if t == nil {
			i++
			continue
		}
		before, after := i, i+len(t.matched)
		i = after
		if t.SingleWord && (endsWithWord(text[:before]) || beginsWithWord(text[after:])) {
			continue
		}
		if t.LStrip {
			before = max(begin, len(strings.TrimRightFunc(text[:before], unicode.IsSpace)))
		}
		if t.RStrip {
			after = len(text) - len(strings.TrimLeftFunc(text[after:], unicode.IsSpace))
		}
		keep(begin, before)
		if before < after { // otherwise the last match has stripped all of it
			out = append(out, segment{token: t})
		}
		begin = after
	}
	keep(begin, len(text))
	return out
}

// at returns the longest token that text begins with, or nil.
func (f tokenFinder) at(text string) *addedToken {
	for _, t := range f[text[0]] {
		if strings.HasPrefix(text, t.matched) {
			return t
		}
	}
	return nil
}

func beginsWithWord(text string) bool {
	r, size := utf8.DecodeRuneInString(text)
	return size > 0 && isWord(r)
}

func endsWithWord(text string) bool {
	r, size := utf8.DecodeLastRuneInString(text)
	return size > 0 && isWord(r)
}

// isWord reports whether r is a word character as Unicode defines \w for regular
// expressions (UTS #18).
func isWord(r rune) bool {
	return unicode.IsOneOf([]*unicode.RangeTable{
		unicode.L, unicode.Nl, unicode.Other_Alphabetic, unicode.M, unicode.Nd, unicode.Pc, unicode.Join_Control,
	}, r)
}
