package validate

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"kvcompress/internal/testsize"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
	"kvcompress/traces"
)

// TestTraces repeats every decision of the bundled replays, or of a part of them, with the specification.
func TestTraces(t *testing.T) {
	for i, name := range traces.Replays() {
		if i%testsize.Of(4, 2, 1) != 0 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t, name)
			r, err := Trace(context.Background(), b.Name, b.Trace, b.Options, Run{})
			if err != nil {
				t.Fatal(err)
			}
			if r.Divergence != nil || r.Decisions == 0 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestPairAgrees compares the reference with itself.
func TestPairAgrees(t *testing.T) {
	names := []string{"block-size-1", "six-stories", "llama-heads"}
	for _, name := range names[:testsize.Of(1, 1, 3)] {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t, name)
			r, err := Trace(context.Background(), b.Name, b.Trace, b.Options, Run{Engine: Reference})
			if err != nil {
				t.Fatal(err)
			}
			alone, err := Trace(context.Background(), b.Name, b.Trace, b.Options, Run{})
			if err != nil {
				t.Fatal(err)
			}
			if r.Divergence != nil || r.Steps != alone.Steps || r.Stages != alone.Stages || r.Values < 100*alone.Values {
				t.Errorf("%+v\nalone: %+v", r, alone)
			}
		})
	}
}

// corrupt is the reference engine with a bug: it changes what it reports at one stage.
type corrupt struct {
	stage ref.Stage
	nth   int // which of the stages with that name
	do    func(*ref.Event)
	quiet bool // it does not report the stage
}

func (c *corrupt) engine(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (Engine, error) {
	seen := 0
	return Reference(cfg, open, func(e ref.Event) {
		if e.Stage == c.stage {
			if seen++; seen == c.nth {
				if c.do != nil {
					c.do(&e)
				}
				if c.quiet {
					return
				}
			}
		}
		observe(e)
	})
}

// lastHead returns the last head of an event's first sequence.
func lastHead(e *ref.Event) *kv.Head {
	heads := e.Cache.Sequence(e.Seqs[0]).Heads
	return &heads[len(heads)-1]
}

func lastSlot(e *ref.Event, logical int) int { return e.Cache.Slot(lastHead(e), logical) }

// snapshot replaces an event's cache by one made from a changed snapshot.
func snapshot(e *ref.Event, change func(*kv.Snapshot)) {
	s := e.Cache.Snapshot()
	change(s)
	cache, err := s.Cache(testConfig(e).Config, e.Cache.Columns())
	if err != nil {
		panic(err)
	}
	e.Cache = cache
}

// testConfig has the part of the test trace's configuration that a snapshot needs.
func testConfig(e *ref.Event) ref.Config {
	b, err := traces.Open(testTrace)
	if err != nil {
		panic(err)
	}
	cfg := b.Options.Config
	cfg.Shape, cfg.Blocks = e.Cache.Shape(), e.Cache.Blocks()
	return cfg
}

const testTrace = "story"

// TestPairNotices corrupts one thing at a time.
func TestPairNotices(t *testing.T) {
	nan := float32(math.NaN())
	for _, c := range []struct {
		name string
		bug  corrupt
		want string // substring of the divergence's text
		more int
	}{
		{"metric", corrupt{stage: ref.StageDecode, nth: 3, do: func(e *ref.Event) {
			m := &e.Cache.Data[0][lastSlot(e, 2)]
			*m = math.Nextafter32(*m, 2)
		}}, "metric\n  at         sequence 0, layer 4, head 3, index 2, slot ", 0},
		{"a metric that is NaN", corrupt{stage: ref.StagePrefill, nth: 1, do: func(e *ref.Event) { e.Cache.Data[0][lastSlot(e, 0)] = nan }}, "NaN = 0x7fc00000", 0},
		{"minus zero", corrupt{stage: ref.StageDecode, nth: 1, do: func(e *ref.Event) {
			e.Cache.Data[0][lastSlot(e, 0)] = float32(math.Copysign(float64(e.Cache.Data[0][lastSlot(e, 0)]), -1))
		}}, "metric", 0},
		{"key", corrupt{stage: ref.StagePrefill, nth: 1, do: func(e *ref.Event) { e.Cache.Key(lastSlot(e, 1))[4] ^= 1 }}, "key\n", 0},
		{"value", corrupt{stage: ref.StageMove, nth: 2, do: func(e *ref.Event) { clear(e.Cache.Value(lastSlot(e, 1))) }}, "value\n", -1},
		{"position", corrupt{stage: ref.StageMove, nth: 1, do: func(e *ref.Event) { e.Cache.Positions[lastSlot(e, 0)]++ }}, "position\n", 0},
		{"table", corrupt{stage: ref.StagePrefill, nth: 1, do: func(e *ref.Event) { lastHead(e).Table[0] = 1 << 30 }}, "block table entry\n", 0},
		{"negative table", corrupt{stage: ref.StageDecode, nth: 1, do: func(e *ref.Event) { lastHead(e).Table[0] = -1 }}, "-1", 0},
		{"length", corrupt{stage: ref.StageMove, nth: 1, do: func(e *ref.Event) { lastHead(e).Len = -7 }}, "context length", 0},
		{"lost table", corrupt{stage: ref.StageMove, nth: 1, do: func(e *ref.Event) { lastHead(e).Table = nil }}, "length of the list: block table entry", 0},
		{"tokens", corrupt{stage: ref.StageDecode, nth: 1, do: func(e *ref.Event) { e.Cache.Sequence(0).Len++ }}, "tokens of the sequence", 0},
		{"owner", corrupt{stage: ref.StageRelease, nth: 1, do: func(e *ref.Event) { e.Cache.Owners[3].Seq = 9 }}, "owner of the block\n  at         index 3\n  reference  nobody\n  engine     sequence 9", 0},
		{"free list", corrupt{stage: ref.StageDecode, nth: 1, do: func(e *ref.Event) {
			snapshot(e, func(s *kv.Snapshot) { s.Free[0] ^= 1 })
		}}, "block is free\n  at         index 0", 0},
		{"a sequence too many", corrupt{stage: ref.StageDecode, nth: 1, do: func(e *ref.Event) {
			snapshot(e, func(s *kv.Snapshot) {
				s.Sequences = append(s.Sequences, &kv.Sequence{ID: 77, Heads: make([]kv.Head, len(s.Sequences[0].Heads))})
			})
		}}, "sequences in the cache\n  reference  [0]\n  engine     [0 77]", 0},
		{"no sequence", corrupt{stage: ref.StageDecode, nth: 1, do: func(e *ref.Event) {
			snapshot(e, func(s *kv.Snapshot) { s.Sequences = nil })
		}}, "sequences in the cache", 0},
		{"no cache", corrupt{stage: ref.StageDecode, nth: 1, do: func(e *ref.Event) { e.Cache = nil }}, "cache\n  reference  one\n  engine     none", 0},
		{"output", corrupt{stage: ref.StageDecode, nth: 4, do: func(e *ref.Event) {
			change(e, "outputs", func(p *ref.Part) {
				p.Floats[len(p.Floats)-1] += 1
				p.Floats[0] += 1
			})
		}}, "output\n  at         sequence 0, layer 0, head 0, element 0", 1},
		{"outputs", corrupt{stage: ref.StageDecode, nth: 4, do: func(e *ref.Event) { change(e, "outputs", func(p *ref.Part) { p.Floats = p.Floats[:0] }) }}, "length of the list: output", 0},
		{"evicted", corrupt{stage: ref.StageDecide, nth: 2, do: func(e *ref.Event) {
			change(e, "evicted", func(p *ref.Part) { p.Ints[len(p.Ints)-1]++ })
		}}, "evicted KV\n", 0},
		{"evicted, one less", corrupt{stage: ref.StageDecide, nth: 2, do: func(e *ref.Event) {
			change(e, "evicted", func(p *ref.Part) { p.Ints = p.Ints[:len(p.Ints)-1] })
		}}, "length of the list: evicted KV\n", 0},
		{"needs", corrupt{stage: ref.StageDecide, nth: 2, do: func(e *ref.Event) {
			change(e, "needs", func(p *ref.Part) { p.Ints[0]++ })
		}}, "blocks needed first\n", 0},
		{"asked", corrupt{stage: ref.StageDecide, nth: 1, do: func(e *ref.Event) {
			change(e, "asked", func(p *ref.Part) { p.Ints[0]++ })
		}}, "amount asked for\n", 0},
		{"no decision", corrupt{stage: ref.StageDecide, nth: 1, do: func(e *ref.Event) { e.Parts = nil }}, "parts of the stage\n  reference  22\n  engine     0", 0},
		{"another part", corrupt{stage: ref.StageDecide, nth: 1, do: func(e *ref.Event) {
			change(e, "needs", func(p *ref.Part) { p.Name = "kneads" })
		}}, "part of the stage\n  reference  needs\n  engine     kneads", 0},
		{"moves in another order", corrupt{stage: ref.StageMove, nth: 2, do: func(e *ref.Event) {
			change(e, "moves", func(p *ref.Part) { slices.Reverse(p.Ints) })
		}}, "slot of the move\n  at         sequence 0, index 0, element 0\n  reference  ", -1},
		{"a move less", corrupt{stage: ref.StageMove, nth: 2, do: func(e *ref.Event) { change(e, "moves", func(p *ref.Part) { p.Ints = p.Ints[:len(p.Ints)-2] }) }}, "length of the list: slot of the move", 0},
		{"another stage", corrupt{stage: ref.StageMove, nth: 1, do: func(e *ref.Event) { e.Stage = ref.StageRelease }}, "stage\n  reference  move of sequence 0\n  engine     release of", 0},
		{"other sequences", corrupt{stage: ref.StageMove, nth: 1, do: func(e *ref.Event) { e.Seqs = []kv.SeqID{4} }}, "engine     move of sequence 4", 0},
		{"a stage that is not reported", corrupt{stage: ref.StageMove, nth: 1, quiet: true}, "stage\n  reference  move of sequence 0\n  engine     none", 0},
		{"a first stage that is not reported", corrupt{stage: ref.StageDecide, nth: 1, quiet: true}, "stage\n  reference  decide of sequence 0\n  engine     move", 0},
		{"panic", corrupt{stage: ref.StageDecode, nth: 5, do: func(e *ref.Event) { e.Parts = e.Parts[:1<<60] }}, "engine     internal error, please report it: runtime error: slice bounds out of range", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := open(t, testTrace)
			r, err := Trace(context.Background(), b.Name, b.Trace, b.Options, Run{Engine: c.bug.engine})
			if err != nil {
				t.Fatal(err)
			}
			d := r.Divergence
			if d == nil {
				t.Fatal("not noticed")
			}
			text := d.String()
			if !strings.Contains(text, c.want) || c.more >= 0 && d.More != c.more {
				t.Errorf("%s\nwant %q, and %d more", text, c.want, c.more)
			}
			if d.Stage != c.bug.stage || d.Step < 0 || d.Trace != b.Name {
				t.Errorf("%s\nin step %d, stage %s; want stage %s", text, d.Step, d.Stage, c.bug.stage)
			}
		})
	}
}

// change changes a copy of the event's first non-empty part with that name.
func change(e *ref.Event, name string, how func(*ref.Part)) {
	for i, p := range e.Parts {
		if p.Name == name && p.Elements() > 0 {
			p.Ints, p.Floats = slices.Clone(p.Ints), slices.Clone(p.Floats)
			how(&p)
			e.Parts = slices.Clone(e.Parts)
			e.Parts[i] = p
			return
		}
	}
}

// failing is an engine whose calls fail, or answer wrongly, at some operation.
type failing struct {
	Engine
	left *int
	err  error
	how  string
}

func (f *failing) Decode(batch []kv.SeqID) error {
	if *f.left--; *f.left == 0 {
		switch f.how {
		case "before":
			return f.err
		case "after":
			_ = f.Engine.Decode(batch)
			return f.err
		case "twice":
			_ = f.Engine.Decode(batch)
			return f.Engine.Decode(batch)
		}
	}
	return f.Engine.Decode(batch)
}

func (f *failing) Compress(id kv.SeqID) (ref.Compressed, error) {
	c, err := f.Engine.Compress(id)
	if f.how == "result" {
		c.Moved++
	}
	return c, err
}

func (f *failing) Free() int {
	n := f.Engine.Free()
	if f.how == "free" {
		n++
	}
	return n
}

// TestPairErrors has an engine fail, or answer wrongly, when the reference does not.
func TestPairErrors(t *testing.T) {
	for how, want := range map[string]string{
		"before": "stage decode of sequence 0: error: none by the reference, no luck by the engine",
		"after":  "stage decode of sequence 0: error: none by the reference, no luck by the engine",
		"twice":  "decode of sequences [0]: stage: none by the reference, decode of sequence 0 by the engine",
		"result": "compress of sequence 0: result: {Asked:",
		"free":   "free blocks: ",
	} {
		t.Run(how, func(t *testing.T) {
			b := open(t, testTrace)
			left := 5
			r, err := Trace(context.Background(), b.Name, b.Trace, b.Options, Run{
				Engine: func(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (Engine, error) {
					e, err := Reference(cfg, open, observe)
					return &failing{e, &left, errors.New("no luck"), how}, err
				},
			})
			if err != nil || r.Divergence == nil || !strings.Contains(r.Divergence.Error(), want) {
				t.Errorf("%v, %v\nwant %s", r.Divergence, err, want)
			}
		})
	}
}

// TestTraceStops checks that a pair stops when its context ends, without a divergence.
func TestTraceStops(t *testing.T) {
	b := open(t, "six-stories")
	ctx, cancel := context.WithCancel(context.Background())
	rows := 0
	r, err := Trace(ctx, b.Name, b.Trace, b.Options, Run{Engine: Reference, Progress: onlyOne(func() {
		if rows++; rows == 500 {
			cancel()
		}
	})})
	if !errors.Is(err, context.Canceled) || r.Divergence != nil {
		t.Errorf("%v, %v", r.Divergence, err)
	}
}

// onlyOne returns a progress function that must be called by one goroutine at a time.
func onlyOne(f func()) func(int) {
	token := make(chan struct{}, 1)
	return func(int) {
		token <- struct{}{}
		f()
		<-token
	}
}

// TestTolerance changes an engine's metrics by an ulp at every decode step.
func TestTolerance(t *testing.T) {
	drift := func(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (Engine, error) {
		return Reference(cfg, open, func(e ref.Event) {
			if e.Stage == ref.StageDecode {
				m := &e.Cache.Data[0][lastSlot(&e, 0)]
				*m = math.Nextafter32(*m, float32(math.Inf(1)))
			}
			observe(e)
		})
	}
	b := open(t, testTrace)
	for _, c := range []struct {
		tolerance Tolerance
		agree     bool
	}{
		{Tolerance{}, false},
		{Tolerance{ULPs: 1}, true},
		{Tolerance{RTol: 1e-6}, true},
		{Tolerance{RTol: 1e-9}, false},
	} {
		r, err := Trace(context.Background(), b.Name, b.Trace, b.Options, Run{Engine: drift, Tolerance: c.tolerance})
		if err != nil {
			t.Fatal(err)
		}
		if agree := r.Divergence == nil; agree != c.agree || agree && r.Tolerated == 0 {
			t.Errorf("%+v: %d tolerated, %v", c.tolerance, r.Tolerated, r.Divergence)
		}
	}
}

func TestDistance(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, c := range []struct {
		a, b float32
		want uint64
	}{
		{1, 1, 0}, {1, math.Nextafter32(1, 2), 1}, {-1, math.Nextafter32(-1, 2), 1}, {0, math.SmallestNonzeroFloat32, 1},
		{float32(math.Copysign(0, -1)), 0, 1}, {-math.SmallestNonzeroFloat32, math.SmallestNonzeroFloat32, 3},
		{math.MaxFloat32, inf, 1}, {-inf, inf, 2*0x7f800000 + 1}, {1, float32(math.NaN()), 0},
	} {
		if got := Distance(c.a, c.b); got != c.want || Distance(c.b, c.a) != got {
			t.Errorf("from %g to %g: %d, want %d", c.a, c.b, got, c.want)
		}
	}
	if (Tolerance{ULPs: 1 << 40, RTol: 1}).Allows(1, float32(math.NaN())) {
		t.Error("NaN agrees with 1")
	}
}
