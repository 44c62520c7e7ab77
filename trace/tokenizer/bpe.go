package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"kvcompress/strictjson"
)

// modelFile is the model of a tokenizer.json.
type modelFile struct {
	Dropout      *float64       `json:"dropout"`
	UnkToken     *string        `json:"unk_token"`
	Prefix       *string        `json:"continuing_subword_prefix"`
	Suffix       *string        `json:"end_of_word_suffix"`
	FuseUnk      bool           `json:"fuse_unk"`
	ByteFallback bool           `json:"byte_fallback"`
	IgnoreMerges bool           `json:"ignore_merges"`
	Vocab        map[string]int `json:"vocab"`
	Merges       []mergeFile    `json:"merges"`
}

// mergeFile is a merge: "a b" in older files, ["a", "b"] in newer ones, since
// tokens may contain spaces.
type mergeFile [2]string

// UnmarshalJSON implements json.Unmarshaler.
func (m *mergeFile) UnmarshalJSON(data []byte) error {
	var pair []string
	if len(data) > 0 && data[0] == '"' {
		var joined string
		if err := json.Unmarshal(data, &joined); err != nil {
			return err
		}
		pair = strings.Split(joined, " ")
	} else if err := json.Unmarshal(data, &pair); err != nil {
		return fmt.Errorf("want two tokens, got %s", strictjson.Excerpt(data))
	}
	if len(pair) != 2 {
		return fmt.Errorf("a merge has two tokens, not %d: %s", len(pair), strictjson.Excerpt(data))
	}
	*m = mergeFile(pair)
	return nil
}

// vocabulary numbers tokens.
type vocabulary struct {
	ids    map[string]int
	tokens map[int]string
	last   int
}

func newVocabulary(ids map[string]int) (*vocabulary, error) {
	v := &vocabulary{ids: ids, tokens: make(map[int]string, len(ids)), last: -1}
	for token, id := range ids {
		if id < 0 || id > maxID {
			return nil, fmt.Errorf("%q: %d is not between 0 and %d", token, id, maxID)
		}
		if _, taken := v.tokens[id]; taken {
			return nil, fmt.Errorf("two tokens have number %d", id)
		}
		v.tokens[id] = token
		v.last = max(v.last, id)
	}
	return v, nil
}

func (v *vocabulary) size() int { return v.last + 1 }

// bytePairs is a byte pair encoding (Sennrich et al., arXiv 1508.07909): a piece
// is split into characters, and adjacent tokens are merged in the order of a list.
type bytePairs struct {
	vocab        *vocabulary
	merges       map[[2]int]mergeRule
	ignoreMerges bool    // a piece that is in the vocabulary becomes that token without merging
	byteFallback bool    // characters outside the vocabulary become byte tokens
	unknown      *string // the token of all other characters; if it is nil, they are omitted
	fuseUnknown  bool    // adjacent unknown characters become one token
}

// mergeRule is the token that two tokens merge into, and its rank. The lowest rank is
// merged first.
type mergeRule struct {
	id, rank int
}

func newBytePairs(f *modelFile) (*bytePairs, error) {
	switch {
	case f.Dropout != nil && *f.Dropout != 0:
		return nil, errUnsupported("dropout")
	case f.Prefix != nil && *f.Prefix != "":
		return nil, errUnsupported("continuing_subword_prefix")
	case f.Suffix != nil && *f.Suffix != "":
		return nil, errUnsupported("end_of_word_suffix")
	case len(f.Vocab) == 0:
		return nil, fmt.Errorf("vocab: empty")
	}
	vocab, err := newVocabulary(f.Vocab)
	if err != nil {
		return nil, fmt.Errorf("vocab: %w", err)
	}
	m := &bytePairs{
		vocab:        vocab,
		merges:       make(map[[2]int]mergeRule, len(f.Merges)),
		ignoreMerges: f.IgnoreMerges,
		byteFallback: f.ByteFallback,
		unknown:      f.UnkToken,
		fuseUnknown:  f.FuseUnk,
	}
	for rank, pair := range f.Merges {
		var ids [3]int
		for i, token := range [3]string{pair[0], pair[1], pair[0] + pair[1]} {
			id, ok := vocab.ids[token]
			if !ok {
				return nil, fmt.Errorf("merges: %d: %q is not in the vocabulary", rank, token)
			}
			ids[i] = id
		}
		m.merges[[2]int{ids[0], ids[1]}] = mergeRule{id: ids[2], rank: rank}
	}
	return m, nil
}

// encode appends the tokens of a piece to ids.
func (m *bytePairs) encode(ids []int, piece string) ([]int, error) {
	if m.ignoreMerges {
		if id, ok := m.vocab.ids[piece]; ok {
			return append(ids, id), nil
		}
	}
	symbols, err := m.symbols(piece)
	if err != nil {
		return nil, err
	}
	merged := mergePairs(symbols, func(a, b int) (id int, rank float64, ok bool) {
		rule, ok := m.merges[[2]int{a, b}]
		return rule.id, float64(rule.rank), ok
	})
	return append(ids, merged...), nil
}

// symbols returns the token of each character of a piece. As in the tokenizers library, the
// token of an unknown character is written at the next one that is unknown too or in the
// vocabulary, so byte tokens between them come first.
func (m *bytePairs) symbols(piece string) ([]int, error) {
	symbols := make([]int, 0, len(piece))
	pending := false // an unknown token is not written yet
	write := func() error {
		if !pending {
			return nil
		}
		id, ok := m.vocab.ids[*m.unknown]
		if !ok {
			return fmt.Errorf("model: unk_token: %q is not in the vocabulary", *m.unknown)
		}
		symbols, pending = append(symbols, id), false
		return nil
	}
	for len(piece) > 0 {
		_, size := utf8.DecodeRuneInString(piece)
		character := piece[:size]
		piece = piece[size:]
		if id, ok := m.vocab.ids[character]; ok {
			if err := write(); err != nil {
				return nil, err
			}
			symbols = append(symbols, id)
			continue
		}
		if fallback := m.bytes(character); fallback != nil {
			symbols = append(symbols, fallback...)
			continue
		}
		if m.unknown == nil || pending && m.fuseUnknown {
			continue
		}
		if err := write(); err != nil {
			return nil, err
		}
		pending = true
	}
	return symbols, write()
}

// bytes returns the byte tokens of a character, or nil if the vocabulary has none.
func (m *bytePairs) bytes(character string) []int {
	if !m.byteFallback {
		return nil
	}
	var ids []int
	for _, b := range []byte(character) {
		id, ok := m.vocab.ids[fmt.Sprintf("<0x%02X>", b)]
		if !ok {
			return nil
		}
		ids = append(ids, id)
	}
	return ids
}
