package task_test

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kvcompress/bench/task"
)

func generate(t testing.TB, o task.Options) *task.Task {
	t.Helper()
	made, err := o.Generate()
	if err != nil {
		t.Fatalf("%+v: %v", o, err)
	}
	return made
}

// question returns all given tokens after the context: the question and the given steps.
func question(t *task.Task) []int32 {
	asked := slices.Clone(t.Question)
	for _, s := range t.Steps {
		if s.Given {
			asked = append(asked, s.Token)
		}
	}
	return asked
}

// evidence returns the tokens of the records that the answer follows from.
func evidence(t *task.Task) [][]int32 {
	var found [][]int32
	for _, e := range t.Evidence {
		found = append(found, t.Context[e.From:e.To])
	}
	return found
}

// Tasks of random options have the expected records, and nothing but the evidence gives the
// answer away.
func TestTasks(t *testing.T) {
	rounds := 2000
	if testing.Short() {
		rounds = 200
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range rounds {
		o := task.Options{
			Category: task.Categories()[random.IntN(7)],
			Length:   256 + random.IntN(1500),
			Seed:     random.Uint64(),
			Facts:    3 + random.IntN(10), Links: random.IntN(5), Headings: random.IntN(9), Examples: random.IntN(6), Digits: random.IntN(8),
			Filler: []task.Filler{"", task.Uniform, task.Bigram}[random.IntN(3)],
		}
		made := generate(t, o)
		if len(made.Context) != o.Length || made.Context[0] != 0 || slices.Contains(made.Context[1:], 0) {
			t.Fatalf("%+v: a context of %d tokens that begins with %d", o, len(made.Context), made.Context[0])
		}
		if len(made.Question) == 0 || made.Steps[0].Given {
			t.Fatalf("%+v: the question is %v, and then comes %v", o, made.Question, made.Steps)
		}
		asked := question(made)
		found := slices.Concat(evidence(made)...)
		followed := 0
		for i, a := range made.Answer() {
			if made.Category == task.Code && slices.Contains(asked, a) {
				followed++ // of the pattern
				continue
			}
			if slices.Contains(asked, a) {
				t.Fatalf("%+v: token %d of the answer %v stands in the question %v", o, i, made.Answer(), asked)
			}
			if !slices.Contains(found, a) {
				t.Fatalf("%+v: token %d of the answer %v does not stand in the evidence %v", o, i, made.Answer(), found)
			}
		}
		if made.Category == task.Code && followed != 4 {
			t.Fatalf("%+v: %d tokens of the answer follow from the question, want 4 of the pattern", o, followed)
		}
		if made.Score(made.Answer()) != 1 || !made.Exact(made.Answer()) {
			t.Fatalf("%+v: the right answer scores %v", o, made.Score(made.Answer()))
		}
		if !(made.Chance > 0 && made.Chance < 0.5 && made.ChanceExact > 0 && made.ChanceExact <= made.Chance) {
			t.Fatalf("%+v: chance %v, exact %v", o, made.Chance, made.ChanceExact)
		}
	}
}

// Every question has one answer: a key that is asked for has one record, and one label has the
// majority.
func TestOneAnswer(t *testing.T) {
	for seed := range uint64(100) {
		for _, category := range task.Categories() {
			made := generate(t, task.Options{Category: category, Length: 512, Seed: seed})
			text := task.Format(made.Context)
			switch category {
			case task.SingleDoc, task.MultiDoc:
				if n := strings.Count(text+" ", task.Format(made.Question[1:])+" "); n != 1 {
					t.Errorf("%s, seed %d: %s occurs %d times", category, seed, task.Format(made.Question[1:]), n)
				}
			case task.FewShot:
				for i, key := range []int32{made.Question[1]} {
					count := map[int32]int{}
					for p, x := range made.Context {
						if x == key {
							count[made.Context[p+1]]++
						}
					}
					right := made.Answer()[i]
					for label, n := range count {
						if label != right && n >= count[right] {
							t.Errorf("seed %d: label %d is there %d times, the right one %d", seed, label, n, count[right])
						}
					}
				}
			case task.Summary:
				var all []int32
				for p, x := range made.Context {
					if x == 4 { // HEAD
						all = append(all, made.Context[p+1], made.Context[p+2])
					}
				}
				if !slices.Equal(all, made.Answer()) {
					t.Errorf("seed %d: the headings are %v, the answer %v", seed, all, made.Answer())
				}
			}
		}
	}
}

// The same seed gives the same tokens on every platform and in every version.
func TestDigests(t *testing.T) {
	want := map[string]string{
		"uniform": "e80fa2bc1714f988",
		"bigram":  "18cf04d63d8f1ddc",
	}
	for name := range want {
		h := fnv.New64a()
		for _, category := range task.Categories() {
			for _, length := range []int{256, 1024} {
				made := generate(t, task.Options{Category: category, Length: length, Seed: 7, Filler: task.Filler(name)})
				for _, tokens := range [][]int32{made.Context, made.Question, question(made), made.Answer()} {
					for _, x := range tokens {
						_ = binary.Write(h, binary.LittleEndian, x)
					}
				}
			}
		}
		if got := fmt.Sprintf("%016x", h.Sum64()); got != want[name] {
			t.Errorf("%s: the tokens have the digest %s, want %s", name, got, want[name])
		}
	}
}

// All categories ask about one context, so that its prefill can be shared.
func TestContextShared(t *testing.T) {
	first := generate(t, task.Options{Category: task.SingleDoc, Length: 512, Seed: 3})
	for _, category := range task.Categories() {
		if made := generate(t, task.Options{Category: category, Length: 512, Seed: 3}); !slices.Equal(made.Context, first.Context) {
			t.Errorf("%s has another context than %s", category, first.Category)
		}
	}
	if made := generate(t, task.Options{Category: task.SingleDoc, Length: 512, Seed: 4}); slices.Equal(made.Context, first.Context) {
		t.Error("two seeds have one context")
	}
}

func TestDepth(t *testing.T) {
	for seed := range uint64(20) {
		for i := range 11 {
			depth := float64(i) / 10
			made := generate(t, task.Options{Category: task.Needle, Length: 300, Seed: seed, Digits: 7, Depth: &depth})
			want := 1 + int(math.Round(depth*(300-1-8)))
			if got := made.Evidence[0].From; got < want-2 || got > want+2 {
				t.Errorf("seed %d, depth %v: the passkey begins at %d, want %d within 2", seed, depth, got, want)
			}
			if got := made.Context[made.Evidence[0].From]; got != 3 { // PASS
				t.Errorf("seed %d, depth %v: token %d begins the passkey", seed, depth, got)
			}
		}
	}
}

// A context of MinLength tokens always has room, and for some seed one token less is too few.
func TestMinLength(t *testing.T) {
	o := task.Options{Category: task.Needle, Length: 128, Facts: 2, Examples: 3}
	n, err := o.MinLength()
	if err != nil {
		t.Fatal(err)
	}
	short := 0
	for seed := range uint64(200) {
		o.Seed, o.Length = seed, n
		if _, err := o.Generate(); err != nil {
			t.Fatal(err)
		}
		o.Length = n - 1
		if _, err := o.Generate(); err != nil {
			short++
		}
	}
	if short == 0 {
		t.Errorf("%d tokens were enough for all seeds, want %d to be needed", n-1, n)
	}
}

func TestBigramHasFrequentTokens(t *testing.T) {
	top := func(f task.Filler) float64 {
		count := map[int32]int{}
		made := generate(t, task.Options{Category: task.Needle, Length: 20_000, Seed: 1, Filler: f})
		for _, x := range made.Context {
			count[x]++
		}
		var all []int
		for _, n := range count {
			all = append(all, n)
		}
		slices.Sort(all)
		sum := 0
		for _, n := range all[len(all)-10:] {
			sum += n
		}
		return float64(sum) / 20_000
	}
	if uniform, bigram := top(task.Uniform), top(task.Bigram); uniform > 0.13 || bigram < 0.25 {
		t.Errorf("the ten most frequent tokens are %.2f of uniform filler and %.2f of bigram, want up to 0.13 and from 0.25", uniform, bigram)
	}
}

func TestScore(t *testing.T) {
	made := &task.Task{Steps: []task.Step{{Token: 5}, {Token: 6, Given: true}, {Token: 7}, {Token: 8}, {Token: 9}}}
	for _, c := range []struct {
		answer []int32
		want   float64
	}{
		{nil, 0},
		{[]int32{5, 7, 8, 9}, 1},
		{[]int32{5, 7, 8, 9, 1}, 1},
		{[]int32{5, 7}, 0.5},
		{[]int32{7, 8, 9, 5}, 0},
		{[]int32{5, 6, 8, 9}, 0.75},
	} {
		if got := made.Score(c.answer); got != c.want {
			t.Errorf("%v scores %v, want %v", c.answer, got, c.want)
		}
	}
	if got := (&task.Task{}).Score(nil); got != 0 {
		t.Errorf("a task without steps scores %v, want 0", got)
	}
}

// Chance is the mean score of random guesses.
func TestChance(t *testing.T) {
	kinds := [][2]int32{{8, 56}, {64, 64}, {128, 16}, {144, 8}}
	for _, category := range []string{task.SingleDoc, task.MultiDoc, task.FewShot, task.Synthetic, task.Needle} {
		random := rand.New(rand.NewPCG(5, 6))
		made := generate(t, task.Options{Category: category, Length: 512})
		const rounds = 100_000
		sum := 0.0
		for range rounds {
			guess := made.Answer()
			for i, x := range guess {
				for _, k := range kinds {
					if x >= k[0] && x < k[0]+k[1] {
						guess[i] = k[0] + random.Int32N(k[1])
					}
				}
			}
			sum += made.Score(guess)
		}
		// A score of n tokens has a deviation of at most √(Chance/n); 5 of them in 100,000 rounds.
		if got, limit := sum/rounds, 5*math.Sqrt(made.Chance/rounds); math.Abs(got-made.Chance) > limit {
			t.Errorf("%s: guesses score %.5f, Chance is %.5f, want a difference of up to %.5f", category, got, made.Chance, limit)
		}
	}
}

func TestErrors(t *testing.T) {
	below, nan := -0.1, math.NaN()
	for _, c := range []struct {
		o    task.Options
		want string
	}{
		{task.Options{Category: "poetry", Length: 256}, `task: there is no category "poetry": want one of single-doc, multi-doc,`},
		{task.Options{Category: task.Needle}, "task: a context of 0 tokens: want 1 to 1048576"},
		{task.Options{Category: task.Needle, Length: 1<<20 + 1}, "task: a context of 1048577 tokens"},
		{task.Options{Category: task.Needle, Length: 30}, "tokens, and the context has 30"},
		{task.Options{Category: task.Needle, Length: 256, Facts: -1}, "task: -1 facts: want 1 to 24"},
		{task.Options{Category: task.Needle, Length: 256, Digits: 17}, "task: 17 digits: want 1 to 16"},
		{task.Options{Category: task.Needle, Length: 256, Questions: 2}, "task: 2 questions of category needle: the context has records for 1"},
		{task.Options{Category: task.Code, Length: 256, Facts: 2}, "task: 2 facts: a code question is about 3"},
		{task.Options{Category: task.SingleDoc, Length: 256, Questions: -1}, "task: -1 questions"},
		{task.Options{Category: task.Needle, Length: 256, Facts: 24, Links: 8}, "need 73 distinct values, and the vocabulary has 64"},
		{task.Options{Category: task.Needle, Length: 256, Depth: &below}, "task: a depth of -0.1: want 0 to 1"},
		{task.Options{Category: task.Needle, Length: 256, Depth: &nan}, "task: a depth of NaN"},
		{task.Options{Category: task.Needle, Length: 256, Filler: "lorem"}, `task: there is no filler "lorem": want uniform or bigram`},
	} {
		_, err := c.o.Generate()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got error %v, want %q", c.o, err, c.want)
		}
	}
}
