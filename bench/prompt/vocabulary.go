// Package prompt writes tasks as text in the vocabulary of a user's model: needles in a
// haystack and their kin, after RULER (Hsieh et al. 2024), and the tasks of LongBench's files.
//
// The words of the made-up texts are tokens of the model's own tokenizer, so that they
// suit any model and any language model's vocabulary of Latin letters.
//
// Start with [New], which returns a [Vocabulary], and [Vocabulary.Generate].
package prompt

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"kvcompress/trace/tokenizer"
)

// Vocabulary is a tokenizer and the words that it has. It may be used by several goroutines
// at once.
type Vocabulary struct {
	tokenizer tokenizer.Tokenizer
	before    int // special tokens that Encode puts before a text
	after     int // special tokens that Encode puts after a text
	words     func() ([]string, error)
}

// The number of words that texts are made of, and the pieces that a vocabulary must have.
const (
	fewPieces  = 8
	enoughWord = 200
	mostWords  = 2000
)

// New returns the vocabulary of a tokenizer. It is an error if the special tokens that the
// tokenizer puts around a text depend on the text.
func New(t tokenizer.Tokenizer) (*Vocabulary, error) {
	v := &Vocabulary{tokenizer: t}
	if err := v.findSpecials(); err != nil {
		return nil, fmt.Errorf("prompt: %w", err)
	}
	v.words = sync.OnceValues(v.findWords)
	return v, nil
}

// findWords finds the words of the tokenizer: tokens of 2 to 12 lower-case letters that stand
// for a whole word after a space. If there are less than 200, words are also made of two of
// them. It is an error if there are less than 8.
func (v *Vocabulary) findWords() ([]string, error) {
	words, err := v.pieces()
	if err != nil {
		return nil, fmt.Errorf("prompt: %w", err)
	}
	if len(words) < fewPieces {
		return nil, fmt.Errorf("prompt: the tokenizer has %d tokens that are words of lower-case letters: want at least %d", len(words), fewPieces)
	}
	pieces := words
	for _, a := range pieces {
		for _, b := range pieces {
			if w := a + b; len(words) < enoughWord && a != b && !slices.Contains(words, w) && !reserved(w) {
				words = append(words, w)
			}
		}
	}
	return words, nil
}

// Decode returns the text of tokens.
func (v *Vocabulary) Decode(tokens []int32) (string, error) {
	ids := make([]int, len(tokens))
	for i, t := range tokens {
		ids[i] = int(t)
	}
	text, err := v.tokenizer.Decode(ids)
	if err != nil {
		return "", fmt.Errorf("prompt: %w", err)
	}
	return text, nil
}

// findSpecials counts the special tokens that Encode puts around a text.
func (v *Vocabulary) findSpecials() error {
	empty, err := v.tokenizer.Encode("")
	if err != nil {
		return err
	}
	one, err := v.tokenizer.Encode("a")
	if err != nil {
		return err
	}
	v.before = common(empty, one)
	v.after = len(empty) - v.before
	if v.after > 0 && (len(one) < len(empty) || !slices.Equal(empty[v.before:], one[len(one)-v.after:])) {
		return errors.New("the tokens that the tokenizer puts around a text depend on the text")
	}
	return nil
}

// common returns the length of the common prefix of a and b.
func common(a, b []int) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// pieces returns the words of one token, at most mostWords, in the order of their ids.
func (v *Vocabulary) pieces() ([]string, error) {
	start, err := v.encode("a")
	if err != nil {
		return nil, err
	}
	var pieces []string
	for id := 0; id < v.tokenizer.VocabSize() && len(pieces) < mostWords; id++ {
		text, err := v.tokenizer.Decode([]int{id})
		if err != nil {
			continue // ids may have gaps
		}
		word := strings.TrimPrefix(text, " ")
		if !isWord(word) || reserved(word) || slices.Contains(pieces, word) {
			continue
		}
		ids, err := v.encode("a " + word)
		if err != nil {
			return nil, err
		}
		if len(ids) == len(start)+1 && ids[len(start)] == id {
			pieces = append(pieces, word)
		}
	}
	return pieces, nil
}

func isWord(text string) bool {
	return len(text) >= 2 && len(text) <= 12 && strings.Trim(text, "abcdefghijklmnopqrstuvwxyz") == ""
}

// fixedWords are the words of the fixed sentences of tasks: see facts.go.
var fixedWords = []string{
	"the", "code", "codes", "of", "is", "are", "and", "in", "order", "what", "which", "word", "with", "has",
	"partner", "chapter", "chapters", "about", "kind", "kinds", "call", "returns",
}

// reserved reports whether a word occurs in the fixed sentences of tasks.
func reserved(word string) bool {
	return slices.Contains(fixedWords, word)
}

// encode returns the tokens of a text with the special tokens before it, but without those after
// it.
func (v *Vocabulary) encode(text string) ([]int, error) {
	ids, err := v.tokenizer.Encode(text)
	if err != nil {
		return nil, err
	}
	return ids[:max(0, len(ids)-v.after)], nil
}

// split encodes segments of a text together and returns the tokens of each. Where no
// token ends between two segments, the token goes to the second.
func (v *Vocabulary) split(segments ...string) ([][]int32, error) {
	all, err := v.encode(strings.Join(segments, ""))
	if err != nil {
		return nil, err
	}
	parts, from, text := make([][]int32, len(segments)), 0, ""
	for i, s := range segments {
		text += s
		to := len(all)
		if i < len(segments)-1 {
			ids, err := v.encode(text)
			if err != nil {
				return nil, err
			}
			to = max(from, common(ids, all))
		}
		for _, id := range all[from:to] {
			parts[i] = append(parts[i], int32(id))
		}
		from = to
	}
	return parts, nil
}
