package kernels

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"kvcompress/dtype"
	"kvcompress/internal/ceil"
	"kvcompress/internal/testsize"
	"kvcompress/kernels/device"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
)

// dropping is a method of random parts, as no paper has it.
type dropping struct {
	columns []kv.Column
	watches *ref.Observation
	rank    func(ref.Counts) ref.Ranking
}

func (m *dropping) Name() string                  { return "dropping" }
func (m *dropping) Columns() []kv.Column          { return m.columns }
func (m *dropping) Observe() *ref.Observation     { return m.watches }
func (m *dropping) Rank(c ref.Counts) ref.Ranking { return m.rank(c) }
func (m *dropping) Asks(c ref.Counts) int         { return m.rank(c).Asks() }
func (m *dropping) Plan(v ref.View) ref.Plan      { return m.drop(v, ref.Decide) }
func (m *dropping) Spec(v ref.View) ref.Plan      { return m.drop(v, ref.Walk) }
func (m *dropping) drop(v ref.View, decide func(*ref.Problem) ref.Decision) ref.Plan {
	r := m.rank(v.Counts())
	if r.Asks() == 0 {
		return ref.Plan{}
	}
	d := decide(r.Problem(v.Cache, v.Sequence))
	return d.Plan()
}

// oneOf draws an element.
func oneOf[T any](rng *rand.Rand, of ...T) T { return of[rng.IntN(len(of))] }

// randomDropping draws a method for a shape.
func randomDropping(rng *rand.Rand, cfg kv.Config) *dropping {
	m := &dropping{}
	group := cfg.Shape.Group
	if rng.IntN(6) > 0 {
		m.watches = randomObservation(rng)
		width := 1
		if m.watches.Group == ref.GroupEach {
			width = group
		}
		m.columns = []kv.Column{{Name: "scores", Value: "score", Width: width}}
	} else if rng.IntN(2) == 0 { // kept, and never written
		m.columns = []kv.Column{{Name: "scores", Value: "score", Width: oneOf(rng, 1, group)}}
	}
	for i := range oneOf(rng, 0, 0, 0, 1, 2) { // more columns, before or after it
		at := rng.IntN(len(m.columns) + 1)
		m.columns = slices.Insert(m.columns, at, kv.Column{Name: fmt.Sprintf("more%d", i), Value: "number", Width: oneOf(rng, 1, 1, 3, group)})
		if m.watches != nil && m.watches.Column >= at {
			m.watches.Column++
		}
	}
	for i := range m.columns {
		m.columns[i].Initial = oneOf[float32](rng, 0, 0, 0.5)
	}
	column := rng.IntN(len(m.columns) + 1)
	if m.watches != nil && rng.IntN(4) > 0 {
		column = m.watches.Column
	}
	width := 0
	if column < len(m.columns) {
		width = m.columns[column].Width
	}
	m.rank = randomRanking(rng, cfg, column, width)
	return m
}

func randomObservation(rng *rand.Rand) *ref.Observation {
	o := &ref.Observation{
		Window:  oneOf(rng, 1, 2, 8, 32, 33, 100, ref.AllQueries, ref.AllQueries, 0),
		Norm:    oneOf(rng, ref.L1, ref.L2),
		Buffer:  oneOf(rng, 0, 0, 1, 5, 40),
		Outside: rng.IntN(3) == 0,
		Scale:   ref.Scale(rng.IntN(4)),
		Pool:    ref.Pool{Kind: ref.PoolKind(rng.IntN(3)), Width: 1 + 2*rng.IntN(8)},
		Group:   ref.GroupReduction(rng.IntN(4)),
		Decode:  rng.IntN(3) > 0,
	}
	o.LayerMean = rng.IntN(4) == 0
	o.GroupFirst = o.Group != ref.GroupEach && rng.IntN(3) == 0
	return o
}

// randomRanking draws a ranking whose quotas depend on the counts.
func randomRanking(rng *rand.Rand, cfg kv.Config, column, width int) func(ref.Counts) ref.Ranking {
	heads := cfg.Shape.Heads()
	r := ref.Ranking{
		Unit:    oneOf(rng, 1, 1, cfg.BlockSize, cfg.BlockSize, 4),
		Sinks:   oneOf(rng, 0, 0, 3, 20),
		Window:  oneOf(rng, 0, 0, 1, 8, 40),
		Key:     ref.ByScore,
		Column:  column,
		Width:   width,
		Average: rng.IntN(3) == 0,
		Keep:    oneOf(rng, 0, 0, 1, 10, 100),
		Weight:  oneOf[float32](rng, 1, -0.125, 1e30),
		Seed:    rng.Uint64(),
	}
	if width == 0 || rng.IntN(5) == 0 {
		r.Key = oneOf(rng, ref.ByPosition, ref.ByHash)
	}
	if width == 1 && rng.IntN(2) == 0 {
		r.Width = 0
	}
	if rng.IntN(4) == 0 {
		r.Bias = randomBias(rng, cfg.Shape)
	}
	if r.Key == ref.ByScore && !r.Average && r.Bias == nil && rng.IntN(3) == 0 {
		for range heads {
			r.Share = append(r.Share, rng.IntN(60))
		}
	}
	run := oneOf(rng, heads, cfg.Shape.KVHeads, 1) // heads of a quota
	part := oneOf(rng, 0.1, 0.5, 0.9, 2)           // of a quota's KVs, about
	refines, floor := rng.IntN(3) == 0, rng.IntN(4)
	seed := rng.Uint64()
	return func(c ref.Counts) ref.Ranking {
		rng := rand.New(rand.NewPCG(seed, uint64(c.Tokens)))
		r := r
		for first := 0; first < heads; first += run {
			kvs := 0
			for _, n := range c.Heads[first:][:run] {
				kvs += n
			}
			if rng.IntN(8) > 0 { // else these lose nothing
				r.Quotas = append(r.Quotas, ref.Quota{First: first, Heads: run, Units: int(rng.Float64() * part * float64(kvs) / float64(r.Unit))})
			}
		}
		if refines {
			r.Refine = func(lost []int) []ref.Quota {
				var quotas []ref.Quota
				for i, n := range lost {
					quotas = append(quotas, ref.Quota{First: i, Heads: 1, Units: n*floor/4 + floor%2})
				}
				return quotas
			}
		}
		return r
	}
}

func randomBias(rng *rand.Rand, shape kv.Shape) *ref.HeadBias {
	b := &ref.HeadBias{Bins: []int32{0, 7, 50}[:1+rng.IntN(3)]}
	for range shape.Layers {
		var layer [][]float32
		for range shape.KVHeads {
			var bins []float32
			for range b.Bins {
				bins = append(bins, rng.Float32()-0.5)
			}
			layer = append(layer, bins)
		}
		b.Bias = append(b.Bias, layer)
	}
	return b
}

// noise is the activations of one sequence.
type noise struct {
	id     kv.SeqID
	tokens int
	row    int     // elements of a token's K or V
	sharp  float32 // how far attention is from even
}

func (n noise) Tokens() int  { return n.tokens }
func (n noise) Close() error { return nil }
func (n noise) Read(dst []float32, t trace.Tensor, layer, from, count int) error {
	row := len(dst) / count
	for i := range count {
		rng := rand.New(rand.NewPCG(uint64(n.id)<<40|uint64(from+i), uint64(layer)<<8|uint64(t)))
		for j := range row {
			dst[i*row+j] = float32(rng.NormFloat64()) * n.sharp
		}
	}
	return nil
}

// stage is a copy of what an engine has reported.
type stage struct {
	Stage ref.Stage
	Seqs  []kv.SeqID
	Parts []ref.Part
	Bits  [][]uint32 // of the parts' floats
	Cache holding
}

// holding is what a cache holds, to the bit.
type holding struct {
	Keys, Values []byte
	Positions    []int32
	Data         [][]uint32
	Owners       []kv.Owner
	Free         []uint32
	Sequences    []*kv.Sequence
}

func holdingOf(c *kv.Cache) holding {
	s := c.Snapshot()
	cfg := c.Config()
	h := holding{Keys: s.Keys, Values: s.Values, Positions: s.Positions, Owners: s.Owners, Free: s.Free, Sequences: s.Sequences}
	for _, data := range s.Data {
		h.Data = append(h.Data, bitsOf(data))
	}
	for slot, held := range cfg.Held(s.Sequences) {
		if held {
			continue
		}
		clear(h.Keys[slot*cfg.RowBytes():][:cfg.RowBytes()])
		clear(h.Values[slot*cfg.RowBytes():][:cfg.RowBytes()])
		h.Positions[slot] = 0
		for i, data := range h.Data {
			width := c.Columns()[i].Width
			clear(data[slot*width:][:width])
		}
	}
	return h
}

func bitsOf(values []float32) []uint32 {
	bits := make([]uint32, len(values))
	for i, v := range values {
		bits[i] = math.Float32bits(v)
	}
	return bits
}

// stagesInto returns an observer that stores the events.
func stagesInto(stages *[]stage) func(ref.Event) {
	return func(e ref.Event) {
		s := stage{Stage: e.Stage, Seqs: slices.Clone(e.Seqs), Cache: holdingOf(e.Cache)}
		for _, p := range e.Parts {
			s.Bits = append(s.Bits, bitsOf(p.Floats))
			p.Ints, p.Floats = append([]int32{}, p.Ints...), nil
			s.Parts = append(s.Parts, p)
		}
		*stages = append(*stages, s)
	}
}

// differ says in what another stage differs from what this one is; nil if in nothing.
func (s *stage) differ(other *stage) error {
	for _, pair := range [][2]any{{*s, *other}, {s.Cache, other.Cache}} {
		want, got := reflect.ValueOf(pair[0]), reflect.ValueOf(pair[1])
		for i := range want.NumField() {
			field := want.Type().Field(i).Name
			if field != "Cache" && !reflect.DeepEqual(want.Field(i).Interface(), got.Field(i).Interface()) {
				return fmt.Errorf("after %s of %v, %s: %s", s.Stage, s.Seqs, field, firstDifference(want.Field(i), got.Field(i)))
			}
		}
	}
	return nil
}

// firstDifference descends into the first elements of two lists that differ.
func firstDifference(want, got reflect.Value) string {
	if want.Kind() == reflect.Slice {
		for i := range min(want.Len(), got.Len()) {
			if !reflect.DeepEqual(want.Index(i).Interface(), got.Index(i).Interface()) {
				return fmt.Sprintf("[%d] %s", i, firstDifference(want.Index(i), got.Index(i)))
			}
		}
	}
	return fmt.Sprintf("%+v, want %+v", got, want)
}

// methodCase is two engines with a method, in lock-step.
type methodCase struct {
	cfg       ref.Config
	method    ref.Method
	lengths   []int // of the prompts
	reference *ref.Engine
	engine    *Engine
	want, got []stage
}

// randomCache draws a shape, a format and a block size.
func randomCache(rng *rand.Rand) kv.Config {
	cfg := kv.Config{
		BlockSize: oneOf(rng, kv.BlockSizes()...),
		DType:     dtype.DType(rng.IntN(5)),
		Shape:     kv.Shape{Layers: 1 + rng.IntN(2), KVHeads: 1 + rng.IntN(3), Group: oneOf(rng, 1, 1, 2, 3, 4, 9), HeadSize: 8},
	}
	if rng.IntN(6) == 0 {
		cfg.Shape.HeadSize = oneOf(rng, 16, 24, 40, 128)
	}
	return cfg
}

// newMethodCase returns engines with a method, which the other may refuse.
func newMethodCase(rng *rand.Rand, dev device.Device, cfg ref.Config, method ref.Method) (*methodCase, error) {
	c := &methodCase{cfg: cfg, method: method}
	shape := cfg.Shape
	lengths := []int{1, 2, 3, 7, 16, 31, 32, 33, 64, 127, 128, 129, 200, 256, 257, 300}
	work := 60_000 // queries and keys
	for range 1 + rng.IntN(3) {
		n := oneOf(rng, lengths...)
		for n > 3 && n*max(1, method.Observe().Queries(n))*shape.Layers*shape.QueryHeads() > work {
			n = n * 2 / 3
		}
		c.lengths = append(c.lengths, n)
		c.cfg.Blocks += shape.Heads() * ceil.Div(n+rng.IntN(20), c.cfg.BlockSize)
	}
	sharp := oneOf[float32](rng, 0.1, 1, 2)
	open := func(id kv.SeqID) (trace.Tensors, error) {
		return noise{id, c.lengths[id] + 12, shape.KVHeads * shape.HeadSize, sharp}, nil
	}
	if err := c.start(dev, open); err != nil {
		return nil, err
	}
	if rng.IntN(2) == 0 { // a few of a prompt's queries at a time
		c.engine.state.mostWeights = rng.IntN(100_000)
	}
	return c, nil
}

// start makes the engines.
func (c *methodCase) start(dev device.Device, open func(kv.SeqID) (trace.Tensors, error)) (err error) {
	if c.reference, err = ref.NewEngineOf(c.cfg, c.method, open, stagesInto(&c.want)); err != nil {
		return err
	}
	c.engine, err = newEngine(dev, c.cfg, c.method, open, stagesInto(&c.got), Options{})
	return err
}

// both runs an operation on both engines and compares what they report.
func (c *methodCase) both(operation func(pipelineEngine) (ref.Compressed, error)) error {
	c.want, c.got = nil, nil
	want, err := operation(c.reference)
	got, err2 := operation(c.engine)
	var a, b *kv.ErrNoBlocks
	switch {
	case errors.As(err, &a) && errors.As(err2, &b) && *a == *b:
		return nil
	case err != nil || err2 != nil:
		return fmt.Errorf("errors %v and %v", err, err2)
	case want != got:
		return fmt.Errorf("%+v, want %+v", got, want)
	case len(c.want) != len(c.got):
		return fmt.Errorf("%d stages, want %d", len(c.got), len(c.want))
	case c.reference.Usage() != c.engine.Usage():
		return fmt.Errorf("usage %+v, want %+v", c.engine.Usage(), c.reference.Usage())
	}
	for i := range c.want {
		if err := c.want[i].differ(&c.got[i]); err != nil {
			return err
		}
	}
	return nil
}

// run does random operations. It returns how many KVs were evicted, folded or hidden.
func (c *methodCase) run(rng *rand.Rand) (edited int, err error) {
	for id, n := range c.lengths {
		if err := c.both(func(e pipelineEngine) (ref.Compressed, error) {
			return ref.Compressed{}, e.Prefill(kv.SeqID(id), n)
		}); err != nil {
			return 0, fmt.Errorf("prefill of sequence %d: %w", id, err)
		}
	}
	tokens := slices.Clone(c.lengths)
	for range 10 {
		present := c.reference.Cache().Sequences()
		if len(present) == 0 {
			break
		}
		id := oneOf(rng, present...)
		var err error
		switch rng.IntN(8) {
		case 0, 1, 2:
			var batch []kv.SeqID
			for _, id := range present {
				if tokens[id] < c.lengths[id]+12 && rng.IntN(3) > 0 {
					batch = append(batch, id)
				}
			}
			if len(batch) == 0 {
				continue
			}
			err = c.both(func(e pipelineEngine) (ref.Compressed, error) { return ref.Compressed{}, e.Decode(batch) })
			for _, id := range batch {
				tokens[id] = c.reference.Cache().Sequence(id).Len
			}
		case 3, 4, 5:
			s := c.reference.Cache().Sequence(id)
			view := ref.View{Cache: c.reference.Cache(), Sequence: s}
			plan, spec := c.method.Plan(view), c.method.Spec(view)
			if !reflect.DeepEqual(plan, spec) {
				return edited, fmt.Errorf("the reference disagrees with itself: %v, %v", plan, spec)
			}
			for _, edit := range plan.Edits {
				edited += len(edit.KVs)
			}
			err = c.both(func(e pipelineEngine) (ref.Compressed, error) { return e.Compress(id) })
		case 6:
			err = errors.Join(c.reference.Poison(), c.engine.Poison())
		default:
			if rng.IntN(3) == 0 {
				err = c.both(func(e pipelineEngine) (ref.Compressed, error) { return ref.Compressed{}, e.Release(id) })
			} else {
				err = c.engine.Restore(c.reference.Cache())
			}
		}
		if err != nil {
			return edited, err
		}
	}
	return edited, nil
}

// TestMethods runs random methods on both engines: rankings and observations of all
// kinds, in all formats and block sizes, at awkward lengths.
func TestMethods(t *testing.T) {
	cases := testsize.Of(20, 60, 400)
	dropped := 0
	for seed := range uint64(cases) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 41))
			cfg := ref.Config{Config: randomCache(rng)}
			c, err := newMethodCase(rng, checked(t, seed), cfg, randomDropping(rng, cfg.Config))
			if err != nil {
				t.Fatal(err)
			}
			evicted, err := c.run(rng)
			if err != nil {
				t.Fatalf("%v\nprompts %v, columns %v, observation %+v\n%v", c.cfg, c.lengths, c.method.Columns(), c.method.Observe(), err)
			}
			if evicted > 0 {
				dropped++
			}
			if err := errors.Join(c.engine.Close(), c.reference.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	if !t.Failed() && dropped < cases/3 {
		t.Errorf("in %d of %d cases alone a KV was evicted", dropped, cases)
	}
}

// TestTable runs the methods of the table, of which those that drop KVs by attention, a score or
// position run on the kernels.
func TestTable(t *testing.T) {
	runs := []string{
		ref.KVCompress, "ada-snapkv", "expected-attention", "h2o-mask", "h2o-prefill", "h2o-real-drop", "keydiff", "knorm", "lagkv",
		"observed-attention", "pyramidkv", "random", "razor", "snapkv", "snapkv-kvpress", "streaming-llm", "streaming-llm-kvpress", "tova",
	}
	cases := testsize.Of(2, 3, 12)
	for _, entry := range ref.Methods() {
		t.Run(entry.Name, func(t *testing.T) {
			evicted := 0
			for seed := range uint64(cases) {
				rng := rand.New(rand.NewPCG(seed, 43))
				var cfg ref.Config
				cfg.Config = randomCache(rng)
				cfg.UseMethod(entry.Name)
				if cfg.Method == "" {
					cfg.Metric = ref.Default().Metric
				}
				cfg.Compression.MaxCacheTokens = 33 + rng.IntN(40)
				if entry.Name == "expected-attention" {
					cfg.Rope = randomRope(rng, cfg.Shape.HeadSize)
				}
				method, err := cfg.NewMethod()
				if err != nil {
					t.Skip(err)
				}
				c, err := newMethodCase(rng, checked(t, seed), cfg, method)
				if err != nil {
					if slices.Contains(runs, entry.Name) {
						t.Fatal(err)
					}
					if !strings.Contains(err.Error(), "it runs on the reference engine") {
						t.Errorf("refused by %v", err)
					}
					t.Skip(err)
				}
				n, err := c.run(rng)
				if err != nil {
					t.Fatalf("seed %d: %v\nprompts %v\n%v", seed, c.cfg, c.lengths, err)
				}
				evicted += n
				if err := errors.Join(c.engine.Close(), c.reference.Close()); err != nil {
					t.Error(err)
				}
			}
			if evicted == 0 {
				t.Error("no KV was evicted")
			}
		})
	}
}

// TestMethodRefused checks methods that the kernels do not run, and what is left of the
// cache where that shows in a ranking alone.
func TestMethodRefused(t *testing.T) {
	cfg := ref.Config{Config: kv.Config{BlockSize: 4, Blocks: 20, Shape: kv.Shape{Layers: 1, KVHeads: 1, Group: 2, HeadSize: 8}}}
	one, two := kv.Column{Name: "a", Width: 1}, kv.Column{Name: "b", Width: 2}
	for _, tt := range []struct {
		want    string
		columns []kv.Column
		watches *ref.Observation
	}{
		{"score of its own", []kv.Column{one}, &ref.Observation{Scorer: unknownScorer{}}},
		{"score for a column of 2", []kv.Column{two}, &ref.Observation{Scorer: ref.KeyNorm{}}},
		{"column 0 of 0", nil, &ref.Observation{Scorer: ref.KeyNorm{}}},
		{"column 0 of 0", nil, &ref.Observation{Window: 1}},
		{"column 1 of 1", []kv.Column{one}, &ref.Observation{Window: 1, Column: 1}},
		{"before pooling", []kv.Column{two}, &ref.Observation{Window: 1, Group: ref.GroupEach, GroupFirst: true}},
		{"2 query heads into a column of 1", []kv.Column{one}, &ref.Observation{Window: 1, Group: ref.GroupEach}},
		{"as a whole into a column of 2", []kv.Column{two}, &ref.Observation{Window: 1}},
	} {
		m := &dropping{columns: tt.columns, watches: tt.watches}
		if _, err := newEngine(checked(t, 0), cfg, m, nil, nil, Options{}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want an error with %q", err, tt.want)
		}
	}
	type planner struct{ ref.Method }
	if _, err := newEngine(checked(t, 0), cfg, planner{&dropping{}}, nil, nil, Options{}); err == nil || !strings.Contains(err.Error(), "more than drop") {
		t.Errorf("a method that is no Dropper: %v", err)
	}

	var r ref.Ranking
	m := &dropping{columns: []kv.Column{two}, rank: func(ref.Counts) ref.Ranking { return r }}
	e, err := newEngine(checked(t, 0), cfg, m, func(kv.SeqID) (trace.Tensors, error) { return tokens(9), nil }, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Prefill(0, 8); err != nil {
		t.Fatal(err)
	}
	quotas := []ref.Quota{{First: 0, Heads: 1, Units: 1}}
	for _, bad := range []ref.Ranking{
		{Unit: 3, Width: 2, Quotas: quotas},
		{Unit: 0, Width: 2, Quotas: quotas},
		{Unit: 1, Width: 1, Quotas: quotas},
		{Unit: 1, Width: 2, Column: 1, Quotas: quotas},
		{Unit: 1, Key: ref.ByHash + 1, Quotas: quotas},
	} {
		r = bad
		if _, err := e.Compress(0); err == nil || !strings.HasPrefix(err.Error(), "kernels: decide: ") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	r = ref.Ranking{Unit: 1, Width: 2, Quotas: quotas}
	if done, err := e.Compress(0); err != nil || done != (ref.Compressed{Asked: 1, Evicted: 1, Moved: 1}) {
		t.Errorf("after those: %+v, %v", done, err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// hider hides the KVs that a function selects.
type hider struct {
	*dropping
	hides ref.Hiding
}

func (h *hider) Hidden() int                    { return 1 }
func (h *hider) HidesNew(prompt, held int) bool { return false }
func (h *hider) Asks(ref.Counts) int            { return 1 }
func (h *hider) Hiding(ref.Counts) ref.Hiding   { return h.hides }

// TestHidingRefused checks rankings by which the kernels cannot hide KVs.
func TestHidingRefused(t *testing.T) {
	cfg := ref.Config{Config: kv.Config{BlockSize: 4, Blocks: 20, Shape: kv.Shape{Layers: 1, KVHeads: 1, Group: 2, HeadSize: 8}}}
	columns := []kv.Column{{Name: "a", Width: 1}, {Name: "hidden", Width: 1}, {Name: "b", Width: 2}}
	m := &hider{dropping: &dropping{columns: columns}}
	e, err := newEngine(checked(t, 0), cfg, m, func(kv.SeqID) (trace.Tensors, error) { return tokens(9), nil }, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Prefill(0, 8); err != nil {
		t.Fatal(err)
	}
	quotas := []ref.Quota{{First: 0, Heads: 1, Units: 2}}
	for _, bad := range []ref.Ranking{
		{Unit: 1, Average: true, Quotas: quotas},
		{Unit: 1, Share: []int{1}, Quotas: quotas},
		{Unit: 1, Bias: &ref.HeadBias{}, Quotas: quotas},
		{Unit: 1, Column: 2, Width: 2, Quotas: quotas},
		{Unit: 1, Column: 3, Quotas: quotas},
		{Unit: 1},
	} {
		m.hides = ref.Hiding{Ranking: bad}
		if _, err := e.Compress(0); err == nil || !strings.HasPrefix(err.Error(), "kernels: decide: ") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	m.hides = ref.Hiding{Ranking: ref.Ranking{Unit: 1, Window: 3, Quotas: quotas}, Also: 1}
	if done, err := e.Compress(0); err != nil || done.Hidden != 3 {
		t.Errorf("after those: %+v, %v", done, err)
	}
	cache, err := e.Cache()
	if err != nil {
		t.Fatal(err)
	}
	if want := []float32{1, 1, 0, 0, 0, 1, 0, 0}; !slices.Equal(cache.Data[1][:8], want) {
		t.Errorf("hidden are %v, want %v", cache.Data[1][:8], want)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// TestWhole checks decisions that only a kernel with a bug makes.
func TestWhole(t *testing.T) {
	for _, tt := range []struct {
		lost  loss
		unit  int
		whole bool
	}{
		{loss{}, 4, true},
		{loss{units: 1, kvs: 2}, 4, true}, // the last unit has 2 of its 4
		{loss{units: 2, kvs: 6}, 4, true},
		{loss{units: 2, kvs: 8}, 4, false},
		{loss{units: 0, kvs: 2}, 4, false},
		{loss{units: 6, kvs: 6}, 1, true},
	} {
		d := decision{heads: []loss{tt.lost}, lengths: []int{10}}
		if err := d.whole(tt.unit); (err == nil) != tt.whole {
			t.Errorf("%+v in units of %d: %v", tt.lost, tt.unit, err)
		}
	}
}
