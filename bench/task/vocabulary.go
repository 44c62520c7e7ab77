package task

import (
	"fmt"
	"strings"
)

// The token ids of the recall model, which has no tokenizer.
const (
	bos  = 0 // begins every context
	ask  = 1 // asks for the values of a key
	link = 2 // ends a record that leads from one key to another
	pass = 3 // begins the passkey
	head = 4 // begins a heading
	sum  = 5 // asks for all headings
	look = 6 // asks for the key of a value
	few  = 7 // asks for the label of a key
)

// kind is a range of token ids of one use.
type kind struct {
	first, n int32
	letter   string
}

var (
	keys     = kind{8, 56, "k"}
	values   = kind{64, 64, "v"}
	sections = kind{128, 16, "s"}
	labels   = kind{144, 8, "y"}
	filler   = kind{152, 104, "f"}
)

// VocabSize is the number of token ids of the recall model.
const VocabSize = 256

func (k kind) has(token int32) bool { return token >= k.first && token < k.first+k.n }

// Format writes tokens of the recall vocabulary for people: BOS, ASK, LINK, PASS, HEAD,
// SUM, LOOK and FEW, and k0, v0, s0, y0 and f0 for the first key, value, section, label
// and filler token. A token that is not in the vocabulary is written as its number.
func Format(tokens []int32) string {
	special := [...]string{"BOS", "ASK", "LINK", "PASS", "HEAD", "SUM", "LOOK", "FEW"}
	var b strings.Builder
	for i, t := range tokens {
		if i > 0 {
			b.WriteByte(' ')
		}
		name := fmt.Sprint(t)
		if t >= 0 && int(t) < len(special) {
			name = special[t]
		}
		for _, k := range [...]kind{keys, values, sections, labels, filler} {
			if k.has(t) {
				name = fmt.Sprintf("%s%d", k.letter, t-k.first)
			}
		}
		b.WriteString(name)
	}
	return b.String()
}
