package validate

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"

	"kvcompress/dtype"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/ref/draw"
)

// maxWork bounds the multiplications of a random pipeline: what a second of the PTX
// machine can do many times over.
const maxWork = 8e6

// RandomPipeline makes a pipeline of a seed: a small one, whose shape, lengths and
// options lie at the edges at which kernels go wrong.
func RandomPipeline(seed uint64) Pipeline {
	r := rand.New(rand.NewPCG(seed, 0))
	for {
		p := randomPipeline(r)
		cfg := p.Config
		cfg.Shape = p.Shape
		if p.work() <= maxWork && cfg.Validate() == nil {
			return p
		}
	}
}

func randomPipeline(r *rand.Rand) Pipeline {
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
	cfg := ref.Default()
	cfg.BlockSize = pick(r, kv.BlockSizes()...)
	cfg.DType = pick(r, dtype.F32, dtype.F16, dtype.BF16, dtype.E4M3, dtype.E5M2)
	cfg.Metric, cfg.Compression = draw.KVCompress(r, p.Shape)
	p.Config = cfg
	p.fillSequences(r)
	return p
}

// fillSequences draws sequences, a cache that is often too small for them, and what is done.
func (p *Pipeline) fillSequences(r *rand.Rand) {
	cfg := &p.Config
	sequences := pick(r, 1, 1, 2, 3, 5)
	prompts := make([]int, sequences)
	needed := 0
	for i := range prompts {
		prompts[i] = randomLength(r, cfg.BlockSize)
		p.Inputs.Tokens = append(p.Inputs.Tokens, prompts[i]+r.IntN(12))
		needed += (p.Inputs.Tokens[i] + cfg.BlockSize - 1) / cfg.BlockSize
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
			if r.IntN(3) == 0 { // as after a preemption: with what was generated
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

// randomLength draws the length of a prompt, near an edge of a block, a warp or a
// partition of the context, or anywhere.
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

// pick returns one of the values.
func pick[T any](r *rand.Rand, values ...T) T { return values[r.IntN(len(values))] }

// work returns about how many multiplications the pipeline takes, if no operation is
// skipped.
func (p *Pipeline) work() float64 {
	row := float64(p.Shape.Layers * p.Shape.QueryHeads() * p.Shape.HeadSize)
	longest := 0
	for _, n := range p.Inputs.Tokens {
		longest = max(longest, n)
	}
	work := 0.0
	for _, op := range p.Operations {
		switch op.Kind {
		case OpPrefill:
			work += float64(op.Tokens) * float64(min(op.Tokens, p.Config.Window())) * row
		case OpDecode:
			work += 2 * float64(longest) * float64(len(op.Sequences)) * row
		}
	}
	return work
}

// RandomResult is what random pipelines have shown.
type RandomResult struct {
	First      uint64 `json:"seed"` // of the first pipeline; the next has the next
	Pipelines  int    `json:"pipelines"`
	Operations int    `json:"operations"`
	Tally
	Failed *Failed `json:"failed,omitempty"` // of those that failed, one
}

// Failed is a pipeline that failed, and the smallest like it that does.
type Failed struct {
	Seed       uint64      `json:"seed"`
	Pipeline   Pipeline    `json:"pipeline"` // shrunk
	Divergence *Divergence `json:"divergence,omitempty"`
	Error      string      `json:"error,omitempty"` // what it ended with instead
}

// String shows the shrunk pipeline and what is wrong with it.
func (f *Failed) String() string {
	what := f.Error + "\n"
	if f.Divergence != nil {
		what = f.Divergence.String()
	}
	return fmt.Sprintf("the pipeline of seed %d fails; shrunk, it is\n%s\n%s", f.Seed, f.Pipeline, what)
}

// Random runs n random pipelines, of the seeds from first on, side by side, and
// shrinks the first of them that fails. progress, which may be nil, is called as each
// is done.
func Random(ctx context.Context, first uint64, n int, run Run, progress func()) (RandomResult, error) {
	result := RandomResult{First: first}
	failed := -1 // the first that did
	next := 0
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				stop := i >= n || failed >= 0 || ctx.Err() != nil
				mu.Unlock()
				if stop {
					return
				}
				o, err := RandomPipeline(first+uint64(i)).Run(run.Engine, run.Tolerance)
				mu.Lock()
				result.Pipelines++
				result.Operations += o.Operations
				result.Add(o.Tally)
				if (err != nil || o.Divergence != nil) && (failed < 0 || i < failed) {
					failed = i
				}
				if progress != nil {
					progress()
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if failed >= 0 {
		result.Failed = shrunk(ctx, first+uint64(failed), run)
	}
	return result, ctx.Err()
}

// shrunk shrinks the pipeline of a seed, which fails.
func shrunk(ctx context.Context, seed uint64, run Run) *Failed {
	small := RandomPipeline(seed).Shrink(func(p Pipeline) bool {
		if ctx.Err() != nil {
			return false
		}
		o, err := p.Run(run.Engine, run.Tolerance)
		return err != nil || o.Divergence != nil
	})
	f := &Failed{Seed: seed, Pipeline: small}
	o, err := small.Run(run.Engine, run.Tolerance)
	if f.Divergence = o.Divergence; err != nil {
		f.Error = err.Error()
	}
	return f
}
