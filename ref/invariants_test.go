package ref

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"kvcompress/dtype"
	"kvcompress/kv"
	"kvcompress/trace"
)

// operation is one line of a scenario. One that does not apply to the state it
// meets does nothing, so that any part of a scenario is a scenario.
type operation struct {
	verb string // prefill, decode, compress, preempt or release
	seq  kv.SeqID
	n    int // tokens of a prefill; decode: sequences from seq on
}

func (o operation) String() string {
	switch o.verb {
	case "prefill":
		return fmt.Sprintf("prefill sequence %d with %d tokens", o.seq, o.n)
	case "decode":
		return fmt.Sprintf("decode sequences %d to %d", o.seq, int(o.seq)+o.n-1)
	default:
		return fmt.Sprintf("%s sequence %d", o.verb, o.seq)
	}
}

const maxTokens = 150 // of a sequence in a scenario: more than a partition

// hashed is a source of tensors whose every element is a hash of its place.
type hashed struct {
	seq   kv.SeqID
	shape kv.Shape
}

func (h hashed) Tokens() int  { return maxTokens }
func (h hashed) Close() error { return nil }

func (h hashed) Read(dst []float32, t trace.Tensor, layer, from, n int) error {
	row := len(dst) / n
	for i := range dst {
		dst[i] = h.at(t, layer, from+i/row, i%row)
	}
	return nil
}

func (h hashed) at(t trace.Tensor, layer, token, i int) float32 {
	x := mix(uint64(h.seq)<<48 ^ uint64(t)<<40 ^ uint64(layer)<<32 ^ uint64(token)<<16 ^ uint64(i))
	return float32(int32(x>>32)) / (1 << 30)
}

// scenario runs operations on an engine and checks every invariant after each.
type scenario struct {
	cfg    Config
	engine *Engine
	broken error              // what the observer found
	before map[kvName]float32 // metrics before a compression
	damage func(*kv.Cache, Event)
}

type kvName struct {
	seq      kv.SeqID
	head     int
	position int32
}

func (s *scenario) run(ops []operation) error {
	s.broken = nil
	engine, err := NewEngine(s.cfg, func(id kv.SeqID) (trace.Tensors, error) { return hashed{id, s.cfg.Shape}, nil }, s.observe)
	if err != nil {
		return err
	}
	s.engine = engine
	s.poison()
	for i, op := range ops {
		if err := s.do(op); err != nil {
			return fmt.Errorf("operation %d: %s: %w", i, op, err)
		}
		if err := errors.Join(s.broken, s.check()); err != nil {
			return fmt.Errorf("after operation %d: %s: %w", i, op, err)
		}
		s.poison()
	}
	return nil
}

func (s *scenario) do(op operation) error {
	var full *kv.ErrNoBlocks
	var err error
	cache := s.engine.Cache()
	switch present := cache.Sequence(op.seq) != nil; {
	case op.verb == "prefill" && !present:
		err = s.engine.Prefill(op.seq, op.n)
	case op.verb == "decode":
		var batch []kv.SeqID
		for id := op.seq; int(id) < int(op.seq)+op.n; id++ {
			if q := cache.Sequence(id); q != nil && q.Len < maxTokens {
				batch = append(batch, id)
			}
		}
		if len(batch) > 0 {
			err = s.engine.Decode(batch)
		}
	case op.verb == "compress" && present:
		s.before = map[kvName]float32{}
		s.eachKV(op.seq, func(name kvName, slot int) { s.before[name] = cache.Data[0][slot] })
		asked := s.engine.Count(op.seq)
		held := s.engine.Held(op.seq)
		var r Compressed
		if r, err = s.engine.Compress(op.seq); err == nil {
			if freed := held - s.engine.Held(op.seq); r.Asked != asked || r.Freed != freed {
				err = fmt.Errorf("%d blocks asked for and %d freed; %d and %d are reported", asked, freed, r.Asked, r.Freed)
			}
		}
	case op.verb == "preempt" && present:
		n := cache.Sequence(op.seq).Len
		if err = s.engine.Release(op.seq); err == nil {
			err = s.engine.Prefill(op.seq, n)
		}
	case op.verb == "release" && present:
		err = s.engine.Release(op.seq)
	}
	if errors.As(err, &full) {
		return nil
	}
	return err
}

// observe checks what can only be seen between two stages.
func (s *scenario) observe(e Event) {
	cache := s.engine.Cache()
	note := func(format string, args ...any) { s.broken = errors.Join(s.broken, fmt.Errorf(format, args...)) }
	switch e.Stage {
	case StageDecode:
		for _, o := range e.Parts[0].Floats {
			if math.IsNaN(float64(o)) || math.Abs(float64(o)) > 2 {
				note("an attention output is %g: an unused slot was read", o)
				break
			}
		}
	case StageDecide:
		view := View{cache, cache.Sequence(e.Seqs[0])}
		method := s.engine.method.(Dropper)
		if spec := method.Spec(view); !reflect.DeepEqual(spec, *e.Plan) {
			note("the plan is %+v, its specification says %+v", *e.Plan, spec)
		}
		if e.Plan.Asked == 0 {
			break
		}
		p := method.Rank(view.Counts()).Problem(cache, view.Sequence)
		lost := Walk(p)
		if short := lost.Shortfall(); short < 0 || short > 0 && unitsLeft(p, &lost) {
			note("%d of %d units are evicted, and more could be", lost.Evicted, lost.Asked)
		}
		for i, h := range lost.Heads {
			if h.Units > 0 && len(h.KVs) != p.lastUnit(i)+(h.Units-1)*p.Unit {
				note("head %d loses %d units and %d KVs", i, h.Units, len(h.KVs))
			}
		}
	case StageMove:
		s.eachKV(e.Seqs[0], func(name kvName, slot int) {
			if was, ok := s.before[name]; !ok || math.Float32bits(was) != math.Float32bits(cache.Data[0][slot]) {
				note("sequence %d, head %d: the KV at position %d has metric %g, before it had %g", name.seq, name.head, name.position, cache.Data[0][slot], was)
			}
		})
	}
	if s.damage != nil {
		s.damage(cache, e)
	}
}

// unitsLeft reports whether a quota that was not met has candidates left for one unit
// more.
func unitsLeft(p *Problem, d *Decision) bool {
	for _, quota := range p.Quotas {
		evicted, more := 0, false
		for head := quota.First; head < quota.First+quota.Heads; head++ {
			evicted += d.Heads[head].Units
			if p.Heads[head].Len > 0 {
				next := p.lastUnit(head) + d.Heads[head].Units*p.Unit
				more = more || len(p.appendCandidates(nil, head)) >= next
			}
		}
		if evicted < quota.Units && more {
			return true
		}
	}
	return false
}

func (s *scenario) eachKV(id kv.SeqID, f func(name kvName, slot int)) {
	cache := s.engine.Cache()
	q := cache.Sequence(id)
	for i := range q.Heads {
		for logical := range q.Heads[i].Len {
			slot := cache.Slot(&q.Heads[i], logical)
			f(kvName{id, i, cache.Positions[slot]}, slot)
		}
	}
}

// check checks the whole cache.
func (s *scenario) check() error {
	cache := s.engine.Cache()
	owned := make([]bool, cache.Blocks())
	for _, id := range cache.Sequences() {
		q := cache.Sequence(id)
		for i := range q.Heads {
			if err := s.checkHead(q, i, owned); err != nil {
				return fmt.Errorf("sequence %d, layer %d, head %d: %w", id, i/s.cfg.Shape.KVHeads, i%s.cfg.Shape.KVHeads, err)
			}
		}
	}
	free := 0
	for b, isOwned := range owned {
		isFree := cache.IsFree(int(b))
		if isFree == isOwned || isFree != (cache.Owners[b].Seq == kv.NoSeq) {
			return fmt.Errorf("block %d: in a table: %t, on the free list: %t, owner %+v", b, isOwned, isFree, cache.Owners[b])
		}
		if isFree {
			free++
		}
	}
	if free != cache.Free() {
		return fmt.Errorf("%d blocks are free, %d are counted", free, cache.Free())
	}
	return nil
}

func (s *scenario) checkHead(q *kv.Sequence, i int, owned []bool) error {
	cache, shape := s.engine.Cache(), s.cfg.Shape
	h := &q.Heads[i]
	layer, head := i/shape.KVHeads, i%shape.KVHeads
	if len(h.Table) != ceilDiv(h.Len, s.cfg.BlockSize) {
		return fmt.Errorf("%d KVs in %d blocks", h.Len, len(h.Table))
	}
	for logical, b := range h.Table {
		if owned[b] {
			return fmt.Errorf("block %d is owned twice", b)
		}
		owned[b] = true
		if want := (kv.Owner{Seq: q.ID, Layer: int32(layer), Head: int32(head), Logical: int32(logical)}); cache.Owners[b] != want {
			return fmt.Errorf("block %d has owner %+v, not %+v", b, cache.Owners[b], want)
		}
	}
	src := hashed{q.ID, shape}
	size := shape.HeadSize * s.cfg.DType.Size()
	row, want := make([]float32, shape.HeadSize), make([]byte, size)
	has := make([]bool, q.Len)
	for logical := range h.Len {
		slot := cache.Slot(h, logical)
		position := int(cache.Positions[slot])
		if position < 0 || position >= q.Len || has[position] {
			return fmt.Errorf("logical index %d: position %d is out of range or held twice", logical, position)
		}
		has[position] = true
		if m := cache.Data[0][slot]; !(m >= 0) {
			return fmt.Errorf("position %d has metric %g", position, m)
		}
		for _, x := range []struct {
			t    trace.Tensor
			name string
			got  []byte
		}{{trace.K, "key", cache.Key(slot)}, {trace.V, "value", cache.Value(slot)}} {
			for j := range row {
				row[j] = src.at(x.t, layer, position, head*shape.HeadSize+j)
			}
			s.cfg.DType.Encode(want, row)
			if !bytes.Equal(x.got, want) {
				return fmt.Errorf("position %d has another's %s", position, x.name)
			}
		}
	}
	for position, ok := range has {
		switch {
		case ok:
		case position < s.cfg.Compression.Sinks:
			return fmt.Errorf("sink %d of %d is gone", position, s.cfg.Compression.Sinks)
		case position > q.Len-1-s.cfg.Compression.ProtectedWindow:
			return fmt.Errorf("position %d of %d is gone, the protected window is %d", position, q.Len, s.cfg.Compression.ProtectedWindow)
		}
	}
	return nil
}

// poison fills every slot that holds no KV with NaN.
func (s *scenario) poison() {
	cache := s.engine.Cache()
	used := make([]bool, len(cache.Positions))
	for _, id := range cache.Sequences() {
		s.eachKV(id, func(_ kvName, slot int) { used[slot] = true })
	}
	for slot, isUsed := range used {
		if !isUsed {
			cache.Data[0][slot] = float32(math.NaN())
			cache.Positions[slot] = math.MinInt32
			for i := range cache.Key(slot) {
				cache.Key(slot)[i], cache.Value(slot)[i] = 0xff, 0xff
			}
		}
	}
}

func randomScenario(rng *rand.Rand, operations int) (Config, []operation) {
	cfg := Config{
		Config: kv.Config{BlockSize: 1 << rng.IntN(6), DType: dtype.DType(rng.IntN(5))},
		Metric: Metric{
			Norm: []Norm{L1, L2}[rng.IntN(2)], Reduction: []Reduction{Sum, Avg}[rng.IntN(2)],
			MaxPool: []int{0, 7}[rng.IntN(2)], Window: 1 + rng.IntN(8), Buffer: rng.IntN(4),
		},
	}
	cfg.Shape = kv.Shape{Layers: 1 + rng.IntN(3), KVHeads: 1 + rng.IntN(3), Group: 1 + rng.IntN(2), HeadSize: 8}
	heads := cfg.Shape.Layers * cfg.Shape.KVHeads
	cfg.Blocks = heads * (1 + rng.IntN(4*ceilDiv(maxTokens, cfg.BlockSize)))
	opt := &cfg.Compression
	opt.ProtectedWindow, opt.Sinks, opt.Seed = rng.IntN(12), rng.IntN(5), rng.Uint64()
	if rng.IntN(2) == 0 {
		opt.Rate = 0.05 + 0.9*rng.Float64()
	} else {
		opt.MaxCacheTokens = 1 + rng.IntN(40)
	}
	switch rng.IntN(5) {
	case 0:
		opt.EvenLayers = true
		if rng.IntN(2) == 0 {
			opt.ControlLayers = []int{rng.IntN(cfg.Shape.Layers)}
		}
	case 1:
		opt.Uniform = true
	case 2:
		opt.Random = true
	}
	if rng.IntN(4) == 0 {
		opt.BiasWeight, opt.HeadBias = rng.Float32(), &HeadBias{Bins: []int32{0, 1 + rng.Int32N(30), 40}}
		for range cfg.Shape.Layers {
			var layer [][]float32
			for range cfg.Shape.KVHeads {
				layer = append(layer, []float32{rng.Float32() - 0.5, rng.Float32() - 0.5, rng.Float32() - 0.5})
			}
			opt.HeadBias.Bias = append(opt.HeadBias.Bias, layer)
		}
	}
	longest := []int{40, 40, maxTokens - 2}[rng.IntN(3)] // prompt
	ops := make([]operation, operations)
	for i := range ops {
		seq := kv.SeqID(rng.IntN(4))
		switch r := rng.IntN(20); {
		case r < 4:
			ops[i] = operation{"prefill", seq, 1 + rng.IntN(longest)}
		case r < 13:
			ops[i] = operation{"decode", seq, 1 + rng.IntN(4)}
		case r < 17:
			ops[i] = operation{"compress", seq, 0}
		case r < 18:
			ops[i] = operation{"preempt", seq, 0}
		default:
			ops[i] = operation{"release", seq, 0}
		}
	}
	return cfg, ops
}

// shrink returns a shortest scenario that it can find by leaving operations out
// of a failing one, and its error.
func shrink(s *scenario, ops []operation) ([]operation, error) {
	err := s.run(ops)
	for size := len(ops) / 2; size > 0; {
		shorter := false
		for from := 0; from < len(ops); {
			rest := slices.Concat(ops[:from], ops[min(from+size, len(ops)):])
			if e := s.run(rest); e != nil {
				ops, err, shorter = rest, e, true
			} else {
				from += size
			}
		}
		if !shorter {
			size /= 2
		}
	}
	for i := range ops { // and with fewer tokens
		for ops[i].n > 1 {
			fewer := slices.Clone(ops)
			fewer[i].n--
			e := s.run(fewer)
			if e == nil {
				break
			}
			ops, err = fewer, e
		}
	}
	return ops, err
}

// TestInvariants runs 100,000 random operations in 200 scenarios. A failing one
// shrinks to a few lines.
func TestInvariants(t *testing.T) {
	for seed := range 200 {
		cfg, ops := randomScenario(rand.New(rand.NewPCG(uint64(seed), 5)), 500)
		s := &scenario{cfg: cfg}
		if s.run(ops) != nil {
			ops, err := shrink(s, ops)
			t.Fatalf("seed %d: %v\nwith %v\nin\n%s", seed, err, cfg, lines(ops))
		}
	}
}

// refree changes the free list of a cache.
func refree(c *kv.Cache, change func(free []uint32)) {
	s := c.Snapshot()
	change(s.Free)
	changed, err := s.Cache(c.Config(), c.Columns())
	if err != nil {
		panic(err)
	}
	*c = *changed
}

func lines(ops []operation) string {
	var b strings.Builder
	for _, op := range ops {
		fmt.Fprintln(&b, " ", op)
	}
	return b.String()
}

// TestInvariantsNotice plants faults and checks that the scenarios notice them
// and shrink to a few lines.
func TestInvariantsNotice(t *testing.T) {
	firstMove := func(do func(*kv.Cache, kv.Move)) func(*kv.Cache, Event) {
		return func(c *kv.Cache, e Event) {
			if e.Stage == StageMove && e.Parts[0].Dims[0].N > 0 {
				do(c, kv.Move{Destination: e.Parts[0].Ints[0], Source: e.Parts[0].Ints[1]})
			}
		}
	}
	for name, damage := range map[string]func(*kv.Cache, Event){
		"metric left behind": firstMove(func(c *kv.Cache, m kv.Move) { c.Data[0][m.Destination] = -1 }),
		"position left behind": firstMove(func(c *kv.Cache, m kv.Move) {
			c.Positions[m.Destination]++
		}),
		"key left behind":   firstMove(func(c *kv.Cache, m kv.Move) { c.Key(int(m.Destination))[0] ^= 1 }),
		"value left behind": firstMove(func(c *kv.Cache, m kv.Move) { c.Value(int(m.Destination))[0] ^= 1 }),
		"block freed twice": func(c *kv.Cache, e Event) {
			if e.Stage == StageMove {
				again := c.Sequence(e.Seqs[0]).Heads[0].Table[0]
				refree(c, func(free []uint32) { free[again/32] |= 1 << (again % 32) })
			}
		},
		"block lost": func(c *kv.Cache, e Event) {
			if e.Stage == StageRelease && c.Free() > 0 {
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
		"wrong owner": func(c *kv.Cache, e Event) {
			if e.Stage == StageMove {
				c.Owners[c.Sequence(e.Seqs[0]).Heads[0].Table[0]].Logical++
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range 50 {
				cfg, ops := randomScenario(rand.New(rand.NewPCG(uint64(seed), 6)), 300)
				cfg.Compression.ProtectedWindow = max(cfg.Compression.ProtectedWindow, 1) // so that no head is ever empty
				s := &scenario{cfg: cfg, damage: damage}
				if s.run(ops) == nil {
					continue
				}
				ops, err := shrink(s, ops)
				if len(ops) > 12 {
					t.Errorf("shrinks to %d lines only", len(ops))
				}
				t.Logf("noticed: %v\nin\n%s", err, lines(ops))
				return
			}
			t.Error("not noticed")
		})
	}
}
