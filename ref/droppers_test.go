package ref

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestMethodsAsPublished compares the methods that need only counts, positions or sums of attention with
// models of them, and plants bugs that the comparison must find.
func TestMethodsAsPublished(t *testing.T) {
	oneMore := bendRank(func(c Counts, r *Ranking) {
		for i := range r.Quotas {
			if r.Quotas[i].Units > 0 {
				r.Quotas[i].Units++
			}
		}
	})
	firstHeadOnly := bendRank(func(_ Counts, r *Ranking) { r.Quotas = r.Quotas[:min(1, len(r.Quotas))] })
	scoreBugs := []plantedBug{
		{"the newest are not protected", bendRank(func(_ Counts, r *Ranking) { r.Window = 0 })},
		{"one too few of the newest is protected", bendRank(func(_ Counts, r *Ranking) { r.Window-- })},
		{"one too many is dropped", oneMore},
		{"scores are averaged over the queries after the KV", bendRank(func(_ Counts, r *Ranking) { r.Average = true })},
		{"decode steps are not observed", bendObservation(func(o *Observation) { o.Decode = false })},
		{"P² instead of P", bendObservation(func(o *Observation) { o.Norm = L2 })},
		{"a query does not count for its own key", bendObservation(func(o *Observation) { o.Buffer = 1 })},
	}
	h2o := func(*modelRun) modelRule {
		return func(_, _ int, kvs []modelKV) (drop, hide []bool) {
			if len(kvs) <= 8 {
				return nil, nil
			}
			return butHeaviest(kvs, 5, 3), nil
		}
	}
	for _, test := range []methodTest{
		{
			name: "streaming-llm", method: "streaming-llm", compress: Compression{MaxCacheTokens: 10},
			rule: func(*modelRun) modelRule {
				return func(_, _ int, kvs []modelKV) (drop, hide []bool) { return but(len(kvs), 4, 6), nil }
			},
			bugs: []plantedBug{
				{"sinks are evicted", bendRank(func(_ Counts, r *Ranking) { r.Sinks = 0 })},
				{"a sink too few", bendRank(func(_ Counts, r *Ranking) { r.Sinks-- })},
				{"at random", bendRank(func(_ Counts, r *Ranking) { r.Key = ByHash })},
				{"one too many is dropped", oneMore},
				{"only one head is compressed", firstHeadOnly},
			},
		},
		{
			name: "streaming-llm by rate", method: "streaming-llm", set: set("sinks", "2"), compress: Compression{Rate: 0.5},
			rule: func(r *modelRun) modelRule {
				return func(_, _ int, kvs []modelKV) (drop, hide []bool) { return but(len(kvs), 2, max(1, r.prompt/2-2)), nil }
			},
			bugs: []plantedBug{
				{"the rate is of all tokens", bendRank(func(c Counts, r *Ranking) {
					r.Quotas = overflow(c.Heads, func(int) int { return max(3, c.Tokens/2) })
				})},
			},
		},
		{
			name: "duo-attention", method: "duo-attention", set: set("full", "[[0,1],[1,0]]", "sinks", "3", "recent", "5"),
			rule: func(*modelRun) modelRule {
				return func(head, _ int, kvs []modelKV) (drop, hide []bool) {
					if head == 1 || head == 2 {
						return nil, nil
					}
					return but(len(kvs), 3, 5), nil
				}
			},
			bugs: []plantedBug{
				{"full heads are compressed", bendRank(func(c Counts, r *Ranking) { r.Quotas = overflow(c.Heads, func(int) int { return 8 }) })},
				{"full and streaming are swapped", bendRank(func(_ Counts, r *Ranking) {
					for i := range r.Quotas {
						r.Quotas[i].First ^= 1
					}
					slices.SortFunc(r.Quotas, func(a, b Quota) int { return a.First - b.First })
				})},
				{"sinks are evicted", bendRank(func(_ Counts, r *Ranking) { r.Sinks = 0 })},
				{"one too many is dropped", oneMore},
			},
		},
		{
			name: "duo-attention by max_cache_tokens", method: "duo-attention", set: set("full", "[[0,0],[0,1]]", "sinks", "3"), compress: Compression{MaxCacheTokens: 9},
			rule: func(*modelRun) modelRule {
				return func(head, _ int, kvs []modelKV) (drop, hide []bool) {
					if head == 3 {
						return nil, nil
					}
					return but(len(kvs), 3, 6), nil
				}
			},
		},
		{
			name: "random", method: "random", set: set("seed", "7"), compress: Compression{MaxCacheTokens: 8},
			rule: func(*modelRun) modelRule {
				return func(head, _ int, kvs []modelKV) (drop, hide []bool) {
					drop = make([]bool, len(kvs))
					cost := func(i int) float32 { return randomCost(7, 0, head/2, head%2, int32(kvs[i].position)) }
					order := make([]int, len(kvs))
					for i := range order {
						order[i] = i
					}
					slices.SortFunc(order, func(a, b int) int {
						if cost(a) < cost(b) {
							return -1
						}
						return 1
					})
					for _, i := range order[:max(0, len(kvs)-8)] {
						drop[i] = true
					}
					return drop, nil
				}
			},
			bugs: []plantedBug{
				{"the oldest go", bendRank(func(_ Counts, r *Ranking) { r.Key = ByPosition })},
				{"another seed", bendRank(func(_ Counts, r *Ranking) { r.Seed = 0 })},
				{"one too many is dropped", oneMore},
			},
		},
		{
			name: "h2o-real-drop", method: "h2o-real-drop", set: set("heavy", "0.6"), compress: Compression{MaxCacheTokens: 8},
			rule: h2o, bugs: scoreBugs,
		},
		{
			name: "h2o-real-drop, a score for each query head", method: "h2o-real-drop", set: set("heavy", "0.6", "query-head", "true"),
			compress: Compression{MaxCacheTokens: 8},
			rule:     h2o,
			bugs: append(scoreBugs[:len(scoreBugs):len(scoreBugs)],
				plantedBug{"the first query head decides", bendRank(func(_ Counts, r *Ranking) { r.Width = 1 })}),
		},
		{
			name: "h2o-mask", method: "h2o-mask", set: set("heavy", "0.6"), compress: Compression{MaxCacheTokens: 8},
			rule: func(*modelRun) modelRule {
				return func(_, _ int, kvs []modelKV) (drop, hide []bool) {
					if len(kvs) <= 8 {
						return nil, nil
					}
					return nil, butHeaviest(kvs, 5, 3)
				}
			},
			bugs: []plantedBug{
				{"nothing is hidden", bendPlan(func(p *Plan) { p.Edits = nil })},
				{"one too few is hidden", bendPlan(func(p *Plan) { p.Edits[3].KVs = p.Edits[3].KVs[1:] })},
				{"the heads are confused", bendPlan(func(p *Plan) { p.Edits[0].KVs, p.Edits[1].KVs = p.Edits[1].KVs, p.Edits[0].KVs })},
				{"flags overwrite scores", func(e *Engine) { e.masker = elsewhere{e.masker} }},
				{"the published off-by-one", bendMask(func(m *h2oMask) { m.opt.Published = true })},
				{"more heavy hitters, fewer of the newest", bendMask(func(m *h2oMask) { m.opt.Heavy = 0.75 })},
				{"decode steps are not observed", bendObservation(func(o *Observation) { o.Decode = false })},
				{"P² instead of P", bendObservation(func(o *Observation) { o.Norm = L2 })},
			},
		},
		{
			name: "h2o-mask as published", method: "h2o-mask", set: set("heavy", "0.6", "published", "true"), compress: Compression{MaxCacheTokens: 8},
			rule: func(*modelRun) modelRule {
				return func(_, tokens int, kvs []modelKV) (drop, hide []bool) {
					if len(kvs) <= 8 {
						return nil, nil
					}
					again := slices.Clone(kvs)
					again[len(kvs)-4].hidden = false // hidden last time as the oldest of the recent KVs
					hide = butHeaviest(again, 5, 3)
					hide[len(kvs)-3] = true
					return nil, hide
				}
			},
			bugs: []plantedBug{
				{"without the off-by-one", bendMask(func(m *h2oMask) { m.opt.Published = false })},
			},
		},
	} {
		t.Run(test.name, test.run)
	}
}

// bendMask changes h2o-mask, to plant a bug.
func bendMask(bend func(*h2oMask)) func(*Engine) {
	return func(e *Engine) {
		m := e.method.(h2oMask)
		bend(&m)
		e.method, e.masker = m, m
	}
}

// bentPlan is h2o-mask with a planted bug in its plans.
type bentPlan struct {
	h2oMask
	bend func(*Plan)
}

func (m bentPlan) Plan(v View) Plan {
	p := m.h2oMask.Plan(v)
	if len(p.Edits) > 0 {
		m.bend(&p)
	}
	return p
}

func (m bentPlan) Spec(v View) Plan { return m.Plan(v) }

func bendPlan(bend func(*Plan)) func(*Engine) {
	return func(e *Engine) { e.method = bentPlan{e.method.(h2oMask), bend} }
}

// elsewhere is a Masker that marks hidden KVs in the column of the scores.
type elsewhere struct{ Masker }

func (elsewhere) Hidden() int { return 0 }

// TestPublishedMaskHidesItself: if the budget has no recent KVs, the published code hides the next token from
// its own query, and keeps it hidden.
func TestPublishedMaskHidesItself(t *testing.T) {
	for _, test := range []struct {
		published, hides bool
	}{{true, true}, {false, false}} {
		cfg := Config{Set: set("heavy", "1", "published", fmt.Sprint(test.published)), Compression: Compression{MaxCacheTokens: 4}}
		e := h2oMaskEntry()
		m, err := e.New(&cfg)
		if err != nil {
			t.Fatal(err)
		}
		masker := m.(Masker)
		if got := masker.HidesNew(9, 9); got != test.hides {
			t.Errorf("published %t: a new KV is hidden: %t", test.published, got)
		}
		if masker.HidesNew(4, 4) {
			t.Errorf("published %t: a new KV is hidden although nothing needs to be", test.published)
		}
	}
}

func TestLowest(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 2000 {
		keys := make([]uint32, rng.IntN(40))
		for i := range keys {
			keys[i] = rng.Uint32() >> (rng.UintN(4) * 10) << (rng.UintN(2) * 8)
			if rng.IntN(3) == 0 {
				keys[i] = 0xffffffff
			}
		}
		n := rng.IntN(len(keys) + 1)
		got, want := slices.Sorted(slices.Values(lowest(keys, n))), slices.Sorted(slices.Values(lowestSorted(keys, n)))
		if !slices.Equal(got, want) {
			t.Fatalf("round %d: the %d lowest of %x: %v, want %v", round, n, keys, got, want)
		}
	}
}

// TestOptionsOfMethods: options that a method cannot use give an error that says what would work.
func TestOptionsOfMethods(t *testing.T) {
	for _, test := range []struct {
		method   string
		set      Settings
		compress Compression
		want     string // substring of the error; empty for none
	}{
		{"streaming-llm", nil, Compression{MaxCacheTokens: 5}, ""},
		{"streaming-llm", nil, Compression{MaxCacheTokens: 4}, "want at least 5: 4 sinks and 1 recent KV"},
		{"streaming-llm", set("positions", `"cache"`), Compression{}, `state "rope" in trace.json`},
		{"streaming-llm", set("positions", "true"), Compression{}, "positions"},
		{"streaming-llm", set("sinks", "-1"), Compression{}, "sinks is -1"},
		{"streaming-llm", set("sink", "4"), Compression{}, `no option "sink" (did you mean sinks?): choose one of sinks`},
		{"duo-attention", set("full", "[[0,1],[1,0]]"), Compression{}, ""},
		{"duo-attention", nil, Compression{}, "--set map=FILE"},
		{"duo-attention", set("full", `"none"`), Compression{}, ""},
		{"duo-attention", set("full", "[]"), Compression{}, ""},
		{"duo-attention", set("full", "null"), Compression{}, "--set full=none"},
		{"duo-attention", set("full", `"some"`), Compression{}, "full: want"},
		{"duo-attention", set("full", "[[0,1]]"), Compression{}, "full has 1 layers, the model has 2"},
		{"duo-attention", set("full", "[[0,1],[1]]"), Compression{}, "layer 1 has 1 KV heads, the model's have 2"},
		{"duo-attention", set("full", "[[0,1],[1,2]]"), Compression{}, "layer 1, KV head 1: 2, want 1 or 0"},
		{"duo-attention", set("recent", "1048577"), Compression{}, "recent is 1048577"},
		{"duo-attention", set("full", "[[0,1],[1,0]]"), Compression{MaxCacheTokens: 100}, "want at least 129"},
		{"random", set("seed", `"x"`), Compression{}, "seed"},
		{"h2o-real-drop", set("heavy", "1.5"), Compression{}, "heavy is 1.5"},
		{"h2o-mask", set("heavy", "-0.1"), Compression{}, "heavy is -0.1"},
		{"quest", nil, Compression{}, "it frees nothing"},
	} {
		cfg := Default()
		cfg.Shape.Layers, cfg.Shape.KVHeads, cfg.Shape.Group, cfg.Shape.HeadSize = 2, 2, 1, 8
		cfg.UseMethod(test.method)
		cfg.Set, cfg.Compression = test.set, test.compress
		_, err := cfg.NewMethod()
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s %s %+v: %v, want %q", test.method, test.set, test.compress, err, test.want)
		}
	}
}
