package task

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// A key of a few-shot question has minLabels to maxLabels labels.
const minLabels, maxLabels = 3, 5

// The streams of random numbers of a seed.
const (
	streamContext  = 1
	streamQuestion = 2
	streamLanguage = 3
)

// record is something that can be asked for, and where it stands.
type record struct {
	tokens []int32
	at     int // position of its first token in the context
}

func (r *record) span() Span { return Span{r.at, r.at + len(r.tokens)} }

// world is a context and the records in it.
type world struct {
	context  []int32
	facts    []*record   // key value value
	links    []*record   // key key LINK
	linked   []*record   // key value value, of the second key of the link of the same index
	headings []*record   // HEAD section value, in order
	examples [][]*record // key label, all of one key
	majority []int32     // the label that most examples of a key have
	passkey  *record     // PASS value …
}

// draw takes n distinct tokens of a kind.
func draw(random *rand.Rand, k kind, n int) []int32 {
	tokens := make([]int32, n)
	for i, x := range random.Perm(int(k.n))[:n] {
		tokens[i] = k.first + int32(x)
	}
	return tokens
}

// newWorld makes the context of options that have their defaults. Keys and values are
// distinct within it.
func newWorld(o Options) (*world, error) {
	var (
		random    = rand.New(rand.NewPCG(o.Seed, streamContext))
		key       = take(draw(random, keys, o.Facts+2*o.Links+o.Examples))
		value     = take(draw(random, values, 2*o.Facts+2*o.Links+o.Headings+o.Digits))
		w         = &world{passkey: &record{tokens: []int32{pass}}}
		scattered []*record // all records but headings and the passkey
	)
	scatter := func(tokens ...int32) *record {
		r := &record{tokens: tokens}
		scattered = append(scattered, r)
		return r
	}
	for range o.Facts {
		w.facts = append(w.facts, scatter(key(), value(), value()))
	}
	for range o.Links {
		from, to := key(), key()
		w.links = append(w.links, scatter(from, to, link))
		w.linked = append(w.linked, scatter(to, value(), value()))
	}
	for range o.Digits {
		w.passkey.tokens = append(w.passkey.tokens, value())
	}
	for range o.Examples {
		x, ys := key(), drawLabels(random)
		var rs []*record
		for _, y := range ys {
			rs = append(rs, scatter(x, y))
		}
		w.examples, w.majority = append(w.examples, rs), append(w.majority, ys[0])
	}
	first := sections.first + int32(random.IntN(int(sections.n)-o.Headings+1))
	for i := range o.Headings {
		w.headings = append(w.headings, &record{tokens: []int32{head, first + int32(i), value()}})
	}
	shuffle(random, scattered)
	return w, w.lay(o, random, w.withHeadings(random, scattered))
}

// take returns a function that returns one token after the other.
func take(tokens []int32) func() int32 {
	return func() int32 {
		t := tokens[0]
		tokens = tokens[1:]
		return t
	}
}

func shuffle[T any](random *rand.Rand, x []T) {
	random.Shuffle(len(x), func(i, j int) { x[i], x[j] = x[j], x[i] })
}

// drawLabels draws the labels of a key. The first is that of the majority, and there is
// one more of it than half, rounded down. A second label is twice as likely as each of
// the other six.
func drawLabels(random *rand.Rand) []int32 {
	n := minLabels + random.IntN(maxLabels-minLabels+1)
	two := draw(random, labels, 2)
	ys := slices.Repeat(two[:1], n/2+1)
	for len(ys) < n {
		y := two[1]
		if i := random.IntN(int(labels.n)); i > 0 {
			y = labels.first + int32(i) - 1
			if y >= two[0] {
				y++
			}
		}
		ys = append(ys, y)
	}
	return ys
}

// withHeadings puts the headings among the records, in order. The first comes first.
func (w *world) withHeadings(random *rand.Rand, scattered []*record) []*record {
	places := make([]int, len(w.headings))
	for i := range places[1:] {
		places[1+i] = random.IntN(len(scattered) + 1)
	}
	slices.Sort(places)
	var order []*record
	for i, h := range w.headings {
		from := 0
		if i > 0 {
			from = places[i-1]
		}
		order = append(append(order, scattered[from:places[i]]...), h)
	}
	return append(order, scattered[places[len(places)-1]:]...)
}

// lay writes the records into the context in the given order, with filler before, between and
// after them, and puts the passkey at its depth.
func (w *world) lay(o Options, random *rand.Rand, order []*record) error {
	free := o.Length - 1 - len(w.passkey.tokens)
	for _, r := range order {
		free -= len(r.tokens)
	}
	if free < 0 {
		return fmt.Errorf("task: the records of seed %d need %d tokens, and the context has %d", o.Seed, o.Length-free, o.Length)
	}
	cuts := make([]int, len(order))
	for i := range cuts {
		cuts[i] = random.IntN(free + 1)
	}
	slices.Sort(cuts)
	depth := random.Float64()
	if o.Depth != nil {
		depth = *o.Depth
	}
	target := position(o.Length, len(w.passkey.tokens), depth)

	text := newText(o.Filler, random)
	w.context = append(make([]int32, 0, o.Length), bos)
	placed := false
	write := func(r *record) {
		r.at = len(w.context)
		w.context = append(w.context, r.tokens...)
	}
	fill := func(n int) {
		for ; n > 0; n-- {
			if !placed && len(w.context) >= target {
				write(w.passkey)
				placed = true
			}
			w.context = append(w.context, text.next())
		}
	}
	filled := 0
	for i, r := range order {
		fill(cuts[i] - filled)
		filled = cuts[i]
		// Between two records, the passkey comes before the one in whose middle it would begin.
		if !placed && 2*(target-len(w.context)) < len(r.tokens) {
			write(w.passkey)
			placed = true
		}
		write(r)
	}
	fill(free - filled)
	if !placed {
		write(w.passkey)
	}
	return nil
}
