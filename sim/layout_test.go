package sim

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"kvcompress/internal/ceil"
	"kvcompress/kv"
	"kvcompress/ref"
)

// plainLayout counts from the definition, sequence by sequence and step by step.
type plainLayout struct {
	layout Layout
	block  int
	tokens map[kv.SeqID]int
}

func (p *plainLayout) of(n int) (kvs, blocks int) {
	w := min(n, p.layout.Window)
	return p.layout.Full*n + p.layout.Windowed*w,
		p.layout.Full*ceil.Div(n, p.block) + p.layout.Windowed*ceil.Div(w, p.block) + p.layout.Fixed
}

func (p *plainLayout) held() (kvs, blocks int) {
	for _, n := range p.tokens {
		k, b := p.of(n)
		kvs, blocks = kvs+k, blocks+b
	}
	return kvs, blocks
}

// steps takes decode steps of all sequences, one by one.
func (p *plainLayout) steps(n int) (need int, kvs, blocks int64) {
	_, before := p.held()
	for range n {
		for id := range p.tokens {
			p.tokens[id]++
		}
		k, b := p.held()
		kvs, blocks = kvs+int64(k), blocks+int64(b-p.layout.Fixed*len(p.tokens))
	}
	_, after := p.held()
	return after - before, kvs, blocks
}

func randomLayout(rng *rand.Rand) Layout {
	l := Layout{Full: rng.IntN(3), Windowed: rng.IntN(3), Window: 1 + rng.IntN(120), Fixed: rng.IntN(3) * rng.IntN(5)}
	if l.Full+l.Windowed+l.Fixed == 0 {
		l.Windowed = 1
	}
	if l.Windowed == 0 {
		l.Window = 0
	}
	return l
}

// TestLayout compares ledgers with layouts with plain counts, after random operations.
func TestLayout(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 11))
		cfg := ref.Default()
		cfg.Compression, cfg.Shape = ref.Compression{}, kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 8}
		cfg.BlockSize = kv.BlockSizes()[rng.IntN(6)]
		cfg.Blocks = 1 << 20
		ledger, err := NewLedger(&cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		layout := randomLayout(rng)
		if err := ledger.Lay(layout); err != nil {
			t.Fatal(err)
		}
		plain := plainLayout{layout, cfg.BlockSize, map[kv.SeqID]int{}}
		for id := range kv.SeqID(40) {
			switch op := rng.IntN(5); {
			case op < 2:
				n := 1 + rng.IntN(150)
				if _, want := plain.of(n); ledger.PrefillNeed(n) != want {
					t.Fatalf("seed %d: a prompt of %d needs %d blocks, want %d", seed, n, ledger.PrefillNeed(n), want)
				}
				if op == 0 {
					err = ledger.Prefill(id, n)
				} else if _, err = ledger.Reserve(id, n, nil); err == nil {
					err = ledger.Admit(id)
				}
				plain.tokens[id] = n
			case op < 4:
				n := 1 + rng.IntN(90)
				need := ledger.NeedAll(n)
				kvs, blocks := ledger.ReadAll(n)
				err = ledger.DecodeAll(n)
				wantNeed, wantKVs, wantBlocks := plain.steps(n)
				if need != wantNeed || kvs != wantKVs || blocks != wantBlocks {
					t.Fatalf("seed %d, %+v, blocks of %d: %d steps need %d blocks and read %d KVs in %d, want %d, %d and %d", seed, layout, cfg.BlockSize, n, need, kvs, blocks, wantNeed, wantKVs, wantBlocks)
				}
			default:
				for one := range plain.tokens {
					err = errors.Join(ledger.Decode([]kv.SeqID{one}))
					plain.tokens[one]++
					if _, want := plain.of(plain.tokens[one]); ledger.Held(one) != want {
						t.Fatalf("seed %d: a sequence holds %d blocks, want %d", seed, ledger.Held(one), want)
					}
					if rng.IntN(2) == 0 {
						err = errors.Join(err, ledger.Release(one))
						delete(plain.tokens, one)
					}
					break
				}
			}
			kvs, blocks := plain.held()
			if u := ledger.Usage(); err != nil || u.KVs != kvs || u.Allocated != blocks || u.DenseKVs != kvs || u.DenseBlocks != blocks {
				t.Fatalf("seed %d, %+v: %v, usage %+v; want %d KVs in %d blocks", seed, layout, err, u, kvs, blocks)
			}
			if err := ledger.audit(); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
	}
}

// TestSkippingWithLayouts compares serving with and without skipped steps: with windows, states
// and experts, or with compression and experts.
func TestSkippingWithLayouts(t *testing.T) {
	rounds := uint64(400)
	if testing.Short() {
		rounds = 100
	}
	for seed := range rounds {
		cfg, _, limits, reqs, rates := randomServing(seed)
		cfg.Compression = ref.Compression{}
		schedule, lay := Schedule{}, seed%2 == 0
		if !lay { // at every step, which repeats
			cfg.Compression.MaxCacheTokens, schedule.Interval = 16, 1
			rates[ExpertsRead] = 1 << 22
		}
		rng := rand.New(rand.NewPCG(seed, 12))
		layout, experts := randomLayout(rng), Experts{8, 1 + rng.IntN(8)}
		serve := func(skip bool) served {
			ledger, err := NewLedger(cfg, nil)
			if err != nil {
				t.Fatal(err)
			}
			if lay {
				if err := ledger.Lay(layout); err != nil {
					t.Fatal(err)
				}
			}
			s, err := NewServer(ledger, cfg, schedule, limits, reqs, rates)
			if err != nil {
				t.Fatal(err)
			}
			s.Skip, s.experts = skip, experts
			out := served{}
			var step Step
			for {
				more, err := s.Next(&step)
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				if !more {
					break
				}
				out.work.Add(&step.Work)
			}
			out.clock, out.results = s.clock, s.Results()
			return out
		}
		quick, slow := serve(true), serve(false)
		if quick.work != slow.work || quick.clock != slow.clock {
			t.Fatalf("seed %d, %+v: skipping %v at %v, stepping %v at %v", seed, layout, quick.work, quick.clock, slow.work, slow.clock)
		}
		for i := range quick.results {
			if quick.results[i] != slow.results[i] {
				t.Fatalf("seed %d: request %d: %+v and %+v", seed, i, quick.results[i], slow.results[i])
			}
		}
	}
}

// TestExpertsRead compares the experts of a step with the formula.
func TestExpertsRead(t *testing.T) {
	for _, c := range []struct {
		e      Experts
		tokens int
		want   int64
	}{
		{Experts{}, 7, 0},
		{Experts{8, 2}, 0, 0},
		{Experts{8, 2}, 1, 2 * ExpertUnit},
		{Experts{8, 2}, 2, 3584}, // 8·(1 − 9/16) = 3.5
		{Experts{8, 8}, 1, 8 * ExpertUnit},
		{Experts{256, 8}, 1 << 30, 256 * ExpertUnit},
	} {
		if got := c.e.Read(c.tokens); got != c.want {
			t.Errorf("%+v, %d tokens: %d, want %d", c.e, c.tokens, got, c.want)
		}
	}
	for n := range 500 {
		e := Experts{128, 8}
		want := ExpertUnit * 128 * (1 - math.Pow(1-8.0/128, float64(n)))
		if got := e.Read(n); math.Abs(float64(got)-want) > 0.51 {
			t.Errorf("%d tokens: %d, want %v", n, got, want)
		}
	}
}

func TestWindowPairs(t *testing.T) {
	for window := range int64(12) {
		for from := range int64(20) {
			want := int64(0)
			for to := from; to < 30; to++ {
				if got := windowPairs(from, to, window); got != want {
					t.Fatalf("window %d, tokens %d to %d: %d pairs, want %d", window, from, to, got, want)
				}
				want += min(to+1, window) // of the token at to
			}
		}
	}
}

func TestLayoutErrors(t *testing.T) {
	cfg := ref.Default()
	cfg.Compression, cfg.Shape = ref.Compression{}, kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 8}
	cfg.Blocks = 10
	for _, c := range []struct {
		layout Layout
		want   string
	}{
		{Layout{}, "at least one"}, {Layout{Full: -1, Fixed: 2}, "negative"}, {Layout{Windowed: 1}, "window of 0"}, {Layout{Full: MaxLedgerHeads + 1}, "more than"},
		{Layout{Full: 4, Windowed: 6, Window: 8, Group: 4}, "multiples"}, {Layout{Full: 4, Group: -4}, "multiples"}, {Layout{Full: 8, Group: 4}, "one group"}, {Layout{Full: 4, Fixed: 1, Group: 4}, "no states"},
	} {
		ledger, err := NewLedger(&cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := ledger.Lay(c.layout); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want an error with %q", c.layout, err, c.want)
		}
	}
	ledger, _ := NewLedger(&cfg, nil)
	if err := ledger.Lay(Layout{Windowed: 1, Window: 8}); err != nil {
		t.Fatal(err)
	}
	if err := ledger.CachePrefixes(16); err == nil {
		t.Error("a ledger with windows accepts prefix caching")
	}
	cfg.Compression = ref.Compression{Rate: 0.5}
	compressing, _ := NewLedger(&cfg, nil)
	if err := compressing.Lay(Layout{Full: 1}); err == nil {
		t.Error("a ledger that compresses has a layout")
	}
}
