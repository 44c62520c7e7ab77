package validate

import (
	"fmt"
	"math"

	"kvcompress/dtype"
	"kvcompress/kv"
	"kvcompress/ref"
)

// attentionCase is a recorded case in which heads of group 1 attend: a prompt, then one token per step. The
// reference engine runs it.
type attentionCase struct {
	heads, prompt, steps, headSize int
	q, k, v                        []float32 // [prompt+steps, heads, headSize]; v may be nil: values of 0
}

// Bounds on an attentionCase.
const (
	maxCaseTokens = 1 << 14
	maxCaseKVs    = 1 << 20 // summed over heads
)

func (c *attentionCase) check() error {
	for _, f := range []struct {
		name              string
		value, least, top int
	}{
		{"heads", c.heads, 1, maxCaseHeads}, {"prefill", c.prompt, 1, maxCaseTokens},
		{"steps", c.steps, 0, maxCaseTokens}, {"the head size", c.headSize, 1, kv.MaxHeadSize},
	} {
		if f.value < f.least || f.value > f.top {
			return fmt.Errorf("%s is %d, want %d to %d", f.name, f.value, f.least, f.top)
		}
	}
	size, _ := padded(c.headSize)
	if n := c.heads * c.tokens() * size; n > maxCaseElements {
		return fmt.Errorf("%d elements, want at most %d", n, maxCaseElements)
	}
	return nil
}

func (c *attentionCase) tokens() int { return c.prompt + c.steps }

// padded returns the next head size that engines support, and a factor for the queries that keeps q·k/√D the
// same when vectors are padded with 0. A size four times as large doubles the queries, which is exact; for a
// larger ratio the factor is rounded.
func padded(headSize int) (size int, factor float32) {
	size, factor = headSize, 1
	for size%8 != 0 {
		size, factor = 4*size, 2*factor
	}
	if size > kv.MaxHeadSize {
		size = (headSize + 7) / 8 * 8
		factor = float32(math.Sqrt(float64(size) / float64(headSize)))
	}
	return size, factor
}

// pad returns rows of dim elements as rows of size elements, each element multiplied by factor.
func pad(x []float32, dim, size int, factor float32) []float32 {
	rows := make([]float32, len(x)/dim*size)
	for i, v := range x {
		rows[i/dim*size+i%dim] = float32(v * factor)
	}
	return rows
}

// rows returns tokens first to last−1 of x, padded and multiplied by factor.
func (c *attentionCase) rows(x []float32, first, last int, factor float32) []float32 {
	size, _ := padded(c.headSize)
	if x == nil {
		return make([]float32, (last-first)*c.heads*size)
	}
	row := c.heads * c.headSize
	return pad(x[first*row:last*row], c.headSize, size, factor)
}

// run runs the case under a method with its options; it compresses after the prompt and after every step.
// each is called after each compression, with the step's output [heads, headSize], or nil for the prompt.
func (c *attentionCase) run(method string, set ref.Settings, capacity int, each func(e *ref.Engine, out []float32) error) error {
	size, factor := padded(c.headSize)
	cfg := ref.Default()
	cfg.Shape = kv.Shape{Layers: 1, KVHeads: c.heads, Group: 1, HeadSize: size}
	cfg.DType, cfg.BlockSize = dtype.F32, 16
	cfg.Blocks = 3 * c.heads * (c.tokens()/cfg.BlockSize + 1) // quantizing takes pages before it frees any
	cfg.UseMethod(method)
	cfg.Set = set
	cfg.Compression = ref.Compression{MaxCacheTokens: capacity}
	e, err := ref.NewEngine(cfg, nil, nil)
	if err != nil {
		return err
	}
	prompt, err := e.BeginPrompt(0, c.prompt)
	if err != nil {
		return err
	}
	first := c.prompt - min(c.prompt, cfg.Window())
	if err := prompt.Layer(c.rows(c.q, first, c.prompt, factor), c.rows(c.k, 0, c.prompt, 1), c.rows(c.v, 0, c.prompt, 1)); err != nil {
		return err
	}
	prompt.End()
	var output []float32
	for t := c.prompt; ; t++ {
		if _, err := e.Compress(0); err != nil {
			return err
		}
		if err := each(e, output); err != nil || t == c.tokens() {
			return err
		}
		tokens, err := e.BeginTokens([]kv.SeqID{0})
		if err != nil {
			return err
		}
		out := make([]float32, c.heads*size)
		if err := tokens.Layer(c.rows(c.q, t, t+1, factor), c.rows(c.k, t, t+1, 1), c.rows(c.v, t, t+1, 1), out); err != nil {
			return err
		}
		tokens.End()
		output = output[:0]
		for h := range c.heads {
			output = append(output, out[h*size:][:c.headSize]...)
		}
	}
}

// byToken transposes x from [heads, tokens, headSize] to [tokens, heads, headSize].
func byToken(x []float32, heads, tokens, headSize int) []float32 {
	out := make([]float32, 0, len(x))
	for t := range tokens {
		for h := range heads {
			out = append(out, x[(h*tokens+t)*headSize:][:headSize]...)
		}
	}
	return out
}
