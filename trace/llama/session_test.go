package llama_test

import (
	"bytes"
	"errors"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"kvcompress/trace/llama"
)

func randomModel(t testing.TB, seed uint64) *llama.Model {
	t.Helper()
	data := randomCheckpoint(seed).file()
	m, err := llama.ReadCheckpoint(bytes.NewReader(data), int64(len(data)), "random.bin")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// rows feeds tokens, at once or one by one, and returns everything passed to visit and
// the last logits.
func rows(t *testing.T, m *llama.Model, tokens []int, at int) (seen [][]float32, logits []float32) {
	t.Helper()
	s := m.NewSession()
	for batch := range slices.Chunk(tokens, at) {
		var err error
		logits, err = s.Feed(batch, func(q, k, v []float32) error {
			seen = append(seen, slices.Clone(q), slices.Clone(k), slices.Clone(v))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return seen, slices.Clone(logits)
}

func someTokens(n int) []int {
	tokens := make([]int, n)
	for i := range tokens {
		tokens[i] = i * i % 50
	}
	return tokens
}

// The results are equal to the bit for every division into calls of Feed and every number
// of processors.
func TestNumbersAreTheSameHoweverFed(t *testing.T) {
	m := randomModel(t, 2)
	tokens := someTokens(80)
	wantRows, wantLogits := rows(t, m, tokens, len(tokens))
	check := func(t *testing.T, at int) {
		gotRows, gotLogits := rows(t, m, tokens, at)
		if !slices.EqualFunc(wantRows, gotRows, slices.Equal) || !slices.Equal(wantLogits, gotLogits) {
			t.Errorf("fed %d at a time the numbers differ", at)
		}
	}
	for _, at := range []int{1, 7, 32, 33} {
		check(t, at)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	check(t, 5)
	runtime.GOMAXPROCS(7)
	check(t, 80)
}

// A session agrees with the float64 reference implementation to within the rounding of
// binary32.
func TestAgreesWithFloat64(t *testing.T) {
	for seed := range uint64(3) {
		c := randomCheckpoint(seed)
		tokens := someTokens(40)
		wantQ, wantK, wantV, wantLogits := c.runFloat64(tokens)
		seen, logits := rows(t, randomModel(t, seed), tokens, 40)
		for i := range tokens {
			closeTo(t, "q", i, seen[3*i], wantQ[i])
			closeTo(t, "k", i, seen[3*i+1], wantK[i])
			closeTo(t, "v", i, seen[3*i+2], wantV[i])
		}
		closeTo(t, "logits", len(tokens)-1, logits, wantLogits)
	}
}

func closeTo(t *testing.T, what string, token int, got []float32, want []float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s of token %d: %d numbers, want %d", what, token, len(got), len(want))
	}
	for i := range got {
		if d := math.Abs(float64(got[i]) - want[i]); !(d < 1e-4) {
			t.Fatalf("%s of token %d: element %d is %g, want %g", what, token, i, got[i], want[i])
		}
	}
}

func TestFeedErrors(t *testing.T) {
	m := randomModel(t, 3)
	stop := errors.New("stop")
	for _, c := range []struct {
		name   string
		tokens []int
		visit  func(q, k, v []float32) error
		want   string
	}{
		{"none", nil, nil, "no token"},
		{"negative", []int{1, -1}, nil, "token 1 of 2: -1 is not in the vocabulary of 50"},
		{"outside", []int{50}, nil, "token 0 of 1: 50"},
		{"too many", make([]int, 101), nil, "101 tokens do not fit: 100 of the model's 100 positions"},
		{"visit fails", []int{1}, func(q, k, v []float32) error { return stop }, "stop"},
	} {
		if _, err := m.NewSession().Feed(c.tokens, c.visit); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want something with %q", c.name, err, c.want)
		}
	}
	s := m.NewSession()
	if _, err := s.Feed(make([]int, 100), nil); err != nil || s.Len() != 100 {
		t.Errorf("all positions: %d, %v", s.Len(), err)
	}
	if _, err := s.Feed([]int{1}, nil); err == nil {
		t.Error("one token more than positions is taken")
	}
}

func BenchmarkStories260K(b *testing.B) {
	m := load(b, sharedModel(b, "stories260K.bin"))
	b.Run("prefill", func(b *testing.B) {
		tokens := make([]int, 256)
		for b.Loop() {
			if _, err := m.NewSession().Feed(tokens, nil); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N*256)/b.Elapsed().Seconds(), "tokens/s")
	})
	b.Run("decode", func(b *testing.B) {
		for b.Loop() {
			greedy(b, m, []int{1}, 256)
		}
		b.ReportMetric(float64(b.N*256)/b.Elapsed().Seconds(), "tokens/s")
	})
}

func TestLikeliest(t *testing.T) {
	for _, c := range []struct {
		logits []float32
		want   int
	}{
		{[]float32{-3}, 0},
		{[]float32{0, 2, 1}, 1},
		{[]float32{0, 2, 2}, 1},
	} {
		if got := llama.Likeliest(c.logits); got != c.want {
			t.Errorf("of %v it takes %d, want %d", c.logits, got, c.want)
		}
	}
}
