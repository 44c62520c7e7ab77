package stat

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func scores(ones, zeros int) []float64 {
	return append(slices.Repeat([]float64{1}, ones), make([]float64, zeros)...)
}

// The intervals are those of the formula worked out by hand; 8 of 10 is Newcombe's (1998)
// 0.4902 to 0.9433.
func TestMean(t *testing.T) {
	for _, c := range []struct {
		scores          []float64
		mean, low, high float64
	}{
		{scores(8, 2), 0.8, 0.4902, 0.9433},
		{scores(0, 10), 0, 0, 0.2775}, // z²/(n+z²)
		{scores(40, 0), 1, 0.9124, 1},
		{scores(1, 0), 1, 0.2065, 1},
		{[]float64{0.5, 0.5}, 0.5, 0.0945, 0.9055}, // as one of two
		{scores(81, 182), 81.0 / 263, 0.2553, 0.3662},
	} {
		got, err := Mean(c.scores)
		if err != nil {
			t.Fatal(err)
		}
		for i, pair := range [][2]float64{{got.Mean, c.mean}, {got.Low, c.low}, {got.High, c.high}} {
			if math.Abs(pair[0]-pair[1]) > 5e-5 {
				t.Errorf("%d scores of mean %.3f: number %d is %.5f, want %.4f", len(c.scores), c.mean, i, pair[0], pair[1])
			}
		}
	}
}

// The interval has the true mean in at least about 95 of 100 cases.
func TestMeanCovers(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for _, parts := range []int{1, 3, 10} { // tokens of an answer
		for _, mean := range []float64{0.1, 0.5, 0.9} {
			covered := 0
			const rounds = 2000
			for range rounds {
				sample := make([]float64, 40)
				for i := range sample {
					for range parts {
						if random.Float64() < mean {
							sample[i] += 1 / float64(parts)
						}
					}
					sample[i] = min(1, sample[i])
				}
				got, err := Mean(sample)
				if err != nil {
					t.Fatal(err)
				}
				if got.Low <= mean && mean <= got.High {
					covered++
				}
			}
			// Wilson's coverage swings about 0.95; here it is at least 0.93.
			if share := float64(covered) / rounds; share < 0.93 {
				t.Errorf("%d tokens of mean %v: %.3f of the intervals have it", parts, mean, share)
			}
		}
	}
}

func TestPaired(t *testing.T) {
	third := 1.0 / 3
	for _, c := range []struct {
		a, b          []float64
		difference, p float64
	}{
		{scores(5, 0), scores(5, 0), 0, 1},
		{scores(5, 0), scores(0, 5), 1, 2.0 / 32},
		{scores(5, 5), scores(0, 10), 0.5, 2.0 / 32},
		// McNemar: 6 for, 2 against; 2·(1+8+28)/256.
		{[]float64{1, 1, 1, 1, 1, 1, 0, 0, 1, 0}, []float64{0, 0, 0, 0, 0, 0, 1, 1, 1, 0}, 0.4, 74.0 / 256},
		// 1, 2 and 3 thirds sum to 6 thirds, a magnitude that only two of the eight choices of signs reach.
		{[]float64{third, 2 * third, 1}, []float64{0, 0, 0}, 2 * third, 2.0 / 8},
		// 1, 2 and −3 thirds sum to 0, and every other choice of signs has at least this magnitude.
		{[]float64{third, 2 * third, 0}, []float64{0, 0, 1}, 0, 1},
		// 1, 1 and −1 sum to 1, and every choice of signs has at least this magnitude.
		{[]float64{1, 1, 0}, []float64{0, 0, 1}, third, 1},
	} {
		difference, p, err := Paired(c.a, c.b)
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(difference-c.difference) > 1e-12 || math.Abs(p-c.p) > 1e-12 {
			t.Errorf("%v and %v: difference %v, p %v, want %v and %v", c.a, c.b, difference, p, c.difference, c.p)
		}
	}
}

// The p-value from drawn signs estimates the exact one.
func TestDrawnSigns(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 2))
	for range 5 {
		var differences []int64
		var sum int64
		for range 17 {
			d := int64(random.IntN(1000)) - 300
			differences, sum = append(differences, d), sum+d
		}
		limit := max(sum, -sum) - 17
		exact, drawn := exactSigns(differences, sum, limit), drawnSigns(differences, limit)
		if deviation := math.Sqrt(exact * (1 - exact) / signDraws); math.Abs(exact-drawn) > 5*deviation+1e-5 {
			t.Errorf("p is %v, and %v by drawing", exact, drawn)
		}
	}
}

// If one method answers all of 30 prompts and the other none, p is the least that the number of
// draws allows. If both differ by chance only, p is below 0.05 in about one of 20 cases.
func TestPairedMany(t *testing.T) {
	for n, draws := range map[int]int{30: 100_000, 640: 10_000, 6400: 5_000} {
		if _, p, _ := Paired(scores(n, 0), scores(0, n)); p != 1/float64(draws+1) {
			t.Errorf("of %d differences p is %v, want 1 in %d", n, p, draws+1)
		}
	}
	if testing.Short() {
		t.Skip("draws many signs")
	}
	random := rand.New(rand.NewPCG(3, 3))
	below := 0
	for range 400 {
		a, b := make([]float64, 60), make([]float64, 60)
		for i := range a {
			a[i], b[i] = random.Float64(), random.Float64()
		}
		if _, p, _ := Paired(a, b); p < 0.05 {
			below++
		}
	}
	// 20 of 400 are expected, with a deviation of 4.4.
	if below < 3 || below > 42 {
		t.Errorf("%d of 400 are below 0.05", below)
	}
}

func TestHolm(t *testing.T) {
	// 3·0.01, 2·0.03 and 0.04 raised to the one before.
	got := Holm([]float64{0.04, 0.01, 0.03})
	for i, want := range []float64{0.06, 0.03, 0.06} {
		if math.Abs(got[i]-want) > 1e-12 {
			t.Errorf("adjusted %d is %v, want %v", i, got[i], want)
		}
	}
	if got := Holm([]float64{0.5, 0.9}); got[0] != 1 || got[1] != 1 {
		t.Errorf("adjusted p-values are %v, want 1 at most", got)
	}
}

func TestRank(t *testing.T) {
	r, err := Rank([][]float64{scores(0, 12), scores(12, 0), scores(11, 1), scores(12, 0)})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(r.Order, []int{1, 3, 2, 0}) {
		t.Errorf("the order is %v, want [1 3 2 0]", r.Order)
	}
	for _, c := range []struct {
		i, j        int
		significant bool
	}{{0, 1, true}, {0, 2, true}, {1, 2, false}, {1, 3, false}, {1, 1, false}} {
		if r.P[c.i][c.j] != r.P[c.j][c.i] || (r.P[c.i][c.j] < 0.05) != c.significant {
			t.Errorf("methods %d and %d: p %v and %v, want significant %v", c.i, c.j, r.P[c.i][c.j], r.P[c.j][c.i], c.significant)
		}
	}
}

func TestErrors(t *testing.T) {
	_, noScores := Mean(nil)
	_, outside := Mean([]float64{0, 1.5})
	_, notANumber := Mean([]float64{math.NaN()})
	_, _, lengths := Paired([]float64{1}, nil)
	_, _, pair := Paired([]float64{1}, []float64{-1})
	_, rank := Rank([][]float64{{1}, {1, 1}})
	for want, err := range map[string]error{
		"stat: there are no scores":             noScores,
		"stat: score 1 is 1.5: want 0 to 1":     outside,
		"stat: score 0 is NaN":                  notANumber,
		"stat: 1 scores and 0":                  lengths,
		"stat: scores 1 and -1 of prompt 0":     pair,
		"methods 0 and 1: stat: 2 scores and 1": rank,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want %q", err, want)
		}
	}
}

func ExampleMean() {
	got, _ := Mean([]float64{1, 1, 0.5, 1, 0, 1, 1, 1, 1, 0.5})
	fmt.Printf("%.2f, between %.2f and %.2f\n", got.Mean, got.Low, got.High)
	// Output: 0.80, between 0.49 and 0.94
}

func ExamplePaired() {
	snapKV := []float64{1, 1, 1, 1, 1, 1, 1, 0.5}
	random := []float64{0, 0, 0.5, 0, 0, 0, 0.5, 0.5}
	difference, p, _ := Paired(snapKV, random)
	fmt.Printf("%.2f, p = %.3f\n", difference, p)
	// Output: 0.75, p = 0.016
}

// LeastP is the p-value of differences of one sign.
func TestLeastP(t *testing.T) {
	for _, n := range []int{1, 2, 7, exactDifferences, exactDifferences + 3} {
		_, p, err := Paired(scores(n, 0), scores(0, n))
		if least := LeastP(n); err != nil || p < least || p > 1.5*least {
			t.Errorf("%d prompts: p is %v (%v), and the least %v", n, p, err, least)
		}
	}
}
