package ref_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"kvcompress/internal/testsize"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/ref/draw"
)

// drawn returns the methods that an engine can run, KV-Compress first.
func drawn(t *testing.T) []*draw.Method {
	t.Helper()
	methods, cannot, err := draw.Methods()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cannot {
		t.Logf("skipped: %v", c.Why)
	}
	return methods
}

// TestInvariants runs random operations in each scenario, 200 in the full size: a third of the scenarios with KV-Compress, the
// rest shared by the other methods. A failing scenario is shrunk to a few lines.
func TestInvariants(t *testing.T) {
	methods := drawn(t)
	options, acted := map[string]bool{}, map[string]int{}
	operations := testsize.Of(30, 120, 200)
	for seed := range testsize.Of(150, 200, 500) {
		m := methods[0]
		if seed%3 > 0 {
			m = methods[1+(seed-seed/3-1)%(len(methods)-1)]
		}
		cfg, ops, err := randomScenario(rand.New(rand.NewPCG(uint64(seed), 5)), m, operations)
		if err != nil {
			t.Fatal(err)
		}
		for key := range cfg.Set {
			options[m.Name+" "+key] = true
		}
		s := &scenario{cfg: cfg}
		if s.run(ops) != nil {
			ops, err := shrink(s, ops)
			t.Fatalf("seed %d: %v\nwith %v\nin\n%s", seed, err, cfg, lines(ops))
		}
		acted[m.Name] += s.acted
	}
	for _, m := range methods {
		if acted[m.Name] == 0 && !testing.Short() { // short scenarios may end before a method does
			t.Errorf("%s has not changed what any head holds or hides", m.Name)
		}
		for _, o := range m.Options() {
			if !options[m.Name+" "+o.Key] {
				t.Errorf("%s: the option %s kept its default throughout", m.Name, o.Key)
			}
		}
	}
}

// TestPlansOfEngines runs many short scenarios of the methods that fold or hide KVs. It checks that the plan
// an engine without a View makes from ref.Folding or ref.Hiding is the method's plan. TestInvariants checks
// that too, but rarely reaches the edge cases.
func TestPlansOfEngines(t *testing.T) {
	scenarios := testsize.Of[uint64](15, 60, 400)
	for _, m := range drawn(t) {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			acted := 0
			for seed := range scenarios {
				cfg, ops, err := randomScenario(rand.New(rand.NewPCG(seed, 11)), m, 40)
				if err != nil {
					t.Fatal(err)
				}
				method, err := cfg.NewMethod()
				if err != nil {
					t.Fatal(err)
				}
				switch method.(type) {
				case ref.Folder, ref.Masker:
				default:
					t.Skip("it only drops KVs")
				}
				s := &scenario{cfg: cfg}
				if s.run(ops) != nil {
					ops, err := shrink(s, ops)
					t.Fatalf("seed %d: %v\nwith %v\nin\n%s", seed, err, cfg, lines(ops))
				}
				acted += s.acted
			}
			if acted < int(scenarios) {
				t.Errorf("only %d KVs were folded or hidden in %d scenarios", acted, scenarios)
			}
		})
	}
}

// bent is a method with a planted bug in its plans.
type bent struct {
	ref.Method
	plan, spec func(ref.View, *ref.Plan)
}

func (b bent) Plan(v ref.View) ref.Plan { return bendPlan(b.Method.Plan, v, b.plan) }
func (b bent) Spec(v ref.View) ref.Plan { return bendPlan(b.Method.Spec, v, b.spec) }

func bendPlan(plan func(ref.View) ref.Plan, v ref.View, bend func(ref.View, *ref.Plan)) ref.Plan {
	p := plan(v)
	if bend != nil && len(p.Edits) > 0 {
		p.Edits = slices.Clone(p.Edits)
		bend(v, &p)
	}
	return p
}

// The optional interfaces of a Method that engines look for.
type (
	bentMasker struct {
		bent
		masker ref.Masker
	}
	bentFolder struct {
		bent
		folder ref.Folder
	}
	bentRotator struct {
		bent
		rotator ref.Rerotator
	}
	bentMerger struct {
		bent
		merger ref.Merger
	}
	bentQuantizer struct {
		bent
		quantizer ref.Quantizer
	}
	bentBoth struct {
		bentMerger
		quantizer ref.Quantizer
	}
)

func (b bentMasker) Hidden() int                         { return b.masker.Hidden() }
func (b bentMasker) HidesNew(prompt, held int) bool      { return b.masker.HidesNew(prompt, held) }
func (b bentMasker) Hiding(c ref.Counts) ref.Hiding      { return b.masker.Hiding(c) }
func (b bentFolder) StandIns() ref.StandIns              { return b.folder.StandIns() }
func (b bentFolder) Folding(c ref.Counts) ref.Folding    { return b.folder.Folding(c) }
func (b bentRotator) ByCachePosition() bool              { return b.rotator.ByCachePosition() }
func (b bentMerger) Merging() ref.Merging                { return b.merger.Merging() }
func (b bentMerger) Directions() kv.Format               { return b.merger.Directions() }
func (b bentMerger) Retention() ref.Retention            { return b.merger.Retention() }
func (b bentMerger) Retains(n int) (kvs int, known bool) { return b.merger.Retains(n) }
func (b bentBoth) Formats() (k, v kv.Format)             { return b.quantizer.Formats() }
func (b bentBoth) Quantizes(n int) (k, v int)            { return b.quantizer.Quantizes(n) }
func (b bentQuantizer) Formats() (k, v kv.Format)        { return b.quantizer.Formats() }
func (b bentQuantizer) Quantizes(n int) (k, v int)       { return b.quantizer.Quantizes(n) }

// bend plants bugs in a method's plans and in their specification.
func bend(plan, spec func(ref.View, *ref.Plan)) func(ref.Method) ref.Method {
	return func(m ref.Method) ref.Method {
		b := bent{m, plan, spec}
		switch m := m.(type) {
		case ref.Masker:
			return bentMasker{b, m}
		case ref.Folder:
			return bentFolder{b, m}
		case ref.Rerotator:
			return bentRotator{b, m}
		case ref.Merger:
			if q, ok := m.(ref.Quantizer); ok {
				return bentBoth{bentMerger{b, m}, q}
			}
			return bentMerger{b, m}
		case ref.Quantizer:
			return bentQuantizer{b, m}
		}
		return b
	}
}

// takeNewest replaces one KV of the first edit by the head's newest KV.
func takeNewest(v ref.View, p *ref.Plan) {
	e := &p.Edits[0]
	h := &v.Sequence.Heads[e.Head]
	if packs(e) { // which becomes the only one if necessary
		e.KVs = append(slices.Clone(e.KVs[1:]), int32(h.KVs()))
		return
	}
	newest := slices.MaxFunc(indices(h.Len), func(a, b int32) int {
		return int(v.Cache.Positions[v.Cache.Slot(h, int(a))] - v.Cache.Positions[v.Cache.Slot(h, int(b))])
	})
	if !slices.Contains(e.KVs, newest) {
		e.KVs = slices.Clone(e.KVs)
		e.KVs[0] = newest
		slices.Sort(e.KVs)
	}
}

// takeOneMore adds a KV to the first edit that does not already have all.
func takeOneMore(v ref.View, p *ref.Plan) {
	for i := range p.Edits {
		e := &p.Edits[i]
		for _, k := range indices(v.Sequence.Heads[e.Head].KVs() + 1) {
			if !packs(e) && int(k) == v.Sequence.Heads[e.Head].KVs() {
				continue // it cannot evict what it does not hold
			}
			if !slices.Contains(e.KVs, k) && (e.Op != ref.StandIn || k != e.Into) {
				e.KVs = append(slices.Clone(e.KVs), k)
				slices.Sort(e.KVs)
				return
			}
		}
	}
}

func indices(n int) []int32 {
	all := make([]int32, n)
	for i := range all {
		all[i] = int32(i)
	}
	return all
}

// TestInvariantsNoticeMethods plants a bug in each method's plans and checks that a scenario notices it.
func TestInvariantsNoticeMethods(t *testing.T) {
	each := testsize.Of(3, 1, 1) // one in this many pairs of a bug and a method is run
	for i, bug := range []struct {
		name string
		bend func(ref.Method) ref.Method
	}{
		{"the newest KV goes", bend(takeNewest, takeNewest)},
		{"one too many goes", bend(takeOneMore, takeOneMore)},
		{"the last edit is not in the plan, and is in its specification", bend(func(_ ref.View, p *ref.Plan) { p.Edits = p.Edits[:len(p.Edits)-1] }, nil)},
	} {
		for j, m := range drawn(t) {
			if (i+j)%each > 0 {
				continue
			}
			t.Run(bug.name+"/"+m.Name, func(t *testing.T) {
				noticed(t, m, &scenario{bend: bug.bend})
			})
		}
	}
}

// noticed runs scenarios of a method with a planted bug until one fails, which it returns.
func noticed(t *testing.T, m *draw.Method, s *scenario) []operation {
	t.Helper()
	for seed := range 50 {
		cfg, ops, err := randomScenario(rand.New(rand.NewPCG(uint64(seed), 6)), m, 200)
		if err != nil {
			t.Fatal(err)
		}
		s.cfg = cfg
		if err := s.run(ops); err != nil {
			t.Logf("noticed: %v", err)
			return ops
		}
	}
	t.Error("not noticed")
	return nil
}

// refree replaces the free list of a cache.
func refree(c *kv.Cache, change func(free []uint32)) {
	s := c.Snapshot()
	change(s.Free)
	changed, err := s.Cache(c.Config(), c.Columns())
	if err != nil {
		panic(err)
	}
	*c = *changed
}

// TestInvariantsNotice plants bugs in the engine and checks that scenarios notice them and shrink to a few
// lines.
func TestInvariantsNotice(t *testing.T) {
	firstMove := func(do func(*kv.Cache, kv.Move)) func(*kv.Cache, ref.Event) {
		return func(c *kv.Cache, e ref.Event) {
			if e.Stage == ref.StageMove && e.Parts[0].Dims[0].N > 0 {
				do(c, kv.Move{Destination: e.Parts[0].Ints[0], Source: e.Parts[0].Ints[1]})
			}
		}
	}
	for name, damage := range map[string]func(*kv.Cache, ref.Event){
		"metric left behind": firstMove(func(c *kv.Cache, m kv.Move) { c.Data[0][m.Destination] = -1 }),
		"position left behind": firstMove(func(c *kv.Cache, m kv.Move) {
			c.Positions[m.Destination]++
		}),
		"key left behind":   firstMove(func(c *kv.Cache, m kv.Move) { c.Key(int(m.Destination))[0] ^= 1 }),
		"value left behind": firstMove(func(c *kv.Cache, m kv.Move) { c.Value(int(m.Destination))[0] ^= 1 }),
		"block freed twice": func(c *kv.Cache, e ref.Event) {
			if h := lastTable(c, e); h != nil {
				again := h.Table[0]
				refree(c, func(free []uint32) { free[again/32] |= 1 << (again % 32) })
			}
		},
		"block lost": func(c *kv.Cache, e ref.Event) {
			if e.Stage == ref.StageRelease && c.Free() > 0 {
				refree(c, func(free []uint32) {
					for i, w := range free {
						if w != 0 {
							free[i] &= w - 1
							return
						}
					}
				})
			}
		},
		"wrong owner": func(c *kv.Cache, e ref.Event) {
			if h := lastTable(c, e); h != nil {
				c.Owners[h.Table[0]].Logical++
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &scenario{damage: damage}
			ops, err := shrink(s, noticed(t, drawn(t)[0], s))
			t.Logf("shrunk: %v\nin\n%s", err, lines(ops))
			if len(ops) > 12 {
				t.Errorf("shrinks to %d lines only", len(ops))
			}
		})
	}
}

// lastTable returns a head that has blocks after a compression.
func lastTable(c *kv.Cache, e ref.Event) *kv.Head {
	if e.Stage == ref.StageMove {
		for i := range c.Sequence(e.Seqs[0]).Heads {
			if h := &c.Sequence(e.Seqs[0]).Heads[i]; len(h.Table) > 0 {
				return h
			}
		}
	}
	return nil
}
