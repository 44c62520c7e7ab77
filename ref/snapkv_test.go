package ref

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"kvcompress/dtype"
	"kvcompress/internal/ceil"
	"kvcompress/kv"
)

// promptCase is a random prompt, different in every layer, and a method's options.
type promptCase struct {
	cfg    Config
	n      int
	q      [][]float32 // [L][n·H·G·D]
	k      [][]float32 // [L][n·H·D]
	option map[string]any
}

// promptMethods are the methods that compress once, after the prompt, with their specification in plain
// loops: which of a prompt's KVs each head keeps.
var promptMethods = map[string]struct {
	random func(rng *rand.Rand) map[string]any
	spec   func(c *promptCase) [][]int32
}{
	"snapkv":      {randomWindowed, specSnapKV},
	"pyramidkv":   {randomPyramid, specPyramidKV},
	"ada-snapkv":  {randomAda, specAdaSnapKV},
	"h2o-prefill": {randomH2O, specH2OPrefill},
}

func pickOf[T any](rng *rand.Rand, of ...T) T { return of[rng.IntN(len(of))] }

func randomWindowed(rng *rand.Rand) map[string]any {
	return map[string]any{
		"window": 1 + rng.IntN(8), "kernel": 1 + 2*rng.IntN(4), "pooling": pickOf(rng, "avg", "max", "max"),
		"group": pickOf(rng, "sum", "mean", "max"), "order": pickOf(rng, "before", "after"),
	}
}

func randomPyramid(rng *rand.Rand) map[string]any {
	o := randomWindowed(rng)
	o["beta"], o["budgets"] = 1+rng.IntN(20), pickOf(rng, "published", "exact", "kvpress")
	return o
}

func randomAda(rng *rand.Rand) map[string]any {
	o := randomWindowed(rng)
	o["floor"], o["normalize"], o["exact"] = pickOf(rng, 0, 0.2, 0.5, 1), rng.IntN(2) == 0, rng.IntN(3) == 0
	o["pyramid"], o["beta"] = rng.IntN(3) == 0, 1+rng.IntN(20)
	return o
}

func randomH2O(rng *rand.Rand) map[string]any {
	return map[string]any{"window": rng.IntN(8), "group": pickOf(rng, "sum", "mean", "max")}
}

// newPromptCase returns a random case of a method.
func newPromptCase(name string, seed uint64) *promptCase {
	rng := rand.New(rand.NewPCG(seed, 13))
	c := &promptCase{n: pickOf(rng, 1, 5, 9, 20, 33, 50, 70), option: promptMethods[name].random(rng)}
	c.cfg = Config{Method: name, Set: Settings{}}
	c.cfg.Shape = kv.Shape{Layers: 1 + rng.IntN(4), KVHeads: 1 + rng.IntN(3), Group: 1 + rng.IntN(3), HeadSize: 8}
	c.cfg.BlockSize, c.cfg.DType = 1<<rng.IntN(4), dtype.F32
	c.cfg.Blocks = c.cfg.Shape.Heads() * (c.n/c.cfg.BlockSize + 2)
	for key, value := range c.option {
		text, err := json.Marshal(value)
		if err != nil {
			panic(err)
		}
		c.cfg.Set[key] = text
	}
	if rng.IntN(3) == 0 {
		c.cfg.Compression.Rate = float64(1+rng.IntN(10)) / 10
	} else {
		c.cfg.Compression.MaxCacheTokens = c.option["window"].(int) + 1 + rng.IntN(30)
		if name == "ada-snapkv" && rng.IntN(8) == 0 { // the only one that accepts a capacity equal to the window
			c.cfg.Compression.MaxCacheTokens = c.option["window"].(int)
		}
	}
	row := c.cfg.Shape.KVHeads * 8
	for range c.cfg.Shape.Layers {
		c.q = append(c.q, randomFloats(rng, c.n*row*c.cfg.Shape.Group))
		c.k = append(c.k, randomFloats(rng, c.n*row))
	}
	return c
}

// enter returns an engine with the prompt as sequence 0, driven by method.
func (c *promptCase) enter(method Method) (*Engine, error) {
	e, err := NewEngine(c.cfg, nil, nil)
	if err != nil {
		return nil, err
	}
	e.method, e.observation = method, method.Observe()
	p, err := e.BeginPrompt(0, c.n)
	if err != nil {
		return nil, err
	}
	row := c.cfg.Shape.QueryHeads() * 8
	for l := range c.q {
		p.enter(l, c.q[l][(c.n-min(e.observation.Window, c.n))*row:], c.k[l], c.k[l])
	}
	p.End()
	return e, nil
}

// scores computes the scores of one head by NUMERICS.md.
func (c *promptCase) scores(o *Observation, layer, head int) []float32 {
	s := c.cfg.Shape
	d, w := s.HeadSize, min(o.Window, c.n)
	var k [][]float32
	for i := range c.n {
		k = append(k, c.k[layer][(i*s.KVHeads+head)*d:][:d])
	}
	var q []float32
	for t := c.n - w; t < c.n; t++ {
		q = append(q, c.q[layer][(t*s.KVHeads+head)*s.Group*d:][:s.Group*d]...)
	}
	return specObservation(o, q, k, s.Group)
}

func (c *promptCase) int(key string) int     { return c.option[key].(int) }
func (c *promptCase) text(key string) string { return c.option[key].(string) }
func (c *promptCase) bool(key string) bool   { return c.option[key].(bool) }

// capacity is the budget: max_cache_tokens, or a fraction of the prompt.
func (c *promptCase) capacity() int {
	if c.cfg.Compression.MaxCacheTokens > 0 {
		return c.cfg.Compression.MaxCacheTokens
	}
	return max(c.int("window"), int(math.Floor(float64(c.n)*c.cfg.Compression.Rate)))
}

func (c *promptCase) group() GroupReduction {
	return map[string]GroupReduction{"sum": GroupSum, "mean": GroupMean, "max": GroupMax}[c.text("group")]
}

func (c *promptCase) observation(scale Scale) *Observation {
	return &Observation{
		Window: c.int("window"), Norm: L1, Outside: true, Scale: scale, Group: c.group(), GroupFirst: c.text("order") == "before",
		Pool: Pool{map[string]PoolKind{"avg": AvgPool, "max": MaxPool}[c.text("pooling")], c.int("kernel")},
	}
}

// top returns, ascending, the window and the keep highest scores of the first past positions, ties to the
// later.
func (c *promptCase) top(scores []float32, past, keep int) []int32 {
	order := make([]int32, past)
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		return cmp.Or(cmp.Compare(scores[b], scores[a]), cmp.Compare(b, a))
	})
	kept := order[:min(max(keep, 0), past)]
	for i := past; i < c.n; i++ {
		kept = append(kept, int32(i))
	}
	slices.Sort(kept)
	return kept
}

// each calls f for every head in order and collects the results.
func (c *promptCase) each(f func(layer, head int) []int32) [][]int32 {
	var kept [][]int32
	for l := range c.cfg.Shape.Layers {
		for h := range c.cfg.Shape.KVHeads {
			kept = append(kept, f(l, h))
		}
	}
	return kept
}

func specSnapKV(c *promptCase) [][]int32 {
	w := c.int("window")
	past := max(0, c.n-w)
	return c.each(func(l, h int) []int32 {
		return c.top(c.scores(c.observation(ScaleNone), l, h), past, c.capacity()-w)
	})
}

func specH2OPrefill(c *promptCase) [][]int32 {
	w := c.int("window")
	past := max(0, c.n-w)
	o := &Observation{Window: AllQueries, Norm: L1, Group: c.group()}
	return c.each(func(l, h int) []int32 { return c.top(c.scores(o, l, h), past, c.capacity()-w) })
}

// specBudget is how many KVs a head of a layer keeps before the window, by the published code of PyramidKV,
// by its exact variant, by kvpress, and by the code of Ada-SnapKV.
func (c *promptCase) specBudget(budgets string, layer int) int {
	layers, w, n, beta := c.cfg.Shape.Layers, c.int("window"), c.n, c.int("beta")
	if budgets == "kvpress" {
		mean := float64(c.cfg.Compression.MaxCacheTokens)
		if mean == 0 {
			mean = float64(n) * c.cfg.Compression.Rate
		}
		share := mean
		mean = float64(float64(w)+mean) - float64(w)
		low := mean / float64(beta)
		high := mean*2 - low
		if high >= float64(n-w) {
			high = float64(n - w)
			low = mean*2 - high
		}
		if layers == 1 || high > float64(n) || low > high || low < float64(w) {
			return int(math.RoundToEven(share)) - w
		}
		return int(math.RoundToEven(high-float64(float64(layer)*((high-low)/float64(layers-1))))) - w
	}
	mean := c.capacity() - w
	if n < c.capacity() && budgets != "ada-snapkv" {
		return n
	}
	if layers == 1 || n < 2*mean && budgets != "ada-snapkv" {
		return mean
	}
	low := mean / beta
	high := 2*mean - low
	if high >= n-w {
		high = n - w
		low = 2*mean - high
	}
	if budgets != "exact" {
		return high - layer*int(math.Floor(float64(high-low)/float64(layers-1)))
	}
	// The part of the line from high to low below the sum of the earlier layers, in units of 1/(2(L−1)).
	unit := 2 * (layers - 1)
	sum := func(l int) int {
		whole := 0
		for i := range l {
			whole += unit*high - 2*i*(high-low)
		}
		return int(math.Floor(float64(whole) / float64(unit)))
	}
	return sum(layer+1) - sum(layer)
}

func specPyramidKV(c *promptCase) [][]int32 {
	past := max(0, c.n-c.int("window"))
	return c.each(func(l, h int) []int32 {
		budget := c.specBudget(c.text("budgets"), l)
		if budget < 0 { // kvpress: less than the window, whose newest tokens are kept
			return c.top(nil, 0, 0)[c.n-(c.int("window")+budget):]
		}
		return c.top(c.scores(c.observation(ScaleNone), l, h), past, budget)
	})
}

func specAdaSnapKV(c *promptCase) [][]int32 {
	w, heads := c.int("window"), c.cfg.Shape.KVHeads
	past := max(0, c.n-w)
	if past == 0 {
		return c.each(func(int, int) []int32 { return c.top(nil, 0, 0) })
	}
	var kept [][]int32
	for l := range c.cfg.Shape.Layers {
		base := c.capacity() - w
		if c.bool("pyramid") {
			base = c.specBudget("ada-snapkv", l)
		}
		if base > past {
			for range heads {
				kept = append(kept, c.top(nil, 0, 0))
			}
			continue
		}
		type entry struct {
			score   float32
			head, i int
			raw     float32
		}
		var all []entry
		scores := make([][]float32, heads)
		for h := range heads {
			scores[h] = c.scores(c.observation(ScaleByWindow), l, h)
			factor := float32(1)
			if sorted := slices.Sorted(slices.Values(scores[h][:past])); c.bool("normalize") && past > 0 && sorted[past-1] > 0 {
				warp := func(x []float32) float32 {
					var lane [32]float32
					for i, v := range x {
						lane[i%32] = lane[i%32] + v
					}
					for distance := 16; distance >= 1; distance /= 2 {
						old := lane
						for i := range lane {
							lane[i] = old[i] + old[i^distance]
						}
					}
					return lane[0]
				}
				factor = warp(sorted[past-base:]) / warp(sorted)
			}
			for i, s := range scores[h][:past] {
				all = append(all, entry{float32(s * factor), h, i, s})
			}
		}
		slices.SortFunc(all, func(a, b entry) int { // the last ones are kept
			return cmp.Or(cmp.Compare(a.score, b.score), cmp.Compare(a.head, b.head), cmp.Compare(a.raw, b.raw), cmp.Compare(a.i, b.i))
		})
		mine := make([]int, heads)
		for _, x := range all[len(all)-heads*base:] {
			mine[x.head]++
		}
		alpha, _ := c.option["floor"].(float64) // 0 if the option is the integer 0 or 1
		if whole, ok := c.option["floor"].(int); ok {
			alpha = float64(whole)
		}
		budget := make([]int, heads)
		given := 0
		rest := make([]float64, heads)
		for h, n := range mine {
			budget[h] = int(math.RoundToEven(float64(float32(float32(n)*float32(1-alpha)) + float32(int(float64(base)*alpha)))))
			if c.bool("exact") {
				x := float64(float64(n)*(1-alpha)) + float64(float64(base)*alpha)
				budget[h] = int(math.Floor(x))
				rest[h] = x - math.Floor(x)
			}
			given += budget[h]
		}
		for c.bool("exact") && given < heads*base {
			best := -1
			for h := range heads {
				if rest[h] >= 0 && (best < 0 || rest[h] > rest[best]) {
					best = h
				}
			}
			budget[best]++
			rest[best] = -1
			given++
		}
		for h := range heads {
			kept = append(kept, c.top(scores[h], past, budget[h]))
		}
	}
	return kept
}

// differ runs a method on a case, with decide instead of Decide, and returns an error if it keeps other KVs
// than its specification.
func (c *promptCase) differ(method Dropper, decide func(*Problem) Decision) error {
	e, err := c.enter(method)
	if err != nil {
		return err
	}
	v := View{e.cache, e.cache.Sequence(0)}
	want := promptMethods[c.cfg.Method].spec(c)
	plan := v.drop(method.Rank(v.Counts()), decide)
	kept := make([][]int32, len(want))
	for i := range kept {
		for p := range c.n {
			kept[i] = append(kept[i], int32(p))
		}
	}
	for _, edit := range plan.Edits { // before a compression, a KV's logical index is its position
		kept[edit.Head] = slices.DeleteFunc(kept[edit.Head], func(p int32) bool { return slices.Contains(edit.KVs, p) })
	}
	for i := range want {
		if !slices.Equal(kept[i], want[i]) {
			return fmt.Errorf("%d tokens, %+v, %v: head %d keeps\n%v, the specification\n%v", c.n, c.cfg.Shape, c.cfg, i, kept[i], want[i])
		}
	}
	return nil
}

const promptSeeds = 150

// TestPromptMethods compares each method with its specification, Plan with Spec, and what the engine does
// with the plan.
func TestPromptMethods(t *testing.T) {
	for name := range promptMethods {
		t.Run(name, func(t *testing.T) {
			acted := 0
			for seed := range uint64(promptSeeds) {
				c := newPromptCase(name, seed)
				m, err := c.cfg.NewMethod()
				if err != nil {
					t.Fatal(err)
				}
				method := m.(Dropper)
				if err := c.differ(method, Decide); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				e, err := c.enter(method)
				if err != nil {
					t.Fatal(err)
				}
				v := View{e.cache, e.cache.Sequence(0)}
				quick, plain := method.Plan(v), method.Spec(v)
				if !reflect.DeepEqual(quick, plain) {
					t.Fatalf("seed %d: Plan and Spec differ:\n%+v\n%+v", seed, quick, plain)
				}
				if err := settled(e, quick); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				if len(quick.Edits) > 0 {
					acted++
				}
			}
			if acted < promptSeeds/3 {
				t.Errorf("%d of %d cases evict anything", acted, promptSeeds)
			}
		})
	}
}

// settled compresses and checks that exactly the plan's KVs are evicted, and that the method asks for nothing
// more, now and after another token.
func settled(e *Engine, plan Plan) error {
	s := e.cache.Sequence(0)
	before := s.KVs()
	if _, err := e.Compress(0); err != nil {
		return err
	}
	if held := s.KVs(); held != before-plan.KVs() {
		return fmt.Errorf("%d KVs are held after a plan that leaves %d", held, before-plan.KVs())
	}
	if len(plan.Edits) > 0 && e.Count(0) != 0 {
		return fmt.Errorf("%d more are asked for after a compression", e.Count(0))
	}
	tokens, err := e.BeginTokens([]kv.SeqID{0})
	if err != nil {
		return err
	}
	shape := e.cfg.Shape
	row := shape.KVHeads * shape.HeadSize
	for range shape.Layers {
		q, k := make([]float32, row*shape.Group), make([]float32, row)
		if err := tokens.Layer(q, k, k, make([]float32, len(q))); err != nil {
			return err
		}
	}
	tokens.End()
	if n := e.Count(0); n != 0 {
		return fmt.Errorf("%d are asked for during decode", n)
	}
	return nil
}

// TestRankingsQuickEqualPlain compares Decide with Walk on random rankings of random columns, with many or
// few ties, with Refine and with Share.
func TestRankingsQuickEqualPlain(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 14))
		layers, heads, blockSize := 1+rng.IntN(3), 1+rng.IntN(4), 1<<rng.IntN(4)
		p := &Problem{KVHeads: heads, BlockSize: blockSize, Heads: make([]kv.Head, layers*heads)}
		p.Unit = pickOf(rng, 1, blockSize)
		p.Window, p.Sinks = rng.IntN(5), rng.IntN(3)
		if rng.IntN(3) > 0 {
			p.Share = make([]int, len(p.Heads))
		}
		distinct := pickOf(rng, 1, 3, 1<<20)
		for i := range p.Heads {
			n := rng.IntN(60)
			table := make([]int32, ceil.Div(n, blockSize))
			for b := range table {
				table[b] = int32(len(p.Positions)/blockSize + b)
			}
			p.Heads[i] = kv.Head{Segment: kv.Segment{Table: table, Len: n}}
			for j := range len(table) * blockSize {
				p.Positions = append(p.Positions, int32(j))
				p.Scores = append(p.Scores, float32(rng.IntN(distinct))/7)
			}
			p.Length = max(p.Length, n)
			if p.Share != nil {
				p.Share[i] = rng.IntN(70)
			}
		}
		for l := range layers {
			p.Quotas = append(p.Quotas, Quota{First: l * heads, Heads: heads, Units: rng.IntN(80)})
		}
		if rng.IntN(2) == 0 {
			p.Refine = func(lost []int) []Quota {
				var quotas []Quota
				for i, n := range lost {
					quotas = append(quotas, Quota{First: i, Heads: 1, Units: (n + 1) / 2})
				}
				return quotas
			}
		}
		if quick, plain := Decide(p), Walk(p); !quick.Equal(&plain) {
			t.Fatalf("seed %d: Decide and Walk differ:\n%+v\n%+v", seed, quick, plain)
		}
	}
}

// planted is a method with a planted bug.
type planted struct {
	Dropper
	observation func(*Observation)
	rank        func(*Ranking)
}

func (p planted) Observe() *Observation {
	o := *p.Dropper.Observe()
	if p.observation != nil {
		p.observation(&o)
	}
	return &o
}

func (p planted) Rank(c Counts) Ranking {
	r := p.Dropper.Rank(c)
	if p.rank != nil {
		p.rank(&r)
	}
	return r
}

// latestFirst decides with the opposite order of ties: it numbers the KVs of a head from the last.
func latestFirst(p *Problem) Decision {
	turned := *p
	turned.Scores = make([]float32, len(p.Scores))
	for i := range p.Heads {
		h := &p.Heads[i]
		slots := make([]int, h.Len)
		for j := range slots {
			slots[j] = h.Slot(h.Len-1-j, p.BlockSize)
		}
		slices.SortStableFunc(slots, func(a, b int) int { return cmp.Compare(p.Scores[a], p.Scores[b]) })
		for n, slot := range slots {
			turned.Scores[slot] = float32(n)
		}
	}
	return Decide(&turned)
}

// quotas edits every quota.
func quotas(edit func(*Quota)) func(*Ranking) {
	return func(r *Ranking) {
		r.Quotas = slices.Clone(r.Quotas)
		for i := range r.Quotas {
			edit(&r.Quotas[i])
		}
	}
}

// refined edits the quotas that Refine returns.
func refined(edit func(lost []int, q []Quota)) func(*Ranking) {
	return func(r *Ranking) {
		before := r.Refine
		if before == nil {
			return
		}
		r.Refine = func(lost []int) []Quota {
			q := before(lost)
			edit(lost, q)
			return q
		}
	}
}

// TestPlantedInPromptMethods plants a bug in a method and expects TestPromptMethods to notice it.
func TestPlantedInPromptMethods(t *testing.T) {
	for _, bug := range []struct {
		method, name string
		observation  func(*Observation)
		rank         func(*Ranking)
		decide       func(*Problem) Decision
	}{
		{"snapkv", "the pool sees the window", func(o *Observation) { o.Outside = false }, nil, nil},
		{"snapkv", "average pooling divides by the neighbours that there are", func(o *Observation) {
			right := *o
			o.Scorer = scoring(func(h *PromptHead, scores []float32) {
				right.Prompt(h, scores)
				if right.Pool.Kind != AvgPool {
					return
				}
				past := max(0, len(h.K)/h.HeadSize-right.Window)
				for i := range past {
					reach := right.Pool.Width / 2
					there := min(past-1, i+reach) - max(0, i-reach) + 1
					scores[i] *= float32(right.Pool.Width) / float32(there)
				}
			})
		}, nil, nil},
		{"snapkv", "one query too few is observed", func(o *Observation) { o.Window = max(1, o.Window-1) }, nil, nil},
		{"snapkv", "the window is one token short", nil, func(r *Ranking) { r.Window-- }, nil},
		{"snapkv", "the capacity leaves the window out", nil, func(r *Ranking) {
			quotas(func(q *Quota) { q.Units = max(0, q.Units-r.Window) })(r)
		}, nil},
		{"snapkv", "of equal scores the later goes first", nil, nil, latestFirst},
		{"snapkv", "the group is reduced after pooling", func(o *Observation) { o.GroupFirst = !o.GroupFirst }, nil, nil},

		{"pyramidkv", "budgets rise with the layer", nil, func(r *Ranking) {
			r.Quotas = slices.Clone(r.Quotas)
			for i, j := 0, len(r.Quotas)-1; i < j; i, j = i+1, j-1 {
				r.Quotas[i].Units, r.Quotas[j].Units = r.Quotas[j].Units, r.Quotas[i].Units
			}
		}, nil},
		{"pyramidkv", "budgets leave the window out", nil, func(r *Ranking) {
			quotas(func(q *Quota) { q.Units = max(0, q.Units-r.Window) })(r)
		}, nil},
		{"pyramidkv", "one KV too many is kept", nil, quotas(func(q *Quota) { q.Units-- }), nil},
		{"pyramidkv", "of equal scores the later goes first", nil, nil, latestFirst},
		{"pyramidkv", "the pool sees the window", func(o *Observation) { o.Outside = false }, nil, nil},

		{"ada-snapkv", "there is no floor", nil, refined(func(lost []int, q []Quota) {
			for i := range q {
				q[i].Units = lost[q[i].First]
			}
		}), nil},
		{"ada-snapkv", "heads compete over all layers", nil, func(r *Ranking) {
			if n := len(r.Quotas); n > 0 {
				last := r.Quotas[n-1]
				r.Quotas = []Quota{{First: r.Quotas[0].First, Heads: last.First + last.Heads - r.Quotas[0].First, Units: asked(r.Quotas)}}
			}
		}, nil},
		{"ada-snapkv", "scores are not normalized", nil, func(r *Ranking) { r.Share = nil }, nil},
		{"ada-snapkv", "the shares are of one KV too many", nil, func(r *Ranking) {
			r.Share = slices.Clone(r.Share)
			for i := range r.Share {
				r.Share[i]++
			}
		}, nil},
		{"ada-snapkv", "budgets are rounded up", nil, refined(func(_ []int, q []Quota) {
			for i := range q {
				q[i].Units = max(0, q[i].Units-1)
			}
		}), nil},
		{"ada-snapkv", "the window is one token short", nil, func(r *Ranking) { r.Window-- }, nil},

		{"h2o-prefill", "a query does not count for its own key", func(o *Observation) { o.Buffer = 1 }, nil, nil},
		{"h2o-prefill", "sums are divided by age", func(o *Observation) { o.Scale = ScaleByAge }, nil, nil},
		{"h2o-prefill", "the window's queries alone are observed", func(o *Observation) { o.Window = 4 }, nil, nil},
		{"h2o-prefill", "the window is one token too long", nil, func(r *Ranking) { r.Window++ }, nil},
		{"h2o-prefill", "squares are summed", func(o *Observation) { o.Norm = L2 }, nil, nil},
	} {
		t.Run(bug.method+"/"+bug.name, func(t *testing.T) {
			decide := bug.decide
			if decide == nil {
				decide = Decide
			}
			for seed := range uint64(promptSeeds) {
				c := newPromptCase(bug.method, seed)
				m, err := c.cfg.NewMethod()
				if err != nil {
					t.Fatal(err)
				}
				if err := c.differ(planted{m.(Dropper), bug.observation, bug.rank}, decide); err != nil {
					return
				}
			}
			t.Errorf("not noticed in %d cases", promptSeeds)
		})
	}
}

// TestPromptMethodOptions has invalid options and the errors they give.
func TestPromptMethodOptions(t *testing.T) {
	for _, c := range []struct{ method, set, want string }{
		{"snapkv", `{"window":0}`, "window 0"},
		{"snapkv", `{"window":64}`, "max_cache_tokens 64 includes the window of 64"},
		{"snapkv", `{"kernel":4}`, "kernel 4"},
		{"snapkv", `{"kernel":33}`, "kernel 33"},
		{"snapkv", `{"pooling":"avgpool"}`, `pooling "avgpool"`},
		{"snapkv", `{"group":"min"}`, `group "min"`},
		{"snapkv", `{"order":"first"}`, `order "first"`},
		{"snapkv", `{"width":5}`, `no option "width": choose one of window, kernel`},
		{"snapkv", `{"window":"long"}`, "window: want an integer"},
		{"pyramidkv", `{"beta":0}`, "beta 0"},
		{"pyramidkv", `{"budgets":"drift"}`, `budgets "drift"`},
		{"ada-snapkv", `{"floor":1.5}`, "floor 1.5"},
		{"ada-snapkv", `{"floor":-0.1}`, "floor -0.1"},
		{"ada-snapkv", `{"beta":-1}`, "beta -1"},
		{"ada-snapkv", `{"window":65}`, "max_cache_tokens 64 includes the window of 65"},
		{"h2o-prefill", `{"window":-1}`, "window -1"},
		{"h2o-prefill", `{"group":"each"}`, `group "each"`},
	} {
		var cfg Config
		cfg.UseMethod(c.method)
		cfg.Compression.MaxCacheTokens = 64
		cfg.Shape = kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 8}
		err := json.Unmarshal([]byte(c.set), &cfg.Set)
		if err == nil {
			_, err = cfg.NewMethod()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.method) {
			t.Errorf("%s %s: got %v, want an error with %q", c.method, c.set, err, c.want)
		}
	}
}

// TestPyramidKVBudgets has budgets computed by hand, for 4 layers, a window of 8 and a capacity of 18, so a
// mean of 10.
func TestPyramidKVBudgets(t *testing.T) {
	for _, c := range []struct {
		layers, beta, tokens int
		budgets              func(*pyramid) []int
		want                 []int
	}{
		{4, 20, 100, (*pyramid).published, []int{28, 22, 16, 10}}, // 20, 14, 8, 2: steps of ⌊20/3⌋, the sum is 4 too large
		{4, 20, 100, (*pyramid).exact, []int{28, 21, 15, 8}},      // 20, 13⅓, 6⅔, 0
		{4, 2, 100, (*pyramid).published, []int{23, 20, 17, 14}},  // 15, 12, 9, 6: from 15 to 5
		{4, 2, 100, (*pyramid).exact, []int{23, 19, 17, 13}},      // 15, 11⅔, 8⅓, 5
		{4, 20, 20, (*pyramid).published, []int{20, 19, 18, 17}},  // there are 12 before the window: from 12 to 8
		{4, 20, 19, (*pyramid).published, []int{18, 18, 18, 18}},  // less than twice the mean
		{4, 20, 18, (*pyramid).published, []int{18, 18, 18, 18}},
		{4, 20, 17, (*pyramid).published, []int{17, 17, 17, 17}},
		{1, 20, 100, (*pyramid).published, []int{18}},
		{1, 20, 100, (*pyramid).exact, []int{18}},
		{4, 2, 100, (*pyramid).kvpress, []int{27, 21, 15, 9}},   // of 18: from 27 to 9
		{4, 20, 100, (*pyramid).kvpress, []int{18, 18, 18, 18}}, // 0.9 is less than the window
		{4, 20, 19, (*pyramid).adaKV, []int{19, 19, 19, 19}},    // there are 11 before the window: from 11 to 9, in steps of 0
		{3, 20, 19, (*pyramid).adaKV, []int{19, 18, 17}},
		{4, 20, 18, (*pyramid).adaKV, []int{18, 18, 18, 18}},
		{4, 20, 17, (*pyramid).adaKV, []int{17, 18, 19, 20}}, // from 9 to 11, in steps of ⌊−2/3⌋
		{4, 20, 100, (*pyramid).adaKV, []int{28, 22, 16, 10}},
		{1, 20, 100, (*pyramid).adaKV, []int{18}},
	} {
		p := &pyramid{layers: c.layers, beta: c.beta, window: 8, tokens: c.tokens, capacity: 18, share: 18}
		if got := c.budgets(p); !slices.Equal(got, c.want) {
			t.Errorf("%d layers, β %d, %d tokens: %v, want %v", c.layers, c.beta, c.tokens, got, c.want)
		}
	}
}
