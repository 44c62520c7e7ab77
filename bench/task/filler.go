package task

import "math/rand/v2"

// successors is the number of tokens that may follow a filler token in the bigram
// language; the first has the probability 1/2, the second 1/4, the others 1/8 each.
const successors = 4

// text makes filler.
type text struct {
	random *rand.Rand
	follow [][]int32 // of the bigram language, [filler.n][successors]; else nil
	last   int32
}

func newText(f Filler, random *rand.Rand) *text {
	t := &text{random: random, last: -1}
	if f == Bigram {
		t.follow = language()
	}
	return t
}

// language returns the successors of every filler token, which are the same in every context.
// Low token numbers are more frequent successors: each is the smaller of two uniform numbers.
func language() [][]int32 {
	random := rand.New(rand.NewPCG(0, streamLanguage))
	follow := make([][]int32, filler.n)
	for i := range follow {
		for len(follow[i]) < successors {
			x := int32(min(random.IntN(int(filler.n)), random.IntN(int(filler.n))))
			follow[i] = append(follow[i], x)
		}
	}
	return follow
}

// next returns the next token of the filler. After a record the filler continues as if the
// record were not there.
func (t *text) next() int32 {
	if t.follow == nil || t.last < 0 {
		t.last = int32(t.random.IntN(int(filler.n)))
	} else {
		i := 0
		switch r := t.random.IntN(8); {
		case r >= 7:
			i = 3
		case r >= 6:
			i = 2
		case r >= 4:
			i = 1
		}
		t.last = t.follow[t.last][i]
	}
	return filler.first + t.last
}
