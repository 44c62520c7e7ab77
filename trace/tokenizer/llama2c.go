package tokenizer

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// Llama2C is a tokenizer of llama2.c: a SentencePiece byte pair encoding. Merges are
// ranked by the score of the resulting token.
type Llama2C struct {
	tokens []string
	scores []float32
	ids    map[string]int
}

// The special tokens, which are the same in every tokenizer.bin. The next 256 tokens
// are the bytes.
const (
	llama2cBOS       = 1
	llama2cEOS       = 2
	llama2cFirstByte = 3
	llama2cSpecials  = llama2cFirstByte + 256
)

// ParseLlama2C reads a tokenizer.bin: the length of the longest token as int32,
// then for each token its score as a binary32, its length as int32 and its
// bytes; all little endian.
func ParseLlama2C(data []byte) (*Llama2C, error) {
	if len(data) < 4 {
		return nil, fmt.Errorf("max_token_length: the file has %d bytes, no tokenizer.bin is that short", len(data))
	}
	longest := int32(binary.LittleEndian.Uint32(data))
	if longest < 1 || int64(longest) > int64(len(data)) {
		return nil, fmt.Errorf("max_token_length: %d is not between 1 and the file's %d bytes; is this a llama2.c tokenizer?", longest, len(data))
	}
	t := &Llama2C{ids: map[string]int{}}
	for rest := data[4:]; len(rest) > 0; {
		id := len(t.tokens)
		if len(rest) < 8 {
			return nil, fmt.Errorf("token %d: the file ends inside its score and length", id)
		}
		score := math.Float32frombits(binary.LittleEndian.Uint32(rest))
		length := int32(binary.LittleEndian.Uint32(rest[4:]))
		rest = rest[8:]
		switch {
		case math.IsNaN(float64(score)):
			return nil, fmt.Errorf("token %d: score: not a number", id)
		case length < 0 || length > longest && id >= llama2cSpecials:
			return nil, fmt.Errorf("token %d: length: %d is not between 0 and max_token_length, which is %d", id, length, longest)
		case int64(length) > int64(len(rest)):
			return nil, fmt.Errorf("token %d: length: %d bytes are left of the file, not %d", id, len(rest), length)
		}
		token := string(rest[:length])
		rest = rest[length:]
		if _, taken := t.ids[token]; !taken {
			t.ids[token] = id
		}
		t.tokens, t.scores = append(t.tokens, token), append(t.scores, score)
	}
	if len(t.tokens) < llama2cSpecials {
		return nil, fmt.Errorf("the file has %d tokens, not even the %d that every llama2.c tokenizer has", len(t.tokens), llama2cSpecials)
	}
	return t, nil
}

// VocabSize implements Tokenizer.
func (t *Llama2C) VocabSize() int { return len(t.tokens) }

// Encode implements Tokenizer. The result begins with BOS. A space is put before the
// text unless it is empty.
func (t *Llama2C) Encode(text string) ([]int, error) {
	tokens := []int{llama2cBOS}
	if text == "" {
		return tokens, nil
	}
	var symbols []int
	if id, ok := t.ids[" "]; ok {
		symbols = append(symbols, id)
	}
	for len(text) > 0 {
		_, size := utf8.DecodeRuneInString(text)
		if id, ok := t.ids[text[:size]]; ok {
			symbols = append(symbols, id)
		} else {
			for _, b := range []byte(text[:size]) {
				symbols = append(symbols, llama2cFirstByte+int(b))
			}
		}
		text = text[size:]
	}
	var joined []byte
	merged := mergePairs(symbols, func(a, b int) (id int, rank float64, ok bool) {
		joined = append(append(joined[:0], t.tokens[a]...), t.tokens[b]...)
		id, ok = t.ids[string(joined)]
		if !ok {
			return 0, 0, false
		}
		return id, -float64(t.scores[id]), true
	})
	return append(tokens, merged...), nil
}

// Decode implements Tokenizer. It removes the space that Encode put before the text.
func (t *Llama2C) Decode(tokens []int) (string, error) {
	var text []byte
	begins := true
	for i, id := range tokens {
		switch {
		case id < 0 || id >= len(t.tokens):
			return "", fmt.Errorf("tokenizer: token %d of %d: %d is not in the vocabulary of %d", i, len(tokens), id, len(t.tokens))
		case id == llama2cBOS || id == llama2cEOS:
			begins = true
			continue
		case id >= llama2cFirstByte && id < llama2cSpecials:
			text = append(text, byte(id-llama2cFirstByte))
		default:
			token := t.tokens[id]
			if begins {
				token = strings.TrimPrefix(token, " ")
			}
			text = append(text, token...)
		}
		begins = false
	}
	return strings.ToValidUTF8(string(text), "\uFFFD"), nil
}
