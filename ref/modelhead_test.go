package ref

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"kvcompress/dtype"
	"kvcompress/kv"
)

// This file compares a method in the engine with a head as its paper describes it: a list of KVs in float64,
// and a rule for which are evicted.

// modelKV is one KV of a model head.
type modelKV struct {
	position int
	hidden   bool
	score    float64 // Σ P over all queries so far, of the group
	k, v     []float32
}

// modelRule marks which of a head's KVs are dropped and which are hidden, when tokens tokens have entered.
type modelRule func(head, tokens int, kvs []modelKV) (drop, hide []bool)

// modelRun is one random run of a sequence through an engine and through its model.
type modelRun struct {
	cfg    Config
	rule   modelRule
	prompt int
	steps  int
	seed   uint64
	bend   func(*Engine) // plants a bug; nil for none
}

// disagreement runs engine and model side by side and returns the first difference: in what a head holds or
// hides, in a score, in an output, or between Plan and Spec. It returns "" if there is none.
func (r *modelRun) disagreement(t testing.TB) string {
	t.Helper()
	s := r.cfg.Shape
	heads, row := s.Layers*s.KVHeads, s.KVHeads*s.HeadSize
	r.cfg.Blocks = heads * ((r.prompt+r.steps)/r.cfg.BlockSize + 1)
	e, err := NewEngine(r.cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.bend != nil {
		r.bend(e)
	}
	rng := rand.New(rand.NewPCG(r.seed, 11))
	draw := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(rng.IntN(129)-64) / 32
		}
		return x
	}
	model := make([][]modelKV, heads)
	p, err := e.BeginPrompt(0, r.prompt)
	if err != nil {
		t.Fatal(err)
	}
	for layer := range s.Layers {
		q, k, v := draw(r.prompt*row*s.Group), draw(r.prompt*row), draw(r.prompt*row)
		window := min(r.prompt, r.cfg.Window())
		if err := p.Layer(q[(r.prompt-window)*row*s.Group:], k, v); err != nil {
			t.Fatal(err)
		}
		for h := range s.KVHeads {
			head := &model[layer*s.KVHeads+h]
			for i := range r.prompt {
				at := i*row + h*s.HeadSize
				*head = append(*head, modelKV{position: i, k: k[at:][:s.HeadSize], v: v[at:][:s.HeadSize]})
				modelAttend(*head, q[at*s.Group-h*s.HeadSize*s.Group+h*s.Group*s.HeadSize:][:s.Group*s.HeadSize], s.HeadSize)
			}
		}
	}
	p.End()
	for tokens := r.prompt; ; tokens++ {
		view := View{e.cache, e.cache.Sequence(0)}
		if plan, spec := e.method.Plan(view), e.method.Spec(view); !reflect.DeepEqual(plan, spec) {
			return fmt.Sprintf("%d tokens: plan %+v, specification %+v", tokens, plan, spec)
		} else if asks := e.method.Asks(view.Counts()); plan.Asked != asks {
			return fmt.Sprintf("%d tokens: the plan asks for %d, Asks for %d", tokens, plan.Asked, asks)
		}
		if _, err := e.Compress(0); err != nil {
			t.Fatal(err)
		}
		for head := range model {
			drop, hide := r.rule(head, tokens, model[head])
			kept := model[head][:0]
			for i, kv := range model[head] {
				if drop != nil && drop[i] {
					continue
				}
				kv.hidden = hide != nil && hide[i]
				kept = append(kept, kv)
			}
			model[head] = kept
			if d := headDifference(e, head, kept); d != "" {
				return fmt.Sprintf("%d tokens, head %d: %s", tokens, head, d)
			}
		}
		if tokens == r.prompt+r.steps {
			return ""
		}
		step, err := e.BeginTokens([]kv.SeqID{0})
		if err != nil {
			t.Fatal(err)
		}
		for layer := range s.Layers {
			q, k, v, out := draw(row*s.Group), draw(row), draw(row), make([]float32, row*s.Group)
			if err := step.Layer(q, k, v, out); err != nil {
				t.Fatal(err)
			}
			for h := range s.KVHeads {
				head := &model[layer*s.KVHeads+h]
				*head = append(*head, modelKV{position: tokens, k: k[h*s.HeadSize:][:s.HeadSize], v: v[h*s.HeadSize:][:s.HeadSize]})
				size := s.Group * s.HeadSize
				for i, want := range modelAttend(*head, q[h*size:][:size], s.HeadSize) {
					if got := float64(out[h*size+i]); !(math.Abs(got-want) <= 1e-4) {
						return fmt.Sprintf("%d tokens, layer %d, head %d: output %g, float64 has %g", tokens, layer, h, got, want)
					}
				}
			}
		}
		step.End()
	}
}

// modelAttend attends to the KVs that are not hidden, adds the weights to the scores and returns the outputs:
// q and out are [G, D].
func modelAttend(kvs []modelKV, q []float32, d int) (out []float64) {
	for g := range len(q) / d {
		weights, sum := make([]float64, len(kvs)), 0.0
		for i, kv := range kvs {
			if kv.hidden {
				continue
			}
			dot := 0.0
			for e, x := range q[g*d:][:d] {
				dot += float64(x) * float64(kv.k[e])
			}
			weights[i] = math.Exp(dot / math.Sqrt(float64(d)))
			sum += weights[i]
		}
		o := make([]float64, d)
		for i := range kvs {
			p := weights[i] / sum
			kvs[i].score += p
			for e := range o {
				o[e] += p * float64(kvs[i].v[e])
			}
		}
		out = append(out, o...)
	}
	return out
}

// headDifference describes how the engine's head differs from the model's.
func headDifference(e *Engine, head int, want []modelKV) string {
	h := &e.cache.Sequence(0).Heads[head]
	scores := e.cache.Column("scores")
	width := 0
	if scores != nil {
		width = e.cache.Columns()[0].Width
	}
	at := map[int]int{} // position → slot
	for i := range h.Len {
		slot := e.cache.Slot(h, i)
		at[int(e.cache.Positions[slot])] = slot
	}
	if h.Len != len(want) {
		return fmt.Sprintf("holds %d KVs, the model %d", h.Len, len(want))
	}
	for _, kv := range want {
		slot, ok := at[kv.position]
		if !ok {
			return fmt.Sprintf("does not hold position %d", kv.position)
		}
		if e.masker != nil && (e.cache.Data[e.masker.Hidden()][slot] != 0) != kv.hidden {
			return fmt.Sprintf("position %d: hidden is %t in the model", kv.position, kv.hidden)
		}
		if scores == nil {
			continue
		}
		got := 0.0
		for _, v := range scores[slot*width:][:width] {
			got += float64(v)
		}
		if !(math.Abs(got-kv.score) <= 1e-4) {
			return fmt.Sprintf("position %d: score %g, float64 has %g", kv.position, got, kv.score)
		}
	}
	return ""
}

// bent is a dropping method with a bug planted in its ranking.
type bent struct {
	Dropper
	bend func(Counts, *Ranking)
}

func (m bent) Rank(c Counts) Ranking {
	r := m.Dropper.Rank(c)
	m.bend(c, &r)
	return r
}

func (m bent) Asks(c Counts) int { return m.Rank(c).Asks() }
func (m bent) Plan(v View) Plan  { return v.drop(m.Rank(v.Counts()), Decide) }
func (m bent) Spec(v View) Plan  { return v.drop(m.Rank(v.Counts()), Walk) }

// bendRank plants a bug in the ranking of a dropping method.
func bendRank(bend func(Counts, *Ranking)) func(*Engine) {
	return func(e *Engine) { e.method = bent{e.method.(Dropper), bend} }
}

// bendObservation plants a bug in what an engine observes.
func bendObservation(bend func(*Observation)) func(*Engine) {
	return func(e *Engine) { bend(e.observation) }
}

// set returns settings of key, value, key, value, …, the values as JSON.
func set(pairs ...string) Settings {
	s := Settings{}
	for i := 0; i < len(pairs); i += 2 {
		s[pairs[i]] = json.RawMessage(pairs[i+1])
	}
	return s
}

// methodTest is a method as its paper describes it, with planted bugs that must be noticed.
type methodTest struct {
	name     string
	method   string
	set      Settings
	compress Compression
	rule     func(r *modelRun) modelRule
	bugs     []plantedBug
}

type plantedBug struct {
	name string
	bend func(*Engine)
}

// run compares the method with the model over random runs. Every planted bug must make one of these runs
// differ.
func (m *methodTest) run(t *testing.T) {
	runs := func(bend func(*Engine)) (found string) {
		for seed := range uint64(6) {
			rng := rand.New(rand.NewPCG(seed, 12))
			r := &modelRun{prompt: 1 + rng.IntN(40), steps: 12, seed: seed, bend: bend}
			if seed == 0 {
				r.prompt, r.steps = 300, 3 // more than two partitions
			}
			r.cfg = Default()
			r.cfg.Shape = kv.Shape{Layers: 2, KVHeads: 2, Group: 1 + rng.IntN(3), HeadSize: 8}
			r.cfg.DType, r.cfg.BlockSize = dtype.F32, 1<<rng.IntN(5)
			r.cfg.UseMethod(m.method)
			r.cfg.Set, r.cfg.Compression = m.set, m.compress
			r.rule = m.rule(r)
			if found = r.disagreement(t); found != "" {
				return fmt.Sprintf("seed %d: %s", seed, found)
			}
		}
		return ""
	}
	if found := runs(nil); found != "" {
		t.Fatal(found)
	}
	for _, bug := range m.bugs {
		if found := runs(bug.bend); found == "" {
			t.Errorf("nothing notices: %s", bug.name)
		} else {
			t.Logf("%s: %s", bug.name, found)
		}
	}
}

// but marks n KVs, except the first sinks and the last recent.
func but(n, sinks, recent int) []bool {
	marks := make([]bool, n)
	for i := sinks; i < n-recent; i++ {
		marks[i] = true
	}
	return marks
}

// butHeaviest marks all KVs except the last recent and, of the visible ones before these, the heavy with the
// highest scores.
func butHeaviest(kvs []modelKV, heavy, recent int) []bool {
	marks := but(len(kvs), 0, recent)
	var candidates []int
	for i, old := range marks {
		if old && !kvs[i].hidden {
			candidates = append(candidates, i)
		}
	}
	slices.SortStableFunc(candidates, func(a, b int) int {
		switch x, y := kvs[a].score, kvs[b].score; {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
	for _, i := range candidates[:min(heavy, len(candidates))] {
		marks[i] = false
	}
	return marks
}
