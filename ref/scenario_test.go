package ref_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"kvcompress/dtype"
	"kvcompress/internal/ceil"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/ref/draw"
	"kvcompress/trace"
)

// operation is one line of a scenario. An operation that does not apply to the current state does nothing, so
// that any subset of a scenario is also a scenario.
type operation struct {
	verb string // prefill, decode, compress, preempt or release
	seq  kv.SeqID
	n    int // prefill: tokens; decode: number of sequences from seq on
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

// scenario runs operations on an engine and checks every invariant after each.
type scenario struct {
	cfg    ref.Config
	bend   func(ref.Method) ref.Method // plants a bug in the method; nil for none
	damage func(*kv.Cache, ref.Event)  // plants a bug in the engine; nil for none
	acted  int                         // KVs evicted, folded, hidden or quantized

	engine *ref.Engine
	method ref.Method // the engine's
	plain  ref.Method // the method without the bug
	model  model
	inputs map[inputs][]byte // inputs in the cache's format: [MaxTokens, H, D]
	broken error             // what the observer found
}

// inputs are a tensor of a sequence in one layer.
type inputs struct {
	id     kv.SeqID
	tensor trace.Tensor
	layer  int
}

func (s *scenario) run(ops []operation) error {
	method, err := s.cfg.NewMethod()
	if err != nil {
		return err
	}
	s.plain, s.method, s.broken, s.inputs = method, method, nil, map[inputs][]byte{}
	if s.bend != nil {
		s.method = s.bend(method)
	}
	open := func(id kv.SeqID) (trace.Tensors, error) { return ref.NewHashed(id, s.cfg.Shape), nil }
	if s.engine, err = ref.NewEngineOf(s.cfg, s.method, open, s.observe); err != nil {
		return err
	}
	s.model = newModel(s.cfg, s.engine.Cache(), method)
	for i, op := range ops {
		if err := s.engine.Poison(); err != nil {
			return err
		}
		done := s.do(op)
		if err := errors.Join(s.broken, done); err != nil {
			return fmt.Errorf("operation %d: %s: %w", i, op, err)
		}
		if err := s.check(); err != nil {
			return fmt.Errorf("after operation %d: %s: %w", i, op, err)
		}
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
			if q := cache.Sequence(id); q != nil && q.Len < ref.MaxTokens {
				batch = append(batch, id)
			}
		}
		if len(batch) > 0 {
			err = s.engine.Decode(batch)
		}
	case op.verb == "compress" && present:
		err = s.compress(op.seq)
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

// compress compares the reported result of a compression with what it did.
func (s *scenario) compress(id kv.SeqID) error {
	q := s.engine.Cache().Sequence(id)
	asks, held, kvs, pages := s.engine.Count(id), s.engine.Held(id), q.KVs(), quantizedPages(q)
	r, err := s.engine.Compress(id)
	if err != nil {
		return err
	}
	s.acted += r.Evicted + r.Hidden + r.Quantized + r.Merged
	taken := quantizedPages(q) - pages
	want := ref.Compressed{Asked: asks, Taken: taken, Freed: held + taken - s.engine.Held(id), Evicted: kvs - q.KVs(), Hidden: s.model.hidden(id), Moved: r.Moved}
	if _, ok := s.plain.(ref.Quantizer); ok {
		want.Quantized = asks
	}
	if _, ok := s.plain.(ref.Merger); ok {
		if want.Merged = asks; want.Quantized > 0 {
			want.Merged, want.Quantized = r.Merged, asks-r.Merged
		}
	}
	if s.refines(id) { // the amount asked for depends on scores
		want.Asked = r.Asked
	}
	if r.Asked == 0 {
		want.Hidden = 0 // no plan was made: KVs were hidden before
	}
	if r != want || r.Moved > r.Evicted || asks == 0 && r != (ref.Compressed{}) {
		return fmt.Errorf("%d asked for; it says that it has done %+v, and did %+v", asks, r, want)
	}
	return nil
}

// quantizedPages returns how many blocks of a sequence are in quantized or merged segments.
func quantizedPages(q *kv.Sequence) int {
	n := q.Blocks()
	for i := range q.Heads {
		n -= len(q.Heads[i].Table)
	}
	return n
}

// refines reports whether the method's ranking of a sequence refines its quotas.
func (s *scenario) refines(id kv.SeqID) bool {
	d, ok := s.plain.(ref.Dropper)
	return ok && d.Rank(s.view(id).Counts()).Refine != nil || s.model.refined
}

func (s *scenario) view(id kv.SeqID) ref.View {
	return ref.View{Cache: s.engine.Cache(), Sequence: s.engine.Cache().Sequence(id)}
}

// randomScenario draws a configuration of a method, and operations.
func randomScenario(rng *rand.Rand, m *draw.Method, operations int) (ref.Config, []operation, error) {
	if m.OwnPages { // which an fp8 cache and small pages cannot hold
		return pagedScenario(rng, m, operations)
	}
	base := ref.Default()
	base.BlockSize, base.DType = 1<<rng.IntN(6), dtype.DType(rng.IntN(5))
	base.Shape = kv.Shape{Layers: 1 + rng.IntN(3), KVHeads: 1 + rng.IntN(3), Group: 1 + rng.IntN(2), HeadSize: 8}
	base.Blocks = 1
	if rng.IntN(2) == 0 {
		base.Rope = &trace.Rope{Base: 10000, RotarySize: 2 + 2*rng.IntN(4), Pairing: []trace.Pairing{trace.Half, trace.Interleaved}[rng.IntN(2)]}
	}
	cfg, err := m.Config(rng, base)
	if err != nil {
		return cfg, nil, err
	}
	cfg.KVScale = draw.Scale(rng, cfg.DType, cfg.Shape.Layers)
	return cfg, randomOperations(rng, &cfg, operations), nil
}

// pagedScenario is randomScenario for a method with pages of its own.
func pagedScenario(rng *rand.Rand, m *draw.Method, operations int) (ref.Config, []operation, error) {
	base := ref.Default()
	base.BlockSize, base.DType = 8<<rng.IntN(3), []dtype.DType{dtype.F32, dtype.F16, dtype.BF16}[rng.IntN(3)]
	base.Shape = kv.Shape{Layers: 1 + rng.IntN(3), KVHeads: 1 + rng.IntN(3), Group: 1 + rng.IntN(2), HeadSize: []int{8, 32, 32, 64}[rng.IntN(4)]}
	base.Blocks = 1
	cfg, err := m.Config(rng, base)
	if err != nil {
		return cfg, nil, err
	}
	return cfg, randomOperations(rng, &cfg, operations), nil
}

// randomOperations draws the number of blocks of the cache, and operations.
func randomOperations(rng *rand.Rand, cfg *ref.Config, operations int) []operation {
	cfg.Blocks = cfg.Shape.Heads() * (1 + rng.IntN(4*ceil.Div(ref.MaxTokens, cfg.BlockSize)))
	longest := []int{40, 40, ref.MaxTokens - 2}[rng.IntN(3)] // prompt
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
	return ops
}

// shrink removes operations from a failing scenario while it still fails, and returns the rest and its error.
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
	for i := range ops { // then reduce the number of tokens
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

func lines(ops []operation) string {
	var b strings.Builder
	for _, op := range ops {
		fmt.Fprintln(&b, " ", op)
	}
	return b.String()
}
