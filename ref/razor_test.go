package ref

import (
	"bytes"
	"encoding/json"
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
	"kvcompress/kv"
)

// razorListed is an entry of a head in the list model of RazorAttention.
type razorListed struct {
	position           int
	weight             float32
	key, value         []float32 // as stored
	keyMean, valueMean []float32 // exact; nil for entries that are not stand-ins
}

// razorList is RazorAttention without pages: the entries of each head in logical order.
type razorList struct {
	cfg    Config
	opt    Razor
	prompt int
	tokens int
	heads  [][]razorListed
}

func (m *razorList) isFull(head int) bool {
	h := m.cfg.Shape.KVHeads
	return len(m.opt.Full) > 0 && m.opt.Full[head/h][head%h] == 1
}

// stored returns a row rounded to the cache's format.
func (m *razorList) stored(row []float32) []float32 {
	limit := m.cfg.DType.Max()
	row = slices.Clone(row)
	for i, x := range row {
		row[i] = max(-limit, min(limit, x))
	}
	text := make([]byte, len(row)*m.cfg.DType.Size())
	m.cfg.DType.Encode(text, row)
	m.cfg.DType.Decode(row, text)
	return row
}

// enter adds a token: k and v are [L, H, D].
func (m *razorList) enter(k, v []float32) {
	d := m.cfg.Shape.HeadSize
	for i := range m.heads {
		m.heads[i] = append(m.heads[i], razorListed{position: m.tokens, weight: 1, key: m.stored(k[i*d:][:d]), value: m.stored(v[i*d:][:d])})
	}
	m.tokens++
}

// recent is L_h as in docs/methods/razor.md: max(S0, N/C) rounded up.
func (m *razorList) recent() int {
	c := &m.cfg.Compression
	entries := c.MaxCacheTokens
	if m.opt.Variant == RazorGoldenStick && entries == 0 {
		entries = m.opt.Capacity
	}
	if entries > 0 {
		if m.opt.StandIn {
			entries--
		}
		return entries - m.opt.Sinks
	}
	l := 0
	for float64(l)*m.opt.Ratio < float64(m.tokens) && c.Rate == 0 || c.Rate > 0 && float64(l) < float64(m.tokens)*c.Rate {
		l++
	}
	return max(l, m.opt.Threshold)
}

// compress changes the lists as a compression changes the cache.
func (m *razorList) compress() {
	if m.opt.Decode == RazorStatic && (m.tokens != m.prompt || slices.ContainsFunc(m.heads, func(h []razorListed) bool { return len(h) < m.tokens })) {
		return
	}
	recent := m.recent()
	for i, h := range m.heads {
		if m.isFull(i) {
			continue
		}
		into := -1
		var folded []int
		for j, e := range h {
			switch {
			case e.position < m.opt.Sinks || e.position >= m.tokens-recent:
			case m.opt.StandIn && len(h) < m.tokens && e.position == m.opt.Sinks:
				into = j
			default:
				folded = append(folded, j)
			}
		}
		gone := folded
		if m.opt.StandIn && into < 0 {
			if len(folded) < 2 {
				continue
			}
			gone = folded[1:]
		}
		if len(gone) == 0 {
			continue
		}
		if m.opt.StandIn {
			m.fold(h, folded, into)
		}
		m.heads[i] = pack(h, gone)
	}
}

func (m *razorList) fold(h []razorListed, folded []int, into int) {
	s := razorListed{position: h[folded[0]].position, weight: 1}
	n := float32(len(folded))
	if into >= 0 {
		s = h[into]
		n = s.weight
	}
	for _, part := range []struct {
		mean, page *[]float32
		of         func(*razorListed) []float32
	}{
		{&s.keyMean, &s.key, func(e *razorListed) []float32 { return e.key }},
		{&s.valueMean, &s.value, func(e *razorListed) []float32 { return e.value }},
	} {
		mean := make([]float32, m.cfg.Shape.HeadSize)
		for x := range mean {
			if into < 0 {
				var sum float32
				for _, j := range folded {
					sum = sum + part.of(&h[j])[x]
				}
				mean[x] = sum / n
				continue
			}
			k, count := (*part.mean)[x], n
			for _, j := range folded {
				count = count + 1
				k = k + (part.of(&h[j])[x]-k)/count
			}
			mean[x] = k
		}
		*part.mean, *part.page = mean, m.stored(mean)
	}
	if into < 0 {
		into = folded[0]
		s.weight = n
	} else {
		s.weight += float32(len(folded))
	}
	h[into] = s
}

// pack removes entries as a compression does: the last remaining entries fill the holes.
func pack(h []razorListed, gone []int) []razorListed {
	n := len(h) - len(gone)
	last := len(h) - 1
	for _, hole := range gone {
		if hole >= n {
			break
		}
		for slices.Contains(gone, last) {
			last--
		}
		h[hole] = h[last]
		last--
	}
	return h[:n]
}

// razorScenario drives an engine and the lists with the same tokens.
type razorScenario struct {
	cfg    Config
	opt    Razor
	rng    *rand.Rand
	engine *Engine
	lists  map[kv.SeqID]*razorList
	broken error
	damage func(*kv.Cache, Event) // may be nil

	made, rolled, weighed int                 // new stand-ins, folds into old ones, outputs with weights
	method                func(Method) Method // may be nil
}

func (s *razorScenario) numbers(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(s.rng.NormFloat64())
	}
	return x
}

func (s *razorScenario) start() error {
	set, err := settingsOf(s.opt)
	if err != nil {
		return err
	}
	s.cfg.Method, s.cfg.Set = "razor", set
	s.lists, s.broken = map[kv.SeqID]*razorList{}, nil
	s.engine, err = NewEngine(s.cfg, nil, func(e Event) {
		if e.Stage == StageDecide {
			s.broken = errors.Join(s.broken, s.checkPlan(e))
		}
		if s.damage != nil {
			s.damage(s.engine.cache, e)
		}
	})
	if err == nil && s.method != nil {
		s.engine.method = s.method(s.engine.method)
	}
	return err
}

func settingsOf(o Razor) (Settings, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	var set Settings
	return set, json.Unmarshal(text, &set)
}

// checkPlan compares the plan with its specification and with what Asks returns.
func (s *razorScenario) checkPlan(e Event) error {
	v := View{s.engine.cache, s.engine.cache.Sequence(e.Seqs[0])}
	for _, edit := range e.Plan.Edits {
		if edit.Op == StandIn && edit.Into == None {
			s.made++
		} else if edit.Op == StandIn {
			s.rolled++
		}
	}
	if spec := s.engine.method.Spec(v); !reflect.DeepEqual(*e.Plan, spec) {
		return fmt.Errorf("the plan is %+v, the specification says %+v", *e.Plan, spec)
	}
	if asks := s.engine.method.Asks(v.Counts()); asks != e.Plan.Asked || asks != e.Plan.KVs() {
		return fmt.Errorf("%d slots asked for, the plan says %d and empties %d", asks, e.Plan.Asked, e.Plan.KVs())
	}
	return nil
}

func (s *razorScenario) prefill(id kv.SeqID, n int) error {
	shape := s.cfg.Shape
	p, err := s.engine.BeginPrompt(id, n)
	if err != nil {
		return err
	}
	list := &razorList{cfg: s.cfg, opt: s.opt, heads: make([][]razorListed, shape.Heads()), prompt: n}
	row := shape.KVHeads * shape.HeadSize
	k, v := s.numbers(shape.Layers*n*row), s.numbers(shape.Layers*n*row) // [L, n, H, D]
	for l := range shape.Layers {
		if err := p.Layer(nil, k[l*n*row:][:n*row], v[l*n*row:][:n*row]); err != nil {
			return err
		}
	}
	p.End()
	for t := range n {
		var tk, tv []float32
		for l := range shape.Layers {
			tk, tv = append(tk, k[(l*n+t)*row:][:row]...), append(tv, v[(l*n+t)*row:][:row]...)
		}
		list.enter(tk, tv)
	}
	s.lists[id] = list
	return nil
}

func (s *razorScenario) decode(id kv.SeqID) error {
	shape := s.cfg.Shape
	t, err := s.engine.BeginTokens([]kv.SeqID{id})
	if err != nil {
		return err
	}
	row := shape.KVHeads * shape.HeadSize
	k, v := s.numbers(shape.Layers*row), s.numbers(shape.Layers*row)
	q, out := s.numbers(row*shape.Group), make([]float32, row*shape.Group)
	s.lists[id].enter(k, v)
	for l := range shape.Layers {
		if err := t.Layer(q, k[l*row:][:row], v[l*row:][:row], out); err != nil {
			return err
		}
		for head := range shape.KVHeads {
			if s.engine.standIns.Weight != None && slices.ContainsFunc(s.lists[id].heads[l*shape.KVHeads+head], func(e razorListed) bool { return e.weight > 1 }) {
				s.weighed++
			}
			n := shape.Group * shape.HeadSize
			if err := s.lists[id].checkOutput(l*shape.KVHeads+head, q[head*n:][:n], out[head*n:][:n]); err != nil {
				return err
			}
		}
	}
	t.End()
	return nil
}

// checkOutput computes attention line by line as in NUMERICS.md §4, for the entries of one head and its G
// queries.
func (m *razorList) checkOutput(head int, q, out []float32) error {
	d, entries := m.cfg.Shape.HeadSize, m.heads[head]
	for g := range m.cfg.Shape.Group {
		var sm softmax
		var partials [][]float32
		for p := 0; p < len(entries); p += Partition {
			part := entries[p:min(p+Partition, len(entries))]
			scores, o := make([]float32, len(part)), make([]float32, d)
			for i, e := range part {
				scores[i] = dotOfWarp(q[g*d:][:d], e.key) * attentionScale(d)
				if e.weight > 1 && m.opt.Variant == RazorPaper {
					scores[i] += logOf(e.weight)
				}
			}
			sm.add(scores)
			for i, e := range part {
				for x := range o {
					o[x] += float32(scores[i] * e.value[x])
				}
			}
			partials = append(partials, o)
		}
		want := make([]float32, d)
		for p, f := range sm.factors() {
			for x := range want {
				want[x] += float32(partials[p][x] * f)
			}
		}
		if got := out[g*d:][:d]; !slices.Equal(got, want) {
			return fmt.Errorf("head %d, query %d: the output is %v, want %v", head, g, got, want)
		}
	}
	return nil
}

// dotOfWarp is the dot product of NUMERICS.md §3.
func dotOfWarp(q, k []float32) float32 {
	lanes := make([]float32, 32)
	for i := range q {
		lanes[i%32] += float32(q[i] * k[i])
	}
	for distance := 16; distance > 0; distance /= 2 {
		next := make([]float32, 32)
		for l := range lanes {
			next[l] = lanes[l] + lanes[l^distance]
		}
		lanes = next
	}
	return lanes[0]
}

// logOf is the logarithm of NUMERICS.md, "Stand-ins".
func logOf(w float32) float32 {
	bits := math.Float32bits(w) - 0x3f3504f3
	e := float32(bits >> 23)
	f := math.Float32frombits(bits&0x7fffff+0x3f3504f3) - 1
	s := f / (2 + f)
	z := float32(s * s)
	r := float32(float32(float32(0x1.2eeb9p-2*z)+0x1.997c06p-2)*z) + 0x1.55555cp-1
	c := float32(s * (f - float32(z*r)))
	return float32(e*0x1.62e4p-1) + (f - (c - float32(e*0x1.7f7d1cp-20)))
}

// check compares the whole cache with the lists.
func (s *razorScenario) check() error {
	cache, held := s.engine.cache, 0
	for id, list := range s.lists {
		q := cache.Sequence(id)
		for i := range q.Heads {
			if err := s.checkHead(list, &q.Heads[i], list.heads[i]); err != nil {
				return fmt.Errorf("sequence %d, head %d of L·H: %w", id, i, err)
			}
			held += len(q.Heads[i].Table)
		}
	}
	if held+cache.Free() != cache.Blocks() {
		return fmt.Errorf("%d blocks are held and %d free, of %d", held, cache.Free(), cache.Blocks())
	}
	return nil
}

func (s *razorScenario) checkHead(list *razorList, h *kv.Head, want []razorListed) error {
	cache, d := s.engine.cache, s.cfg.Shape.HeadSize
	if h.Len != len(want) || len(h.Table) != ceil.Div(h.Len, s.cfg.BlockSize) {
		return fmt.Errorf("%d entries in %d blocks, want %d entries", h.Len, len(h.Table), len(want))
	}
	sum := 0.0
	for i, e := range want {
		slot := cache.Slot(h, i)
		if int(cache.Positions[slot]) != e.position {
			return fmt.Errorf("entry %d has position %d, want %d", i, cache.Positions[slot], e.position)
		}
		for _, x := range []struct {
			name string
			got  []byte
			want []float32
		}{{"key", cache.Key(slot), e.key}, {"value", cache.Value(slot), e.value}} {
			text := make([]byte, d*s.cfg.DType.Size())
			s.cfg.DType.Encode(text, x.want)
			if !bytes.Equal(x.got, text) {
				return fmt.Errorf("entry %d, position %d, has another %s", i, e.position, x.name)
			}
		}
		if weights := cache.Column("weights"); weights != nil {
			if weights[slot] != e.weight {
				return fmt.Errorf("entry %d has weight %g, want %g", i, weights[slot], e.weight)
			}
			sum += float64(weights[slot])
		}
		for name, mean := range map[string][]float32{"key_means": e.keyMean, "value_means": e.valueMean} {
			if column := cache.Column(name); column != nil {
				if mean == nil {
					mean = make([]float32, d)
				}
				if got := column[slot*d:][:d]; !slices.Equal(got, mean) {
					return fmt.Errorf("entry %d has %s %v, want %v", i, name, got, mean)
				}
			}
		}
	}
	if sum != 0 && sum != float64(list.tokens) {
		return fmt.Errorf("the weights are %g together, %d tokens entered", sum, list.tokens)
	}
	return nil
}

func randomRazor(rng *rand.Rand) *razorScenario {
	s := &razorScenario{rng: rng}
	s.cfg.Config = kv.Config{
		Shape:     kv.Shape{Layers: 1 + rng.IntN(2), KVHeads: 1 + rng.IntN(3), Group: 1 + rng.IntN(2), HeadSize: 8 * (1 + rng.IntN(5))},
		BlockSize: 1 << rng.IntN(6),
		DType:     dtype.DType(rng.IntN(5)),
	}
	s.cfg.Blocks = 3 * s.cfg.Shape.Heads() * ceil.Div(400, s.cfg.BlockSize)
	s.opt = DefaultRazor()
	s.opt.Sinks, s.opt.Threshold, s.opt.Ratio = rng.IntN(6), rng.IntN(30), 1+float64(rng.IntN(80))/10
	s.opt.StandIn = rng.IntN(5) > 0
	switch {
	case rng.IntN(4) == 0:
		s.opt.Variant, s.opt.Capacity = RazorGoldenStick, s.opt.Sinks+1+rng.IntN(30)
	case rng.IntN(3) > 0:
		s.opt.Decode = RazorRolling
	}
	switch rng.IntN(4) {
	case 0:
		s.cfg.Compression.MaxCacheTokens = s.opt.Sinks + 1 + rng.IntN(40)
	case 1:
		if s.opt.Variant == RazorPaper {
			s.cfg.Compression.Rate = 0.05 + 0.9*rng.Float64()
		}
	}
	for l := range s.cfg.Shape.Layers {
		s.opt.Full = append(s.opt.Full, make([]int, s.cfg.Shape.KVHeads))
		for h := range s.cfg.Shape.KVHeads {
			if rng.IntN(4) == 0 {
				s.opt.Full[l][h] = 1
			}
		}
	}
	return s
}

// run does random operations until the engine and the lists differ.
func (s *razorScenario) run(operations int) error {
	if err := s.start(); err != nil {
		return err
	}
	every := []int{1, 1, 7}[s.rng.IntN(3)] // decode steps between compressions
	for i := range operations {
		id := kv.SeqID(s.rng.IntN(2))
		var err error
		var did string
		switch list := s.lists[id]; {
		case list == nil:
			n := 1 + s.rng.IntN([]int{30, 200}[s.rng.IntN(2)])
			did = fmt.Sprintf("prefill %d tokens", n)
			err = s.prefill(id, n)
		case list.tokens > 380 || s.rng.IntN(150) == 0:
			did = "release"
			delete(s.lists, id)
			err = s.engine.Release(id)
		case s.rng.IntN(every+1) > 0:
			did = "decode"
			err = s.decode(id)
		default:
			did = "compress"
			list.compress()
			_, err = s.engine.Compress(id)
		}
		if err = errors.Join(err, s.broken, s.check()); err != nil {
			return fmt.Errorf("operation %d: %s: %w", i, did, err)
		}
		s.engine.cache.Poison()
	}
	return nil
}

// TestRazor compares the engine with lists without pages, to the bit: entries, weights, means and attention
// outputs over random operations.
func TestRazor(t *testing.T) {
	seeds := testsize.Of(40, 40, 120)
	made, rolled, weighed := 0, 0, 0
	for seed := range seeds {
		s := randomRazor(rand.New(rand.NewPCG(uint64(seed), 31)))
		if err := s.run(50); err != nil {
			t.Fatalf("seed %d: %v\nwith %v", seed, err, s.cfg)
		}
		made, rolled, weighed = made+s.made, rolled+s.rolled, weighed+s.weighed
	}
	t.Logf("%d stand-ins, %d folds into one that was there, %d outputs with weights", made, rolled, weighed)
	if made < 50 || rolled < 50 || weighed < 50 {
		t.Error("too few events to test anything")
	}
}

// razorFault is razor with a planted bug in its plans.
type razorFault struct {
	Folder
	change func(*Plan)
}

func (f razorFault) Plan(v View) Plan { p := f.Folder.Plan(v); f.change(&p); return p }
func (f razorFault) Spec(v View) Plan { return f.Plan(v) } // so that only the bug's effect is noticed

// TestRazorNotices plants bugs in the engine and in the method.
func TestRazorNotices(t *testing.T) {
	const sinks = 2
	standIn := func(do func(c *kv.Cache, slot, d int)) func(*kv.Cache, Event) {
		return func(c *kv.Cache, e Event) {
			if e.Stage != StageMove {
				return
			}
			s := c.Sequence(e.Seqs[0])
			for i := range s.Heads {
				if h := &s.Heads[i]; h.Len < s.Len {
					do(c, c.Slot(h, sinks), c.Shape().HeadSize)
				}
			}
		}
	}
	scaled := func(column func(c *kv.Cache) []float32) func(*kv.Cache, Event) {
		return standIn(func(c *kv.Cache, slot, d int) {
			n := c.Column("weights")[slot]
			mean := column(c)[slot*d:][:d]
			for i := range mean {
				mean[i] = mean[i] * n / (n - 1)
			}
		})
	}
	first := func(change func(*Edit)) func(*Plan) {
		return func(p *Plan) {
			if len(p.Edits) > 0 {
				change(&p.Edits[0])
			}
		}
	}
	for _, bug := range []struct {
		name   string
		damage func(*kv.Cache, Event)
		change func(*Plan)
	}{
		{name: "the weight is forgotten", damage: standIn(func(c *kv.Cache, slot, _ int) { c.Column("weights")[slot] = 1 })},
		{name: "the weight counts the stand-in itself", damage: standIn(func(c *kv.Cache, slot, _ int) { c.Column("weights")[slot]++ })},
		{name: "the mean key's divisor is one too small", damage: scaled(func(c *kv.Cache) []float32 { return c.Column("key_means") })},
		{name: "the mean value's divisor is one too small", damage: scaled(func(c *kv.Cache) []float32 { return c.Column("value_means") })},
		{name: "the page keeps the first key", damage: standIn(func(c *kv.Cache, slot, d int) { clear(c.Key(slot)) })},
		{name: "the stand-in has the newest position", damage: standIn(func(c *kv.Cache, slot, _ int) { c.Positions[slot] += 3 })},
		{name: "a sink is folded", change: first(func(e *Edit) {
			if e.Into == None {
				e.KVs = slices.Insert(e.KVs[1:], 0, sinks-1)
			}
		})},
		{name: "a token is dropped instead", change: first(func(e *Edit) { e.Op = Drop; e.KVs = e.gone() })},
		{name: "an old stand-in is folded into a new one", change: first(func(e *Edit) {
			if e.Into != None {
				e.KVs, e.Into = slices.Insert(e.KVs, 0, e.Into), None
			}
		})},
	} {
		t.Run(bug.name, func(t *testing.T) {
			for seed := range 20 {
				s := randomRazor(rand.New(rand.NewPCG(uint64(seed), 32)))
				s.opt = DefaultRazor()
				s.opt.Sinks, s.opt.Threshold, s.opt.Decode, s.opt.Full = sinks, 5, RazorRolling, FullHeads{}
				s.cfg.Compression = Compression{}
				s.damage = bug.damage
				if bug.change != nil {
					s.method = func(m Method) Method { return razorFault{m.(Folder), bug.change} }
				}
				if err := s.run(100); err != nil {
					t.Logf("noticed: %v", err)
					return
				}
			}
			t.Error("not noticed")
		})
	}
}

// TestRazorExact checks that a stand-in for equal KVs is exact: attention does not change, except for
// rounding.
func TestRazorExact(t *testing.T) {
	s := &razorScenario{rng: rand.New(rand.NewPCG(1, 33)), opt: DefaultRazor()}
	s.cfg.Config = kv.Config{Shape: kv.Shape{Layers: 1, KVHeads: 1, Group: 2, HeadSize: 16}, BlockSize: 8, Blocks: 64, DType: dtype.F16}
	s.opt.Threshold, s.opt.Full = 20, FullHeads{}
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	const n, d = 300, 16
	k, v := s.numbers(n*d), s.numbers(n*d)
	for i := 5; i < n-60; i++ { // the KVs that are folded
		copy(k[i*d:], k[4*d:5*d])
		copy(v[i*d:], v[4*d:5*d])
	}
	p, err := s.engine.BeginPrompt(0, n)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Layer(nil, k, v); err != nil {
		t.Fatal(err)
	}
	p.End()
	q, before, after := s.numbers(2*d), make([]float32, 2*d), make([]float32, 2*d)
	if err := s.engine.Attend(0, 0, q, before); err != nil {
		t.Fatal(err)
	}
	done, err := s.engine.Compress(0)
	if err != nil || done.Evicted != n-65 {
		t.Fatalf("%+v, %v: want %d slots emptied", done, err, n-65)
	}
	if err := s.engine.Attend(0, 0, q, after); err != nil {
		t.Fatal(err)
	}
	// The bound of NUMERICS.md §8 with A ≤ S ≤ 16, two and three partitions, and |v| ≤ 4, for both outputs.
	const bound = 2 * 4 * 0x1p-24 * (2*10*16 + 8*16 + 30 + 2*3 + 128 + 3 + 3)
	for i := range after {
		if math.Abs(float64(after[i])-float64(before[i])) > bound {
			t.Errorf("output %d is %g, before the compression it was %g", i, after[i], before[i])
		}
	}
}

// TestRazorExtremes folds keys at the limits of their format, whose mean may round up.
func TestRazorExtremes(t *testing.T) {
	for _, format := range []dtype.DType{dtype.F32, dtype.F16, dtype.BF16, dtype.E4M3, dtype.E5M2} {
		s := &razorScenario{rng: rand.New(rand.NewPCG(1, 34)), opt: DefaultRazor()}
		s.opt.Decode, s.opt.Threshold, s.opt.Ratio, s.opt.Full = RazorRolling, 0, 1000, FullHeads{}
		s.cfg.Config = kv.Config{Shape: kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 8}, BlockSize: 32, Blocks: 700, DType: format}
		if err := s.start(); err != nil {
			t.Fatal(err)
		}
		const n = 20000
		k := make([]float32, n*8)
		for i := range k {
			k[i] = min(format.Max(), 0x1p56)
		}
		p, err := s.engine.BeginPrompt(0, n)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Layer(nil, k, k); err != nil {
			t.Fatal(err)
		}
		p.End()
		if _, err := s.engine.Compress(0); err != nil {
			t.Fatal(err)
		}
		h := &s.engine.cache.Sequence(0).Heads[0]
		got := make([]float32, 8)
		format.Decode(got, s.engine.cache.Key(s.engine.cache.Slot(h, 4)))
		if !(math.Abs(float64(got[0])/float64(k[0])-1) < 1e-3) {
			t.Errorf("%v: the mean of keys of %g is %g", format, k[0], got[0])
		}
	}
}

// TestRazorRefuses gives invalid options.
func TestRazorRefuses(t *testing.T) {
	for _, c := range []struct {
		want   string
		change func(*Config)
	}{
		{`variant "x" is neither`, func(c *Config) { c.Set.Set("variant", "x") }},
		{`decode "x" is neither`, func(c *Config) { c.Set.Set("decode", "x") }},
		{"golden-stick compresses once", func(c *Config) { c.Set.Set("variant", "golden-stick"); c.Set.Set("decode", "rolling") }},
		{"no rate", func(c *Config) { c.Set.Set("variant", "golden-stick"); c.Compression.Rate = 0.2 }},
		{"it must be at least 5", func(c *Config) { c.Compression.MaxCacheTokens = 4 }},
		{"it must be at least 4", func(c *Config) { c.Compression.MaxCacheTokens = 3; c.Set.Set("stand_in", "false") }},
		{"sinks -1 is not", func(c *Config) { c.Set.Set("sinks", "-1") }},
		{"threshold -1 is not", func(c *Config) { c.Set.Set("threshold", "-1") }},
		{"ratio 0.5 is not", func(c *Config) { c.Set.Set("ratio", "0.5") }},
		{"capacity -1 is negative", func(c *Config) { c.Set.Set("capacity", "-1") }},
		{"--set map=FILE reads a map", func(c *Config) { delete(c.Set, "full") }},
		{"full has 1 layers, the model has 2", func(c *Config) { c.Set.Set("full", "[[1,0]]") }},
		{"layer 1 has 1 KV heads, the model's have 2", func(c *Config) { c.Set.Set("full", "[[1,0],[1]]") }},
		{"layer 0, KV head 1: -1, want 1 or 0", func(c *Config) { c.Set.Set("full", "[[0,-1],[0,0]]") }},
		{`got "all"`, func(c *Config) { c.Set.Set("full", "all") }},
		{`no option "c"`, func(c *Config) { c.Set.Set("c", "5") }},
	} {
		cfg := Config{Method: "razor", Set: Settings{"full": json.RawMessage(`"none"`)}}
		cfg.Config = kv.Config{Shape: kv.Shape{Layers: 2, KVHeads: 2, Group: 1, HeadSize: 8}, BlockSize: 8, Blocks: 8}
		if err := cfg.Validate(); err != nil {
			t.Fatal(err)
		}
		c.change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want an error with %q", err, c.want)
		}
	}
}
