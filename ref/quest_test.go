package ref

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestQuest draws keys, queries and budgets. Scores must equal their specification to the bit and bound every
// q·k of their page; the tokens read must be the newest and those of the best pages, up to the budget.
func TestQuest(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for round := range 400 {
		n, d, page := 1+rng.IntN(60), 8, 1+rng.IntN(9)
		budget, recent := 1+rng.IntN(70), rng.IntN(20)
		draw := func(n int) []float32 {
			x := make([]float32, n)
			for i := range x {
				x[i] = float32(rng.IntN(9)-4) / 4 // few values: ties, and zeros
			}
			return x
		}
		q, keys := draw(d), draw(n*d)
		before := QuestBefore(n, budget, recent)
		low, high := QuestBounds(keys[:before*d], d, page)
		scores, plain := QuestScores(q, low, high), questScoresPlain(q, keys[:before*d], page)
		for p := range plain {
			if math.Float32bits(scores[p]+0) != math.Float32bits(plain[p]+0) {
				t.Fatalf("round %d, page %d: score %g, specification %g", round, p, scores[p], plain[p])
			}
		}
		for i := range before {
			var dot float32
			for e := range q {
				dot += float32(q[e] * keys[i*d+e])
			}
			if dot > scores[i/page] { // exact: multiples of 1/16
				t.Fatalf("round %d: q·k %g of token %d is above its page's bound %g", round, dot, i, scores[i/page])
			}
		}
		got := QuestSelect(scores, n, page, budget, recent)
		if want := questSelect(scores, n, page, budget, recent, lowestSorted); !slices.Equal(got, want) {
			t.Fatalf("round %d: reads %v, specification %v", round, got, want)
		}
		if want := modelQuest(scores, n, before, page, budget); !slices.Equal(got, want) {
			t.Fatalf("round %d: %d tokens, pages of %d, a budget of %d, %d recent: reads %v, want %v", round, n, page, budget, recent, got, want)
		}
	}
}

// modelQuest selects as the published code does: the best pages, one more than fills the budget if the last
// is partly filled; then the first of their tokens.
func modelQuest(scores []float32, n, before, page, budget int) []int32 {
	var selected []int32
	for i := range n {
		selected = append(selected, int32(i))
	}
	if budget >= n {
		return selected
	}
	best := make([]int, len(scores))
	for p := range best {
		best[p] = p
	}
	slices.SortStableFunc(best, func(a, b int) int { return cmp.Compare(scores[b], scores[a]) })
	left := budget - (n - before)
	count := int(math.Ceil(float64(left) / float64(page)))
	if left > 0 && before%page > 0 && count < len(scores) {
		count++
	}
	var old []int32
	for i := range before {
		if slices.Contains(best[:count], i/page) {
			old = append(old, int32(i))
		}
	}
	return append(old[:min(left, len(old))], selected[before:]...)
}

// TestQuestBugs plants bugs in the selection and in the bounds, each of which changes the result of one fixed
// case.
func TestQuestBugs(t *testing.T) {
	q := []float32{1, -1}
	keys := []float32{0, 0, 4, 4, 3.5, -1, -9, 3, 1, 0} // 5 tokens of D = 2
	const n, page, budget, recent = 5, 2, 3, 1
	before := QuestBefore(n, budget, recent)
	low, high := QuestBounds(keys[:before*2], 2, page)
	right := QuestSelect(QuestScores(q, low, high), n, page, budget, recent)
	if want := []int32{2, 3, 4}; !slices.Equal(right, want) {
		t.Fatalf("reads %v, want %v", right, want)
	}
	lowAll, highAll := QuestBounds(keys, 2, page)
	for _, bug := range []struct {
		name string
		got  []int32
	}{
		{"the maxima for every sign", QuestSelect(QuestScores([]float32{1, 1}, low, high), n, page, budget, recent)},
		{"minima and maxima swapped", QuestSelect(QuestScores(q, high, low), n, page, budget, recent)},
		{"the newest are not taken out", QuestSelect(QuestScores(q, lowAll, highAll), n, page, budget, 0)},
		{"the budget is without the newest", QuestSelect(QuestScores(q, low, high), n, page, budget+recent, recent)},
	} {
		if slices.Equal(bug.got, right) {
			t.Errorf("nothing notices: %s", bug.name)
		}
	}
}
