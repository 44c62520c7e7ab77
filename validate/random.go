package validate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"

	"kvcompress/dtype"
	"kvcompress/internal/ceil"
	"kvcompress/internal/work"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/ref/draw"
	"kvcompress/trace"
)

// maxWork bounds the number of multiplications of a random pipeline, so that a second of the PTX machine runs
// many pipelines.
const maxWork = 8e6

// mergeWork is a warp's fixed cost of merging two vectors, in multiplications. It keeps every launch of a
// pipeline within the limit of instructions.
const mergeWork = 600

// RandomPipeline makes a pipeline of KV-Compress from a seed: a small one, with a shape, lengths and options
// at which kernels are likely to fail.
func RandomPipeline(seed uint64) Pipeline {
	r := rand.New(rand.NewPCG(seed, 0))
	u := randomUnusual(seed, 0)
	longest := u.longest()
	for tries := 0; ; tries++ {
		p := randomPipeline(r, u.after(tries))
		if longest && tries < maxLarge {
			p.Config.Metric.Window = min(p.Config.Metric.Window, 2)
		}
		cfg := p.config()
		if p.work() <= maxWork && cfg.Validate() == nil {
			more := rand.New(rand.NewPCG(seed, 1<<63)) // a separate generator, so that the other draws of a seed do not change
			p.Own = randomOwn(more, len(p.Inputs.Tokens))
			p.Config.Metric.PrefillOnly = more.IntN(8) == 0
			p.Config.KVScale = draw.Scale(more, cfg.DType, p.Shape.Layers)
			p.harden(seed, 0)
			return p
		}
	}
}

// RandomPipelineOf makes a pipeline of one of the methods from a seed. If KV-Compress is among several
// methods, a third of the seeds use it, with the pipeline of [RandomPipeline].
func RandomPipelineOf(seed uint64, methods []*draw.Method) (Pipeline, error) {
	return randomPipelineOf(seed, 0, methods)
}

// randomPipelineOf is RandomPipelineOf after the given number of refused pipelines of the seed.
func randomPipelineOf(seed, refused uint64, methods []*draw.Method) (Pipeline, error) {
	r := rand.New(rand.NewPCG(seed, 1+refused))
	isKVCompress := func(m *draw.Method) bool { return m.Name == ref.KVCompress }
	if slices.ContainsFunc(methods, isKVCompress) && (len(methods) == 1 || r.IntN(3) == 0) {
		return RandomPipeline(seed), nil
	}
	others := slices.DeleteFunc(slices.Clone(methods), isKVCompress)
	// Methods with pages of their own get every eighth of the other seeds. They are drawn apart, so that
	// adding them did not change the pipelines of the remaining seeds.
	own := slices.DeleteFunc(slices.Clone(others), func(m *draw.Method) bool { return !m.OwnPages })
	others = slices.DeleteFunc(others, func(m *draw.Method) bool { return m.OwnPages })
	if len(others) == 0 || len(own) > 0 && seed%8 == 7 && refused%2 == 0 {
		others = own
	}
	m := others[r.IntN(len(others))]
	u := randomUnusual(seed, refused)
	if u.longest() {
		u.shape, u.prompts = nil, nil
	}
	for tries := 0; ; tries++ {
		p := randomPipeline(r, u.after(tries))
		if r.IntN(2) == 0 {
			p.Rope = &trace.Rope{
				Base:       pick(r, 10000, 500000.0, 2),
				RotarySize: p.Shape.HeadSize / pick(r, 1, 1, 2, 4),
				Pairing:    pick(r, trace.Half, trace.Interleaved),
			}
		}
		model := p.config()
		if m.OwnPages && !draw.HasPages(&model.Config) {
			continue
		}
		cfg, err := m.Config(r, model)
		if err != nil {
			return p, err
		}
		cfg.Blocks *= cfg.Shape.Heads() / model.Shape.Heads()
		p.Shape, p.Config = cfg.Shape, cfg
		p.Config.Shape = kv.Shape{} // shape belongs to the pipeline
		p.Config.Rope = nil
		if p.work() <= maxWork {
			more := rand.New(rand.NewPCG(seed, 1<<63+refused))
			p.Own = p.budgets(more)
			p.Config.KVScale = draw.Scale(more, p.Config.DType, p.Shape.Layers)
			p.harden(seed, refused)
			return p, nil
		}
	}
}

func randomPipeline(r *rand.Rand, u unusual) Pipeline {
	p := Pipeline{
		Shape: kv.Shape{
			Layers:   pick(r, 1, 1, 2, 3),
			KVHeads:  pick(r, 1, 1, 2, 3, 4, 8),
			Group:    pick(r, 1, 12, 2, 3, 4, 5, 7, 8),
			HeadSize: pick(r, 8, 8, 16, 24, 32, 40, 64, 80, 96, 128, 256),
		},
		Inputs: Inputs{
			Seed:     r.Uint64(),
			Integers: r.IntN(3) == 0,
			Scale:    pick[float32](r, 1, 1, 1, 4, 0x1p-10, 0x1p-40, 1000, 0x1p17),
		},
	}
	if u.shape != nil {
		p.Shape = *u.shape
	}
	p.Inputs.Edges, p.Inputs.Spread = u.edges, u.spread
	p.Inputs.Integers = p.Inputs.Integers && !u.edges && !u.spread && u.scale == 0
	p.Inputs.Scale = cmp.Or(u.scale, p.Inputs.Scale)
	cfg := ref.Default()
	cfg.BlockSize = cmp.Or(u.blockSize, pick(r, kv.BlockSizes()...))
	cfg.DType = pick(r, dtype.F32, dtype.F16, dtype.BF16, dtype.E4M3, dtype.E5M2)
	cfg.Metric, cfg.Compression = draw.KVCompress(r, p.Shape)
	p.Config = cfg
	p.fillSequences(r, u.prompts)
	if u.prompts != nil { // so that a large prompt is held and compressed
		p.Config.Blocks *= 2
		p.Operations = slices.Insert(p.Operations, 1, Operation{OpCompress, []kv.SeqID{0}, 0})
	}
	return p
}

// fillSequences draws sequences, with the given prompts if any, a cache that is often too small for them, and
// operations.
func (p *Pipeline) fillSequences(r *rand.Rand, large []int) {
	cfg := &p.Config
	prompts := slices.Clone(large)
	if large == nil {
		prompts = make([]int, pick(r, 1, 1, 2, 3, 5))
	}
	sequences, needed := len(prompts), 0
	for i := range prompts {
		if large == nil {
			prompts[i] = randomLength(r, cfg.BlockSize)
		}
		p.Inputs.Tokens = append(p.Inputs.Tokens, prompts[i]+r.IntN(12))
		needed += ceil.Div(p.Inputs.Tokens[i], cfg.BlockSize)
	}
	needed *= p.Shape.Layers * p.Shape.KVHeads
	cfg.Blocks = max(1, int(float64(needed)*pick(r, 0.5, 0.8, 1, 1.5)))

	for i, n := range prompts {
		if i == 0 || r.IntN(2) == 0 {
			p.Operations = append(p.Operations, Operation{OpPrefill, []kv.SeqID{kv.SeqID(i)}, n})
		}
	}
	for range 4 + r.IntN(16) {
		id := kv.SeqID(r.IntN(sequences))
		switch r.IntN(10) {
		case 0, 1:
			n := prompts[id]
			if r.IntN(3) == 0 { // as after a preemption: with the generated tokens
				n = p.Inputs.Tokens[id]
			}
			p.Operations = append(p.Operations, Operation{OpPrefill, []kv.SeqID{id}, n})
		case 2, 3, 4:
			p.Operations = append(p.Operations, Operation{OpCompress, []kv.SeqID{id}, 0})
		case 5:
			p.Operations = append(p.Operations, Operation{OpRelease, []kv.SeqID{id}, 0})
		default:
			var batch []kv.SeqID
			for _, i := range r.Perm(sequences) {
				batch = append(batch, kv.SeqID(i))
			}
			p.Operations = append(p.Operations, Operation{OpDecode, batch, 0})
		}
	}
}

// randomLength draws the length of a prompt, often near a multiple of a block, a warp or a partition.
func randomLength(r *rand.Rand, blockSize int) int {
	switch r.IntN(4) {
	case 0:
		return max(1, blockSize*pick(r, 1, 1, 2, 3)+r.IntN(3)-1)
	case 1:
		return pick(r, 1, 2, 31, 32, 33, 64, 65)
	case 2:
		return pick(r, 127, 128, 129, 255, 256, 257)
	default:
		return 1 + r.IntN(100)
	}
}

// randomOwn gives some of the sequences their own options, in a quarter of all cases.
func randomOwn(r *rand.Rand, sequences int) []Own {
	if r.IntN(4) > 0 {
		return nil
	}
	var all []Own
	for id := range sequences {
		if r.IntN(3) == 0 {
			continue
		}
		own := trace.Compression{Buffer: new(pick(r, 0, 1, 5, 40))}
		switch r.IntN(3) {
		case 0:
			own.MaxCacheTokens = new(1 + r.IntN(64))
		case 1:
			own.Rate = new(pick(r, 0.01, 0.25, 0.5, 0.9, 1))
		}
		if r.IntN(2) == 0 {
			own.ProtectedWindow = new(pick(r, 0, 1, 5, 32))
		}
		all = append(all, Own{kv.SeqID(id), own})
	}
	return all
}

// budgets gives some of the sequences their own budgets, if the method accepts them, in a quarter of all
// cases.
func (p *Pipeline) budgets(r *rand.Rand) []Own {
	cfg := p.config()
	run, err := cfg.NewMethod()
	if err != nil || r.IntN(4) > 0 {
		return nil
	}
	var all []Own
	for id := range p.Inputs.Tokens {
		own := trace.Compression{MaxCacheTokens: new(1 + r.IntN(100))}
		if r.IntN(2) == 0 {
			own.MaxCacheTokens, own.Rate = nil, new(pick(r, 0.25, 0.5, 0.9, 1))
		}
		if _, err := cfg.OwnMethod(&own, run); err == nil && r.IntN(3) > 0 {
			all = append(all, Own{kv.SeqID(id), own})
		}
	}
	return all
}

// pick returns one of the values.
func pick[T any](r *rand.Rand, values ...T) T { return values[r.IntN(len(values))] }

// work estimates the number of multiplications of the pipeline if no operation is skipped.
func (p *Pipeline) work() float64 {
	row := float64(p.Shape.Layers * p.Shape.QueryHeads() * p.Shape.HeadSize)
	cfg := p.config()
	window, longest := cfg.Window(), 0
	for _, n := range p.Inputs.Tokens {
		longest = max(longest, n)
	}
	work, vectors := 0.0, 0.0 // vectors merged per token
	if m, err := cfg.NewMethod(); err == nil {
		if m, ok := m.(ref.Merger); ok {
			vectors = float64(2 * m.Merging().Pairs * p.Shape.KVHeads)
		}
	}
	merge := vectors * float64(mergeWork+6*p.Shape.HeadSize)
	for _, op := range p.Operations {
		switch op.Kind {
		case OpPrefill:
			work += float64(op.Tokens) * (float64(min(op.Tokens, window))*row + merge)
		case OpDecode:
			work += float64(len(op.Sequences)) * (2*float64(longest)*row + merge)
		}
	}
	return work
}

// RandomResult is the result of a run of random pipelines.
type RandomResult struct {
	First      uint64 `json:"seed"` // seed of the first pipeline; seeds are consecutive
	Pipelines  int    `json:"pipelines"`
	Edges      int    `json:"edge_pipelines"` // edge pipelines run in addition
	Operations int    `json:"operations"`
	Tally
	Methods []MethodPipelines `json:"methods"`
	Failed  *Failed           `json:"failed,omitempty"` // one of the failed pipelines
}

// MethodPipelines counts the pipelines of a method.
type MethodPipelines struct {
	Method    string `json:"method"`
	Pipelines int    `json:"pipelines"`
	Refused   int    `json:"refused"`       // further pipelines, refused by the engine under test
	Why       string `json:"why,omitempty"` // reason of the last refusal
}

// Failed is a pipeline that failed, shrunk while it still fails.
type Failed struct {
	Seed       uint64      `json:"seed"`
	Pipeline   Pipeline    `json:"pipeline"` // shrunk
	Divergence *Divergence `json:"divergence,omitempty"`
	Error      string      `json:"error,omitempty"` // the error, if it did not end with a divergence
}

// String shows the shrunk pipeline and its failure.
func (f *Failed) String() string {
	what := f.Error + "\n"
	if f.Divergence != nil {
		what = f.Divergence.String()
	}
	return fmt.Sprintf("the pipeline of seed %d fails; shrunk, it is\n%s\n%s", f.Seed, f.Pipeline, what)
}

// maxRefused bounds the pipelines of one seed that the engine under test may refuse.
const maxRefused = 1000

// runSeed runs the first pipeline of a seed that the engine under test does not refuse with a
// *ref.UnsupportedError, and returns it, or nil if there is none. It also returns the refused pipelines,
// counted by method.
func runSeed(ctx context.Context, seed uint64, methods []*draw.Method, run Run) (_ *Pipeline, _ Outcome, refused []MethodPipelines, _ error) {
	var unsupported *ref.UnsupportedError
	for i := range uint64(maxRefused) {
		p, err := randomPipelineOf(seed, i, methods)
		if err != nil {
			return nil, Outcome{}, refused, err
		}
		o, err := p.Run(ctx, run.Engine, run.Tolerance)
		if !errors.As(err, &unsupported) {
			return &p, o, refused, err
		}
		refused = append(refused, MethodPipelines{Method: p.method(), Refused: 1, Why: unsupported.Error()})
	}
	return nil, Outcome{}, refused, fmt.Errorf("the engine refuses %d pipelines in a row: %w", maxRefused, unsupported)
}

// runEdges runs the edge pipelines of a seed that the engine under test does not refuse with a
// *ref.UnsupportedError, up to the first that fails. The outcome is their sum.
func runEdges(ctx context.Context, seed uint64, methods []*draw.Method, run Run) (edges []*Pipeline, all Outcome, _ error) {
	pipelines, err := EdgePipelines(seed, methods)
	if err != nil {
		return nil, all, err
	}
	for i := range pipelines {
		o, err := pipelines[i].Run(ctx, run.Engine, run.Tolerance)
		if unsupported := (*ref.UnsupportedError)(nil); errors.As(err, &unsupported) {
			continue
		}
		edges = append(edges, &pipelines[i])
		all.Operations += o.Operations
		all.Tally.Add(o.Tally)
		if all.Divergence = o.Divergence; err != nil || o.Divergence != nil {
			return edges, all, err
		}
	}
	return edges, all, nil
}

// method returns the name of the pipeline's method.
func (p *Pipeline) method() string { return cmp.Or(p.Config.Method, ref.KVCompress) }

// count adds to the counts of a method.
func (r *RandomResult) count(n MethodPipelines) {
	i := slices.IndexFunc(r.Methods, func(m MethodPipelines) bool { return m.Method == n.Method })
	m := &r.Methods[i]
	m.Pipelines += n.Pipelines
	m.Refused += n.Refused
	m.Why = cmp.Or(n.Why, m.Why)
}

// Random runs n random pipelines of the methods in parallel, with seeds from first on, and the edge pipelines
// of each seed. It shrinks the first that fails. If the engine under test refuses a pipeline with a
// *ref.UnsupportedError, another is drawn for the seed. progress, which may be nil, is called after each
// seed. The error is that of the context, or that a seed has no pipeline.
func Random(ctx context.Context, first uint64, n int, methods []*draw.Method, run Run, progress func()) (RandomResult, error) {
	result := RandomResult{First: first}
	for _, m := range methods {
		result.Methods = append(result.Methods, MethodPipelines{Method: m.Name})
	}
	var failed *Pipeline // with the lowest seed
	var how ended
	var none error // why a seed has no pipeline
	number, next := 0, 0
	var mu sync.Mutex
	var wg work.Group
	for range min(n, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				stop := i >= n || failed != nil || none != nil || ctx.Err() != nil
				mu.Unlock()
				if stop {
					return
				}
				p, o, refused, err := runSeed(ctx, first+uint64(i), methods, run)
				if ctx.Err() != nil && o.Divergence == nil {
					return // the error may be the context's
				}
				mu.Lock()
				for _, r := range refused {
					result.count(r)
				}
				if p == nil {
					none = err
				} else {
					result.count(MethodPipelines{Method: p.method(), Pipelines: 1})
					result.Pipelines++
					result.Operations += o.Operations
					result.Add(o.Tally)
					if (err != nil || o.Divergence != nil) && (failed == nil || i < number) {
						failed, number, how = p, i, ended{o, err}
					}
				}
				mu.Unlock()
				edges, o, err := runEdges(ctx, first+uint64(i), methods, run)
				if ctx.Err() != nil && o.Divergence == nil {
					return
				}
				mu.Lock()
				result.Edges += len(edges)
				result.Operations += o.Operations
				result.Add(o.Tally)
				if len(edges) == 0 {
					none = cmp.Or(none, err)
				} else if (err != nil || o.Divergence != nil) && (failed == nil || i < number) {
					failed, number, how = edges[len(edges)-1], i, ended{o, err}
				}
				if progress != nil {
					progress()
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if failed != nil {
		result.Failed = shrunk(ctx, first+uint64(number), *failed, how, run)
	}
	return result, errors.Join(none, ctx.Err())
}

// shrinkTime bounds how long a pipeline is shrunk.
const shrinkTime = 15 * time.Second

// ended is the result of running a pipeline.
type ended struct {
	outcome Outcome
	err     error
}

// shrunk shrinks the failing pipeline of a seed within shrinkTime. how is its failure; the shrunk pipeline's
// is reported.
func shrunk(ctx context.Context, seed uint64, p Pipeline, how ended, run Run) *Failed {
	ctx, cancel := context.WithTimeout(ctx, shrinkTime)
	defer cancel()
	small := p.Shrink(func(p Pipeline) bool {
		if ctx.Err() != nil {
			return false
		}
		o, err := p.Run(ctx, run.Engine, run.Tolerance)
		if ctx.Err() != nil || err == nil && o.Divergence == nil {
			return false
		}
		how = ended{o, err}
		return true
	})
	f := &Failed{Seed: seed, Pipeline: small, Divergence: how.outcome.Divergence}
	if how.err != nil {
		f.Error = how.err.Error()
	}
	return f
}
