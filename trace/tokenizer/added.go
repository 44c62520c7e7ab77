package tokenizer

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// addedToken is a token outside the byte pair encoding, such as <s>. Its content is
// matched in a text before the text is tokenized.
type addedToken struct {
	ID         int    `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"` // does not match within a word
	LStrip     bool   `json:"lstrip"`      // the match includes white space before it
	RStrip     bool   `json:"rstrip"`      // the match includes white space after it
	Special    bool   `json:"special"`
	Normalized *bool  `json:"normalized"` // its normalized content is matched in normalized text; nil: !Special
}

// normalized reports whether the token is matched in normalized text.
func (t *addedToken) normalized() bool { return or(t.Normalized, !t.Special) }

// addedTokens are the added tokens of a file. Tokens that are matched in the original text are
// found first; the others are then found in the normalized text between them.
type addedTokens struct {
	byID            map[int]*addedToken
	raw, normalized tokenFinder
	last            int // the largest id, or −1
}

// tokenFinder has the strings to find in a text, by their first byte; in each bucket the
// longest come first.
type tokenFinder map[byte][]sought

// sought is a string to find in a text, and its token.
type sought struct {
	content string
	token   *addedToken
}

func newAddedTokens(tokens []addedToken, v *vocabulary, normalize normalizer) (addedTokens, error) {
	a := addedTokens{byID: map[int]*addedToken{}, last: -1}
	for i := range tokens {
		t := &tokens[i]
		if t.Content == "" {
			return a, fmt.Errorf("%d: content: empty", i)
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
		a.last = max(a.last, t.ID)
		if !t.normalized() {
			a.raw.add(t.Content, t)
			continue
		}
		content, err := normalize(t.Content)
		if err != nil {
			return a, fmt.Errorf("%d: content: normalizer: %w", i, err)
		}
		a.normalized.add(content, t)
	}
	a.raw.sort()
	a.normalized.sort()
	return a, nil
}

// add adds a token to be found where content occurs.
func (f *tokenFinder) add(content string, t *addedToken) {
	if content == "" {
		return
	}
	if *f == nil {
		*f = tokenFinder{}
	}
	(*f)[content[0]] = append((*f)[content[0]], sought{content, t})
}

// sort sorts the buckets; it must be called before the finder is used.
func (f tokenFinder) sort() {
	for _, bucket := range f {
		slices.SortStableFunc(bucket, func(a, b sought) int { return len(b.content) - len(a.content) })
	}
}

func (a *addedTokens) size() int { return a.last + 1 }

// segment is an added token, or text without added tokens.
type segment struct {
	token *addedToken
	text  string
	first bool // it is at the beginning of the text that was split
}

// split finds the added tokens of a text from left to right, at each position the
// longest match.
func (f tokenFinder) split(text string) []segment {
	var out []segment
	begin := 0
	keep := func(from, to int) {
		if from < to {
			out = append(out, segment{text: text[from:to], first: from == 0})
		}
	}
	for i := 0; i < len(text); {
		found, ok := f.at(text[i:])
		if !ok {
			i++
			continue
		}
		t := found.token
		before, after := i, i+len(found.content)
		if t.SingleWord && (endsWithWord(text[:before]) || beginsWithWord(text[after:])) {
			i = after // matches do not overlap
			continue
		}
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

// at returns the longest string that text begins with, and whether there is one.
func (f tokenFinder) at(text string) (sought, bool) {
	for _, s := range f[text[0]] {
		if strings.HasPrefix(text, s.content) {
			return s, true
		}
	}
	return sought{}, false
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
