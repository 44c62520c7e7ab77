package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kvcompress/internal/testsize"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
)

// served has all results of a run.
type served struct {
	results       []Result
	work          Work
	clock         Ticks
	steps, tokens int
	usages        map[int]kv.Usage      // after each reported step
	compressions  map[int][]Compression // by step, if batches are reported
	calls         int
	err           string
}

func serveAll(t *testing.T, cfg *ref.Config, spread Spread, schedule Schedule, limits Limits, reqs []trace.Request, rates *Rates, skip bool) served {
	t.Helper()
	ledger, err := NewLedger(cfg, spread)
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, ledger, cfg, schedule, limits, reqs, rates, skip)
}

func serveOn(t *testing.T, ledger *Ledger, cfg *ref.Config, schedule Schedule, limits Limits, reqs []trace.Request, rates *Rates, skip bool) served {
	t.Helper()
	s, err := NewServer(ledger, cfg, schedule, limits, reqs, rates)
	if err != nil {
		t.Fatal(err)
	}
	s.Skip, s.Batch = skip, len(reqs)&1 == 0
	if rates[Steps]&1 == 0 { // in about half of the configurations products are not linear
		each := float64(rates[DecodeSeqs]%1000) + 1
		s.Products = func(prefilled, decoded int64) float64 {
			return math.Sqrt(float64(1e6*each) + float64(prefilled+decoded)*each)
		}
	}
	if rates[PrefillTokens]&3 == 0 {
		if err := s.CloseLoop(1 + int(rates[KVsRead]%7)); err != nil {
			t.Fatal(err)
		}
	}
	out := served{usages: map[int]kv.Usage{}, compressions: map[int][]Compression{}}
	var step Step
	for {
		more, err := s.Next(&step)
		if err != nil {
			out.err = err.Error()
		}
		if !more || err != nil {
			break
		}
		if s.Batch {
			out.compressions[step.Index] = slices.Clone(step.Compression)
		}
		out.calls++
		out.work.Add(&step.Work)
		out.tokens += step.Tokens
		out.usages[step.Index+step.Steps] = step.Usage
	}
	out.results, out.clock, out.steps = s.Results(), s.clock, s.steps
	return out
}

// randomServing returns a random small configuration and random requests.
func randomServing(seed uint64) (*ref.Config, Schedule, Limits, []trace.Request, *Rates) {
	rng := rand.New(rand.NewPCG(seed, 3))
	cfg := ref.Default()
	cfg.Shape = kv.Shape{Layers: 1 + rng.IntN(4), KVHeads: 1 + rng.IntN(4), Group: 1, HeadSize: 8}
	cfg.BlockSize = kv.BlockSizes()[rng.IntN(6)]
	heads := cfg.Shape.Layers * cfg.Shape.KVHeads
	cfg.Blocks = heads * (1 + rng.IntN(1+2000/cfg.BlockSize))
	cfg.Compression = ref.Compression{}
	var schedule Schedule
	if rng.IntN(3) > 0 {
		c := &cfg.Compression
		if rng.IntN(2) == 0 {
			c.Rate = float64(1+rng.IntN(9)) / 10
		} else {
			c.MaxCacheTokens = 1 + rng.IntN(200)
		}
		c.ProtectedWindow, c.Sinks = rng.IntN(40), rng.IntN(4)
		schedule.Interval = []int{0, 1, 7, 100}[rng.IntN(4)]
		schedule.NewTokenLimit = []int{0, 50, 1000}[rng.IntN(3)]
		schedule.MaxKVPerCompression = []int{0, 0, 2000}[rng.IntN(3)]
		schedule.Once = rng.IntN(4) == 0
		c.EvenLayers = rng.IntN(4) == 0
		c.Uniform = !c.EvenLayers && rng.IntN(4) == 0
	}
	limits := Limits{MaxNumSeqs: 1 + rng.IntN(20), MaxNumBatchedTokens: 50 + rng.IntN(400), Watermark: float64(rng.IntN(3)) / 50}
	var reqs []trace.Request
	at, gap := int64(0), 1+rng.Int64N(1e8)
	for i := range 1 + rng.IntN(60) {
		at += rng.Int64N(gap) * rng.Int64N(2)
		reqs = append(reqs, trace.Request{ID: fmt.Sprint(i), ArrivalNS: at, PromptTokens: 1 + rng.IntN(300), OutputTokens: 1 + rng.IntN(1+rng.IntN(400))})
	}
	var r Rates
	for f := range r {
		if rng.IntN(4) > 0 {
			r[f] = rng.Uint64N(1 << (10 + rng.IntN(30)))
		}
	}
	return &cfg, schedule, limits, reqs, &r
}

// SkippingWith checks that skipped steps change no result, with a spread, on both servers that
// compress, at every interval and with every limit.
func SkippingWith(t *testing.T, seeds int, spreadOf func(kv.Shape) Spread) {
	skipped, preempted, compressed := 0, 0, int64(0)
	for seed := range uint64(seeds) {
		cfg, schedule, limits, reqs, rates := randomServing(seed)
		compressOften(cfg, &schedule, seed)
		repeatPrompts(reqs, seed)
		if seed%3 == 2 {
			giveOwn(reqs, seed)
		}
		skipping(t, seed, cfg, spreadOf(cfg.Shape), schedule, limits, reqs, rates, &skipped, &preempted, &compressed)
	}
	for seed := range uint64(seeds / 2) {
		cfg, schedule, limits, v1, reqs, rates := randomV1(seed, true)
		compressOften(cfg, &schedule, seed)
		v1.Prefixes = false
		repeatPrompts(reqs, seed)
		plain := v1
		plain.plain = true
		want := serveV1(t, cfg, spreadOf(cfg.Shape), nil, schedule, limits, plain, reqs, rates, false)
		got := serveV1(t, cfg, spreadOf(cfg.Shape), nil, schedule, limits, v1, reqs, rates, true)
		if err := got.differs(&want); err != "" {
			t.Fatalf("vllm-v1, seed %d: %s", seed, err)
		}
		compressed += got.work[CompressedSeqs]
	}
	t.Logf("%d steps skipped, %d compressions, %d preemptions", skipped, compressed, preempted)
	if skipped == 0 || preempted == 0 || compressed == 0 {
		t.Error("the configurations test nothing")
	}
}

// compressOften gives a configuration random options of compression and an interval.
func compressOften(cfg *ref.Config, schedule *Schedule, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 12))
	if !cfg.Compresses() {
		cfg.Compression.MaxCacheTokens = 1 + rng.IntN(150)
		cfg.Compression.ProtectedWindow = rng.IntN(40)
	}
	schedule.Interval = []int{1, 1, 1, 2, 5, 16}[rng.IntN(6)]
	schedule.MaxKVPerCompression = []int{0, 0, 500, 2000, 6000}[rng.IntN(5)]
	schedule.Strict = rng.IntN(3) == 0
	schedule.UntilFree = rng.IntN(3) == 0
}

// repeatPrompts gives most requests of some seeds one of two prompt lengths, so that cached
// compressions of one sequence can be used for another.
func repeatPrompts(reqs []trace.Request, seed uint64) {
	if seed%4 == 0 {
		return
	}
	for i := range reqs {
		if i%7 > 0 {
			reqs[i].PromptTokens = reqs[i%2].PromptTokens
		}
	}
}

// giveOwn gives half of the requests compression options of their own.
func giveOwn(reqs []trace.Request, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 4))
	tokens, half := 1+rng.IntN(100), rng.IntN(2) == 0
	for i := range reqs {
		if half && rng.IntN(2) == 0 {
			continue
		}
		own := &trace.Compression{MaxCacheTokens: new(tokens + rng.IntN(3))}
		if rng.IntN(8) == 0 {
			own.MaxCacheTokens, own.Rate = nil, new(float64(1+rng.IntN(10))/10)
		}
		if rng.IntN(4) == 0 {
			own.ProtectedWindow = new(rng.IntN(40))
		}
		if rng.IntN(16) == 0 {
			own.CompressOnce = new(rng.IntN(2) == 0)
		}
		reqs[i].Compression = own
	}
}

// TestSkipping checks that skipped steps change no result.
func TestSkipping(t *testing.T) {
	skipped, preempted, compressed := 0, 0, int64(0)
	for seed := range testsize.Of[uint64](50, 250, 1500) {
		cfg, schedule, limits, reqs, rates := randomServing(seed)
		if seed%3 == 2 {
			giveOwn(reqs, seed)
		}
		skipping(t, seed, cfg, nil, schedule, limits, reqs, rates, &skipped, &preempted, &compressed)
	}
	t.Logf("%d steps skipped, %d compressions, %d preemptions", skipped, compressed, preempted)
	if skipped == 0 || preempted == 0 || compressed == 0 {
		t.Error("the configurations test nothing")
	}
}

// skipping serves requests with and without skipping, compares all results, and adds to the
// counts of skipped steps, preemptions and compressions.
func skipping(t *testing.T, seed uint64, cfg *ref.Config, spread Spread, schedule Schedule, limits Limits, reqs []trace.Request, rates *Rates, skipped, preempted *int, compressed *int64) {
	t.Helper()
	want := serveAll(t, cfg, spread, schedule, limits, reqs, rates, false)
	got := serveAll(t, cfg, spread, schedule, limits, reqs, rates, true)
	if !slices.Equal(got.results, want.results) {
		for i := range got.results {
			if got.results[i] != want.results[i] {
				t.Fatalf("seed %d: request %d:\ngot  %+v\nwant %+v", seed, i, got.results[i], want.results[i])
			}
		}
	}
	if got.work != want.work || got.clock != want.clock || got.steps != want.steps || got.tokens != want.tokens || got.err != want.err {
		t.Fatalf("seed %d: got work %v, clock %v, %d steps, %d tokens, error %q\nwant %v, %v, %d, %d, %q", seed,
			got.work, got.clock, got.steps, got.tokens, got.err, want.work, want.clock, want.steps, want.tokens, want.err)
	}
	for at, u := range got.usages {
		if u != want.usages[at] {
			t.Fatalf("seed %d: after step %d: %+v, want %+v", seed, at, u, want.usages[at])
		}
	}
	for at, c := range got.compressions {
		if !slices.Equal(c, want.compressions[at]) {
			t.Fatalf("seed %d: in step %d: %+v, want %+v", seed, at, c, want.compressions[at])
		}
	}
	*skipped += want.calls - got.calls
	*compressed += got.work[CompressedSeqs]
	for _, r := range got.results {
		*preempted += r.Preemptions
	}
}

// TestSkippingOfMethods is TestSkipping with every method that a ledger can count.
func TestSkippingOfMethods(t *testing.T) {
	for _, e := range ref.Methods() {
		if e.Name == ref.KVCompress || e.Planned {
			continue
		}
		t.Run(e.Name, func(t *testing.T) {
			skipped, preempted, compressed := 0, 0, int64(0)
			for seed := range testsize.Of[uint64](12, 30, 150) {
				cfg, schedule, limits, reqs, rates := randomServing(seed)
				if !cfg.Compression.Enabled() {
					schedule = DefaultSchedule()
				}
				randomMethod(cfg, e.Name, seed)
				skipping(t, seed, cfg, nil, schedule, limits, reqs, rates, &skipped, &preempted, &compressed)
			}
			t.Logf("%d steps skipped, %d compressions, %d preemptions", skipped, compressed, preempted)
			if skipped == 0 || preempted == 0 || compressed == 0 {
				t.Error("the configurations test nothing")
			}
		})
	}
}

// randomMethod gives a configuration another method, with small options at random.
func randomMethod(cfg *ref.Config, name string, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 9))
	cfg.Compression = ref.Compression{}
	cfg.UseMethod(name)
	cfg.Rope = &trace.Rope{Base: 10000, RotarySize: 8, Pairing: trace.Half}
	if rng.IntN(2) == 0 {
		cfg.Compression.Rate = float64(1+rng.IntN(9)) / 10
	} else {
		cfg.Compression.MaxCacheTokens = 1 + rng.IntN(150)
	}
	set := func(key, value string) {
		if cfg.Set == nil {
			cfg.Set = ref.Settings{}
		}
		cfg.Set.Set(key, value)
	}
	e, err := ref.FindMethod(name)
	if err != nil {
		panic(err)
	}
	if e.OwnPages { // every token is kept
		cfg.Compression = ref.Compression{}
		cfg.Shape.HeadSize, cfg.BlockSize = 32, max(8, cfg.BlockSize)
	}
	for _, o := range e.Options() {
		switch o.Key {
		case "from": // depends on the number of layers
			set("from", fmt.Sprint(min(0, cfg.Shape.Layers-2)))
		case "group":
			if e.OwnPages {
				set("group", "8")
			}
		case "residual":
			set("residual", []string{"8", "16", "64"}[rng.IntN(3)])
		case "full":
			full := "["
			for l := range cfg.Shape.Layers {
				row := make([]string, cfg.Shape.KVHeads)
				for h := range row {
					row[h] = fmt.Sprint(rng.IntN(2))
				}
				full += strings.Repeat(",", min(l, 1)) + "[" + strings.Join(row, ",") + "]"
			}
			set("full", full+"]")
		case "sinks":
			set("sinks", "2")
			cfg.Compression.MaxCacheTokens = max(min(1, cfg.Compression.MaxCacheTokens)*4, cfg.Compression.MaxCacheTokens)
		case "window":
			set("window", "3")
			cfg.Compression.MaxCacheTokens = max(min(1, cfg.Compression.MaxCacheTokens)*4, cfg.Compression.MaxCacheTokens)
		case "threshold":
			set("threshold", fmt.Sprint(rng.IntN(40)))
		case "decode":
			set("decode", []string{"static", "rolling"}[rng.IntN(2)])
		case "adaptive", "exact", "pyramid":
			set(o.Key, fmt.Sprint(rng.IntN(2) == 0))
		}
	}
}
