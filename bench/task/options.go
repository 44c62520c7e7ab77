package task

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Options say what a task contains. Zero values are defaults. They depend on the length in the
// same way as for the contexts that the recall models were trained on.
type Options struct {
	Category string // one of Categories
	Length   int    // tokens of the context, BOS included; the question and the steps come on top

	// Seed decides everything that is drawn. The context depends on it and on the options,
	// but not on Category: tasks of all categories share it, and so a prefill of it.
	Seed uint64

	Facts    int // records of a key and two values, up to 24
	Links    int // records of a key that leads to another, which has two values, up to 8
	Headings int // sections with a value each, up to 16
	Examples int // keys with labels, up to 8; each has 3 to 5 labels, of which most agree
	Digits   int // of the passkey, up to 16; 5 by default

	// Questions is the number of questions of the category, each about another record: all
	// but the first are given tokens of the steps. There is one summary and one passkey to ask
	// for. A code question is about three facts. The default is 4 in few-shot and 3 in synthetic,
	// and 1 in the others. In these two an answer is one token, which is easily right by chance,
	// and in few-shot one remaining example of four is often enough.
	Questions int

	// Depth is where the passkey stands, from 0, right after BOS, to 1, at the end of the
	// context; a token away from there where it would split another record. nil draws it.
	Depth *float64

	Filler Filler // by default Bigram
}

// Filler says what stands between the records.
type Filler string

// The fillers.
const (
	// Uniform draws every token on its own, as in the training of the recall models.
	Uniform Filler = "uniform"
	// Bigram draws from a fixed Markov chain, in which a token has four successors: a
	// text with frequent tokens and pairs, which attention can prefer.
	Bigram Filler = "bigram"
)

// Generate makes a task of the recall vocabulary with default options: a context of
// length tokens, and one question. It is [Options.Generate] for them.
func Generate(category string, length int, seed uint64) (*Task, error) {
	return Options{Category: category, Length: length, Seed: seed}.Generate()
}

// MaxLength is the longest context that Generate makes. The recall models have 4,096
// positions.
const MaxLength = 1 << 20

// withDefaults returns the options with their defaults filled in, or an error that says
// what is wrong with them.
func (o Options) withDefaults() (Options, error) {
	if !slices.Contains(Categories(), o.Category) {
		return o, fmt.Errorf("task: there is no category %q: want one of %s", o.Category, strings.Join(Categories(), ", "))
	}
	if o.Length < 1 || o.Length > MaxLength {
		return o, fmt.Errorf("task: a context of %d tokens: want 1 to %d", o.Length, MaxLength)
	}
	per128 := o.Length / 128
	for _, f := range []struct {
		name         string
		value        *int
		byLength, to int
	}{
		{"facts", &o.Facts, min(12, max(4, o.Length/32)), 24},
		{"links", &o.Links, min(3, max(1, per128)), 8},
		{"headings", &o.Headings, min(8, max(2, o.Length/64)), int(sections.n)},
		{"examples", &o.Examples, min(4, max(2, o.Length/64)), 8},
		{"digits", &o.Digits, 5, 16},
	} {
		if *f.value == 0 {
			*f.value = f.byLength
		}
		if *f.value < 1 || *f.value > f.to {
			return o, fmt.Errorf("task: %d %s: want 1 to %d", *f.value, f.name, f.to)
		}
	}
	if o.Category == Code && o.Facts < definitions {
		return o, fmt.Errorf("task: %d facts: a code question is about %d", o.Facts, definitions)
	}
	most := o.mostQuestions()
	if o.Questions == 0 {
		o.Questions = min(most, defaultQuestions(o.Category))
	}
	if o.Questions < 0 || o.Questions > most {
		return o, fmt.Errorf("task: %d questions of category %s: the context has records for %d", o.Questions, o.Category, most)
	}
	if n := 2*o.Facts + 2*o.Links + o.Headings + o.Digits; n > int(values.n) {
		return o, fmt.Errorf("task: %d facts, %d links, %d headings and %d digits need %d distinct values, and the vocabulary has %d",
			o.Facts, o.Links, o.Headings, o.Digits, n, values.n)
	}
	if d := o.Depth; d != nil && !(*d >= 0 && *d <= 1) {
		return o, fmt.Errorf("task: a depth of %v: want 0 to 1", *d)
	}
	switch o.Filler {
	case "":
		o.Filler = Bigram
	case Uniform, Bigram:
	default:
		return o, fmt.Errorf("task: there is no filler %q: want %s or %s", o.Filler, Uniform, Bigram)
	}
	return o, nil
}

func defaultQuestions(category string) int {
	switch category {
	case FewShot:
		return 4
	case Synthetic:
		return 3
	}
	return 1
}

// mostQuestions returns how many questions of the category the records are enough for.
func (o Options) mostQuestions() int {
	switch o.Category {
	case SingleDoc, Synthetic:
		return o.Facts
	case MultiDoc:
		return o.Links
	case FewShot:
		return o.Examples
	case Code:
		return o.Facts / definitions
	}
	return 1
}

// MinLength returns the length of the shortest context that is sure to have room for
// the records of the options, whatever the seed.
func (o Options) MinLength() (int, error) {
	o, err := o.withDefaults()
	if err != nil {
		return 0, err
	}
	return 1 + 3*o.Facts + 6*o.Links + 3*o.Headings + 2*maxLabels*o.Examples + 1 + o.Digits, nil
}

// position returns the token position that a record of n tokens begins at, of a context
// of length tokens, at the given depth.
func position(length, n int, depth float64) int {
	return 1 + int(math.Round(depth*float64(length-1-n)))
}
