package stat

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
)

// The sign-flip test with n nonzero differences is exact for n ≤ exactDifferences: it tries all
// 2^n choices of signs. For more it draws signDraws choices at random, or fewer, but at least
// fewestDraws, so that a large bench draws at most mostSigns single signs if possible.
const (
	exactDifferences = 20
	signDraws        = 100_000
	fewestDraws      = 5_000
	mostSigns        = 64 * signDraws
)

// drawsOf returns how many choices of signs are drawn for n differences.
func drawsOf(n int) int { return min(signDraws, max(fewestDraws, mostSigns/n)) }

// unit is the fraction of 1 that differences are rounded to, so that sums are exact.
const unit = 1 << 40

// Paired returns the mean of a − b over the same prompts, and the two-sided p-value of the
// paired randomization test (Fisher 1935): the probability of a mean difference at least
// as large in magnitude if each prompt's two scores were exchanged at random. For scores
// of 0 and 1 it is McNemar's exact test. With more than 20 nonzero differences p is estimated
// from random draws with a fixed seed, as (1 + draws at least as large) / (1 + draws). There are
// 100,000 draws for up to 64 differences, and fewer for more, but at least 5,000.
func Paired(a, b []float64) (difference, p float64, err error) {
	if len(a) != len(b) || len(a) == 0 {
		return 0, 0, fmt.Errorf("stat: %d scores and %d: want scores of the same prompts, at least one", len(a), len(b))
	}
	var differences []int64
	for i := range a {
		if !(a[i] >= 0 && a[i] <= 1 && b[i] >= 0 && b[i] <= 1) {
			return 0, 0, fmt.Errorf("stat: scores %v and %v of prompt %d: want 0 to 1", a[i], b[i], i)
		}
		difference += a[i] - b[i]
		if d := int64(math.Round((a[i] - b[i]) * unit)); d != 0 {
			differences = append(differences, d)
		}
	}
	return difference / float64(len(a)), signFlip(differences), nil
}

// LeastP returns the least p-value that [Paired] can give for a number of prompts, at least one:
// that of differences of one sign.
func LeastP(prompts int) float64 {
	if prompts <= exactDifferences {
		return math.Ldexp(1, 1-prompts)
	}
	return 1 / float64(1+drawsOf(prompts))
}

// signFlip returns the p-value of differences that are not 0.
func signFlip(differences []int64) float64 {
	var observed int64
	for _, d := range differences {
		observed += d
	}
	// Each difference is rounded by up to half a unit: sums that should be equal differ by
	// up to n units.
	limit := max(observed, -observed) - int64(len(differences))
	if len(differences) <= exactDifferences {
		return exactSigns(differences, observed, limit)
	}
	return drawnSigns(differences, limit)
}

// exactSigns enumerates all combinations of signs in the order of a Gray code: each differs from
// the previous one in one sign.
func exactSigns(differences []int64, sum, limit int64) float64 {
	n := uint64(1) << len(differences)
	signed := slices.Clone(differences)
	large := 0
	for i := uint64(1); ; i++ {
		if max(sum, -sum) >= limit {
			large++
		}
		if i == n {
			return float64(large) / float64(n)
		}
		flip := bits.TrailingZeros64(i)
		sum -= 2 * signed[flip]
		signed[flip] = -signed[flip]
	}
}

// drawnSigns draws the signs of eight differences at once, whose 256 sums it keeps.
func drawnSigns(differences []int64, limit int64) float64 {
	var tables [][256]int64
	for group := range slices.Chunk(differences, 8) {
		var t [256]int64
		for signs := range t {
			for i, d := range group {
				if signs>>i&1 == 1 {
					d = -d
				}
				t[signs] += d
			}
		}
		tables = append(tables, t)
	}
	random := rand.NewPCG(1, 0)
	large, draws := 0, drawsOf(len(differences))
	for range draws {
		var sum int64
		var word uint64
		for i := range tables {
			if i%8 == 0 {
				word = random.Uint64()
			}
			sum += tables[i][word&255]
			word >>= 8
		}
		if max(sum, -sum) >= limit {
			large++
		}
	}
	return float64(large+1) / float64(draws+1)
}

// Holm returns p-values of several tests adjusted by Holm's method (1979): to call those
// below α significant is wrong about any of them with a probability of at most α.
func Holm(p []float64) []float64 {
	order := make([]int, len(p))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(p[i], p[j]) })
	adjusted, highest := make([]float64, len(p)), 0.0
	for rank, i := range order {
		highest = max(highest, min(1, p[i]*float64(len(p)-rank)))
		adjusted[i] = highest
	}
	return adjusted
}

// Ranking orders methods by their mean score on the same prompts.
type Ranking struct {
	Order []int      // indices of the methods, best first; equal means in their given order
	Means []Interval // of each method, by its index

	// P has the p-values of [Paired] for each two methods, by their indices, adjusted by
	// [Holm] over all pairs. The diagonal is 1.
	P [][]float64
}

// Rank ranks methods by their scores, [methods][prompts].
func Rank(scores [][]float64) (*Ranking, error) {
	r := &Ranking{}
	for m, s := range scores {
		mean, err := Mean(s)
		if err != nil {
			return nil, fmt.Errorf("method %d: %w", m, err)
		}
		r.Means, r.Order = append(r.Means, mean), append(r.Order, m)
		r.P = append(r.P, make([]float64, len(scores)))
		r.P[m][m] = 1
	}
	slices.SortStableFunc(r.Order, func(i, j int) int { return cmp.Compare(r.Means[j].Mean, r.Means[i].Mean) })
	var all []float64
	for i := range scores {
		for j := range i {
			_, p, err := Paired(scores[i], scores[j])
			if err != nil {
				return nil, fmt.Errorf("methods %d and %d: %w", j, i, err)
			}
			all = append(all, p)
		}
	}
	all = Holm(all)
	for i := range scores {
		for j := range i {
			r.P[i][j], r.P[j][i] = all[0], all[0]
			all = all[1:]
		}
	}
	return r, nil
}
