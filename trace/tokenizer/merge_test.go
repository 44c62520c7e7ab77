package tokenizer

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// mergeSlowly is the loop of mergePairs's doc comment.
func mergeSlowly(symbols []int, pair func(a, b int) (int, float64, bool)) []int {
	for {
		best, id, rank := -1, 0, 0.0
		for i := 0; i+1 < len(symbols); i++ {
			if x, r, ok := pair(symbols[i], symbols[i+1]); ok && (best < 0 || r < rank) {
				best, id, rank = i, x, r
			}
		}
		if best < 0 {
			return symbols
		}
		symbols = slices.Replace(symbols, best, best+2, id)
	}
}

func TestMergePairsAgreesWithTheLoop(t *testing.T) {
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 0))
		// A pair may become any symbol, so merges may create pairs that occurred before,
		// and ranks repeat.
		alphabet := 2 + random.IntN(6)
		rules := map[[2]int][2]int{}
		for range random.IntN(2 * alphabet) {
			rules[[2]int{random.IntN(alphabet), random.IntN(alphabet)}] = [2]int{random.IntN(alphabet), random.IntN(4)}
		}
		pair := func(a, b int) (int, float64, bool) {
			r, ok := rules[[2]int{a, b}]
			return r[0], float64(r[1]), ok
		}
		symbols := make([]int, random.IntN(60))
		for i := range symbols {
			symbols[i] = random.IntN(alphabet)
		}
		want := mergeSlowly(slices.Clone(symbols), pair)
		if diff := cmp.Diff(want, mergePairs(slices.Clone(symbols), pair)); diff != "" {
			t.Fatalf("seed %d: symbols %v, rules %v (-want +got):\n%s", seed, symbols, rules, diff)
		}
	}
}

// A long text that cannot be cut into pieces takes n·log n steps.
func BenchmarkMergePairs(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		b.Run("", func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				mergePairs(make([]int, n), func(a, b int) (int, float64, bool) { return a + 1, float64(a), a == b && a < 20 })
			}
		})
	}
}
