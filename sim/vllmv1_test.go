package sim

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kvcompress/internal/testsize"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
)

// randomV1 is a small random configuration of V1 with requests; with compressed, a method may evict.
func randomV1(seed uint64, compressed bool) (*ref.Config, Schedule, Limits, V1, []trace.Request, *Rates) {
	cfg, schedule, limits, reqs, rates := randomServing(seed)
	rng := rand.New(rand.NewPCG(seed, 5))
	if !compressed {
		cfg.Compression, schedule = ref.Compression{}, Schedule{}
	}
	heads := cfg.Shape.Layers * cfg.Shape.KVHeads
	cfg.Blocks = heads * (1 + rng.IntN(1+1200/cfg.BlockSize))
	limits.MaxNumBatchedTokens = 1 + rng.IntN(200)
	v1 := V1{
		WholePrompts: rng.IntN(8) == 0,
		ReserveFull:  rng.IntN(2) == 0,
		Prefixes:     !cfg.Compresses() && rng.IntN(4) > 0,
		PrefixTokens: cfg.BlockSize * (1 + rng.IntN(4)),
	}
	if cfg.BlockSize%4 == 0 && rng.IntN(4) == 0 {
		v1.PrefixTokens = cfg.BlockSize / 4
	}
	if rng.IntN(3) == 0 {
		v1.LongPrefill = 1 + rng.IntN(100)
	}
	if rng.IntN(3) == 0 {
		limits.MaxModelLen = 50 + rng.IntN(400)
	}
	if !v1.Prefixes && rng.IntN(3) == 0 {
		giveOwn(reqs, seed)
	}
	for i := range reqs {
		for range rng.IntN(1 + reqs[i].PromptTokens/v1.PrefixTokens) {
			reqs[i].PrefixHashes = append(reqs[i].PrefixHashes, rng.Uint64N(2))
		}
	}
	return cfg, schedule, limits, v1, reqs, rates
}

// servedV1 has all results of a run on V1.
type servedV1 struct {
	served
	kinds map[int]Kind
	peak  int
}

func serveV1(t *testing.T, cfg *ref.Config, spread Spread, layout *Layout, schedule Schedule, limits Limits, v1 V1, reqs []trace.Request, rates *Rates, skip bool) servedV1 {
	t.Helper()
	ledger, err := NewLedger(cfg, spread)
	if err != nil {
		t.Fatal(err)
	}
	if layout != nil {
		if err := ledger.Lay(*layout); err != nil {
			t.Fatal(err)
		}
	}
	s, err := NewServer(ledger, cfg, schedule, limits, reqs, rates)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.UseV1(v1); err != nil {
		t.Fatal(err)
	}
	s.Skip = skip
	pool := s.rules.(*vllmV1).pool
	out := servedV1{served: served{usages: map[int]kv.Usage{}}, kinds: map[int]Kind{}}
	var step Step
	for {
		more, err := s.Next(&step)
		if err != nil {
			out.err = err.Error()
		}
		if !more || err != nil {
			break
		}
		out.calls++
		out.work.Add(&step.Work)
		out.tokens += step.Tokens
		out.usages[step.Index+step.Steps] = step.Usage
		out.kinds[step.Index+step.Steps] = step.Kind
		out.peak = max(out.peak, step.Peak)
		if pool != nil && out.calls%8 == 0 {
			if err := s.rules.(*vllmV1).auditPool(); err != nil {
				t.Fatalf("step %d: %v", step.Index, err)
			}
		}
		if err := ledger.audit(); err != nil {
			t.Fatal(err)
		}
	}
	out.results, out.clock, out.steps = s.Results(), s.clock, s.steps
	if pool != nil && out.err == "" && pool.n != ledger.Blocks()/ledger.unit {
		t.Fatalf("%d blocks of %d are free in the end", pool.n, ledger.Blocks()/ledger.unit)
	}
	return out
}

// randomGroups is a random layout of groups of layers, some or all of which have windows.
func randomGroups(rng *rand.Rand) Layout {
	l := Layout{Group: 1 + rng.IntN(3), Window: 1 + rng.IntN(120), WindowsFirst: rng.IntN(2) == 0}
	l.Full, l.Windowed = l.Group*rng.IntN(3), l.Group*(1+rng.IntN(3))
	return l
}

// auditPool returns an error if the pool's counts of free and used blocks differ from a recount.
func (s *vllmV1) auditPool() error {
	free, used := 0, map[*block]int{}
	for b := s.pool.free.next; b != &s.pool.free; b = b.next {
		free += b.blocks
	}
	own, seqs := 0, slices.Clone(s.partial)
	for q := s.running.head; q != nil; q = q.next {
		seqs = append(seqs, q)
	}
	for _, q := range seqs {
		for _, h := range q.table.held {
			for _, b := range h.blocks {
				used[b]++
			}
			own += s.ledger.blocksOf(s.ledger.Tokens(q.id)) - h.first - len(h.blocks)
		}
	}
	for b, users := range used {
		if b.users != users || b.next != nil {
			return fmt.Errorf("a block is used by %d sequences and counts %d", users, b.users)
		}
	}
	if total := s.ledger.Blocks() / s.ledger.unit; free != s.pool.n || free+own+len(used) != total {
		return fmt.Errorf("%d blocks are free and count as %d, %d are used by one sequence and %d can be shared, of %d", free, s.pool.n, own, len(used), total)
	}
	return nil
}

// TestV1Together compares a server that schedules sequences together, only counts blocks that
// no other request can find, and skips steps, with one that does everything one by one.
func TestV1Together(t *testing.T) {
	seeds := testsize.Of[uint64](50, 150, 900)
	skipped, preempted, cached, compressed, refused := 0, 0, 0, int64(0), 0
	for seed := range seeds {
		cfg, schedule, limits, v1, reqs, rates := randomV1(seed, seed%3 == 0)
		var layout *Layout
		switch rng := rand.New(rand.NewPCG(seed, 6)); {
		case !cfg.Compresses() && rng.IntN(3) == 0:
			l := randomGroups(rng)
			layout, cfg.Blocks = &l, l.Group*(1+rng.IntN(1+3600/cfg.BlockSize))
			for i := range reqs {
				reqs[i].Compression = nil
			}
		case !cfg.Compresses() && !v1.Prefixes:
			own := slices.ContainsFunc(reqs, func(r trace.Request) bool { return r.Compression != nil })
			if l := randomLayout(rng); !own {
				layout = &l
			}
		}
		plain := v1
		plain.plain = true
		want := serveV1(t, cfg, nil, layout, schedule, limits, plain, reqs, rates, false)
		for _, skip := range []bool{false, true} {
			got := serveV1(t, cfg, nil, layout, schedule, limits, v1, reqs, rates, skip)
			if err := got.differs(&want); err != "" {
				t.Fatalf("seed %d, skipping %t, %+v, %+v, %d blocks of %d for %d heads: %s", seed, skip, v1, limits, cfg.Blocks, cfg.BlockSize, cfg.Shape.Heads(), err)
			}
			skipped += got.steps - got.calls
		}
		for _, r := range want.results {
			preempted += r.Preemptions
			cached += r.Cached
			if r.Error != "" {
				refused++
			}
		}
		compressed += want.work[CompressedSeqs]
	}
	t.Logf("%d steps skipped, %d preemptions, %d tokens cached, %d compressions, %d refused", skipped, preempted, cached, compressed, refused)
	if skipped == 0 || preempted == 0 || cached == 0 || compressed == 0 || refused == 0 {
		t.Error("the configurations test nothing")
	}
}

// differs describes the first difference from another run.
func (s *servedV1) differs(want *servedV1) string {
	for i := range s.results {
		if s.results[i] != want.results[i] {
			return fmt.Sprintf("request %d:\ngot  %+v\nwant %+v", i, s.results[i], want.results[i])
		}
	}
	if s.err != want.err || s.steps != want.steps || s.clock != want.clock || s.tokens != want.tokens || s.work != want.work {
		return fmt.Sprintf("got %q, %d steps, %v, %d tokens, %v\nwant %q, %d steps, %v, %d tokens, %v", s.err, s.steps, s.clock, s.tokens, s.work, want.err, want.steps, want.clock, want.tokens, want.work)
	}
	if s.peak != want.peak {
		return fmt.Sprintf("at most %d blocks in use, want %d", s.peak, want.peak)
	}
	for after, usage := range s.usages {
		if usage != want.usages[after] || s.kinds[after] != want.kinds[after] {
			return fmt.Sprintf("after step %d: %s, %+v, want %s, %+v", after, s.kinds[after], usage, want.kinds[after], want.usages[after])
		}
	}
	return ""
}

// TestV1Checked checks that V1 keeps to the rules of a server, with priorities and without.
func TestV1Checked(t *testing.T) {
	for seed := range testsize.Of[uint64](30, 150, 400) {
		cfg, schedule, limits, v1, reqs, rates := randomV1(seed, seed%3 == 0)
		if seed%4 == 1 {
			v1.Priority = func(id kv.SeqID) int { return int(id*7) % 3 }
		}
		heads := cfg.Shape.Layers * cfg.Shape.KVHeads
		p := &Plan{Config: *cfg, Schedule: schedule, Limits: limits, Rates: *rates, Scheduler: VLLMV1, V1: v1, Check: true}
		p.Config.Blocks += heads + int(seed)%heads // the null block, and a rest
		out, err := Project(t.Context(), p, sequenceOf(reqs), Watch{Quiet: seed%2 == 0, Step: func(*Step) {}})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if out.Finished+out.Refused != len(reqs) {
			t.Fatalf("seed %d: %d requests finish and %d are refused, of %d", seed, out.Finished, out.Refused, len(reqs))
		}
	}
}

// sequenceOf yields requests as Project reads them.
func sequenceOf(reqs []trace.Request) iter.Seq2[trace.Request, error] {
	return func(yield func(trace.Request, error) bool) {
		for _, r := range reqs {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// TestV1WrongUse checks that what V1 cannot do is refused.
func TestV1WrongUse(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Plan, []trace.Request)
		want   string
	}{
		{"nothing", func(*Plan, []trace.Request) {}, ""},
		{"no block beside the null block", func(p *Plan, _ []trace.Request) { p.Config.Blocks = 7 }, "blocks 0 is not from 1"},
		{"prefixes and a method", func(p *Plan, _ []trace.Request) { p.Config.Compression.MaxCacheTokens = 64 }, "prefix caching and compression exclude each other"},
		{"prefixes and options of a request", func(_ *Plan, r []trace.Request) { r[0].Compression = &trace.Compression{MaxCacheTokens: new(64)} }, "compression options of a request and prefix caching exclude each other"},
		{"windows and options of a request", func(p *Plan, r []trace.Request) {
			p.Layout, p.V1.Prefixes = &Layout{Windowed: 4, Window: 8, Group: 4}, false
			r[0].Compression = &trace.Compression{MaxCacheTokens: new(64)}
		}, "compression options of a request are defined for models whose layers all hold every token"},
		{"prefixes and states", func(p *Plan, _ []trace.Request) { p.Layout = &Layout{Full: 4, Fixed: 2} }, "prefix caching is not modelled for layers with states"},
		{"prefixes and windows", func(p *Plan, _ []trace.Request) { p.Layout = &Layout{Full: 4, Windowed: 8, Window: 20, Group: 4} }, ""},
		{"part of a block", func(p *Plan, _ []trace.Request) { p.V1.PrefixTokens = 24 }, "a prefix hash covers 24 tokens, and a block has 16"},
		{"a part of a block", func(p *Plan, _ []trace.Request) { p.V1.PrefixTokens = 8 }, ""},
		{"negative", func(p *Plan, _ []trace.Request) { p.V1.LongPrefill = -1 }, "long_prefill_token_threshold -1"},
		{"chunks of another server", func(p *Plan, _ []trace.Request) { p.ChunkedPrefill = true }, "has options of its own"},
		{"too long", func(p *Plan, _ []trace.Request) { p.Limits.MaxModelLen = -1 }, "max_model_len -1"},
	} {
		cfg := ref.Default()
		cfg.Shape = kv.Shape{Layers: 2, KVHeads: 2, Group: 1, HeadSize: 8}
		cfg.Blocks, cfg.Compression = 40, ref.Compression{}
		p := &Plan{Config: cfg, Limits: DefaultLimits(), Rates: *FixedStepTime(1), Scheduler: VLLMV1, V1: DefaultV1(16), Check: true}
		reqs := []trace.Request{{ID: "a", PromptTokens: 20, OutputTokens: 2, PrefixHashes: []uint64{1}}}
		c.change(p, reqs)
		_, err := Project(t.Context(), p, sequenceOf(reqs), Watch{})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// TestV1Defaults works out the limits that are left open (0), of a card with 256 sequences and 2,048 tokens.
func TestV1Defaults(t *testing.T) {
	own := Limits{MaxNumSeqs: 256, MaxNumBatchedTokens: 2048}
	for _, c := range []struct {
		seqs, batch, longest int
		whole                bool
		wantSeqs, wantBatch  int
	}{
		{0, 0, 8192, false, 256, 2048},
		{0, 0, 8192, true, 256, 8192},
		{0, 0, 1000, true, 256, 2048},
		{0, 0, 0, true, 256, 2048},        // no bound
		{0, 0, 7, false, 256, 256 * 7},    // no more than all sequences can have
		{2, 0, 1000, false, 2, 2000},      // likewise
		{-5, 0, 1000, false, -5, 2048},    // an error of its own
		{3, 0, 1000, true, 3, 2048},       // 3,000 is more
		{0, 0, 5000, true, 256, 5000},     // as many as one request
		{1, 0, 5000, true, 1, 5000},       // likewise
		{0, 4096, 8192, true, 256, 4096},  // given, though vLLM does not start
		{0, 100, 8192, false, 100, 100},   // each sequence of a batch has a token
		{512, 100, 8192, false, 512, 100}, // given
		{1 << 24, 0, 1 << 29, true, 1 << 24, 1 << 29},
	} {
		got := Limits{MaxNumSeqs: c.seqs, MaxNumBatchedTokens: c.batch, MaxModelLen: 9}.V1Defaults(own, c.longest, c.whole)
		if got != (Limits{MaxNumSeqs: c.wantSeqs, MaxNumBatchedTokens: c.wantBatch, MaxModelLen: 9}) {
			t.Errorf("%+v: %d sequences, %d tokens", c, got.MaxNumSeqs, got.MaxNumBatchedTokens)
		}
	}
}

// TestV1Limits compares the limits of cards with those that vLLM documents.
func TestV1Limits(t *testing.T) {
	for _, c := range []struct {
		card        string
		gib         int64
		usage       V1Usage
		seqs, batch int
	}{
		{"h100", 79, V1APIServer, 1024, 8192},
		{"h100", 79, V1LLMClass, 1024, 16384},
		{"NVIDIA A100-SXM4-80GB", 79, V1APIServer, 256, 2048},
		{"l4", 22, V1LLMClass, 256, 8192},
		{"just large enough", 70, V1APIServer, 1024, 8192},
	} {
		got := V1Limits(c.card, c.gib<<30, c.usage)
		if got != (Limits{MaxNumSeqs: c.seqs, MaxNumBatchedTokens: c.batch}) {
			t.Errorf("%s, %s: %+v", c.card, c.usage, got)
		}
	}
}
