package ref

import (
	"fmt"
	"math"
	"slices"

	"kvcompress/internal/ceil"
	"kvcompress/kv"
)

// PyramidKV (Cai et al., arXiv 2406.02069; Zefan-Cai/KVCache-Factory@c97f9d7): SnapKV with a budget for each
// layer, which decreases linearly from the first layer to the last.
type pyramidKV struct {
	cfg         *Config
	observation *Observation
	beta        int
	budgets     func(p *pyramid) []int // KVs that every head keeps, by layer
}

type pyramidKVOptions struct {
	Window  int    `json:"window" help:"number of the prompt's last tokens: they are kept, and their queries are observed"`
	Kernel  int    `json:"kernel" help:"width of the pooling over tokens, odd"`
	Pooling string `json:"pooling" help:"pooling over tokens: avg or max"`
	Group   string `json:"group" help:"reduction over the query heads of a KV head: sum, mean or max"`
	Order   string `json:"order" help:"before or after: reduce over the query heads before or after pooling"`
	Beta    int    `json:"beta" help:"the last layer keeps about 1/beta of the mean before the window"`
	Budgets string `json:"budgets" help:"published: integer steps, whose rounding adds up; exact: the sum is exact; kvpress: real steps, each budget rounded"`
}

func pyramidKVEntry() Entry {
	e := Entry{
		Name:        "pyramidkv",
		Paper:       "PyramidKV (Cai et al., arXiv 2406.02069)",
		Watches:     "the prompt's last window queries: P, summed, pooled, reduced over the group",
		Does:        "drops the KVs before the window that receive the least attention",
		From:        "the same number from each head of a layer, more from later layers",
		When:        "once after the prompt",
		Reads:       "all held KVs",
		Payload:     "2·D·b + 8 (score and position)",
		CacheTokens: "KVs that a head keeps of a prompt on average over the layers, the window included",
		Rate:        "fraction of a prompt's KVs to keep, window included, and at least the window; budgets=kvpress: possibly less than the window",
		HeldAgainst: "Zefan-Cai/KVCache-Factory@c97f9d7; NVIDIA/kvpress@8bb29b9 (budgets kvpress)",
		Defaults: func() any {
			return &pyramidKVOptions{Window: 8, Kernel: 5, Pooling: "avg", Group: "mean", Order: "before", Beta: 20, Budgets: "published"}
		},
	}
	e.New = func(c *Config) (Method, error) {
		opt := e.Defaults().(*pyramidKVOptions)
		if err := c.Set.Into(&e, opt); err != nil {
			return nil, err
		}
		m := pyramidKV{cfg: c, beta: opt.Beta}
		w := windowed{opt.Window, opt.Kernel, opt.Pooling, opt.Group, opt.Order}
		var err error
		if m.observation, err = w.observation(ScaleNone); err == nil {
			err = c.Compression.checkCapacity(opt.Window)
		}
		if opt.Beta < 1 || opt.Beta > math.MaxInt32 {
			err = fmt.Errorf("beta %d is not from 1 to %d", opt.Beta, math.MaxInt32)
		}
		switch opt.Budgets {
		case "published":
			m.budgets = (*pyramid).published
		case "exact":
			m.budgets = (*pyramid).exact
		case "kvpress":
			m.budgets = (*pyramid).kvpress
		default:
			err = fmt.Errorf("budgets %q is none of published, exact and kvpress", opt.Budgets)
		}
		if err != nil {
			return nil, e.wrap(err)
		}
		return m, nil
	}
	return e
}

func (m pyramidKV) Name() string          { return "pyramidkv" }
func (m pyramidKV) Columns() []kv.Column  { return scoreColumn() }
func (m pyramidKV) Observe() *Observation { return m.observation }

func (m pyramidKV) Rank(c Counts) Ranking {
	kept := m.budgets(newPyramid(m.cfg, m.beta, m.observation.Window, c.Prompt))
	w := min(m.observation.Window, slices.Min(kept)) // kvpress's budgets may all be less than the window
	return c.keepPast(w, func(head int) int { return kept[head/m.cfg.Shape.KVHeads] - w })
}

func (m pyramidKV) Asks(c Counts) int { return m.Rank(c).Asks() }

// Quiet returns math.MaxInt: the method compresses once, after the prompt.
func (m pyramidKV) Quiet(Counts) int { return math.MaxInt }
func (m pyramidKV) Plan(v View) Plan { return v.drop(m.Rank(v.Counts()), Decide) }
func (m pyramidKV) Spec(v View) Plan { return v.drop(m.Rank(v.Counts()), Walk) }

// pyramid is the input from which the layers' budgets are computed.
type pyramid struct {
	layers, beta, window int
	tokens               int     // of the prompt
	capacity             int     // KVs that a head keeps on average, its window included
	share                float64 // capacity before rounding
}

func newPyramid(c *Config, beta, window, tokens int) *pyramid {
	p := &pyramid{layers: c.Shape.Layers, beta: beta, window: window, tokens: tokens}
	p.capacity = c.Compression.capacity(tokens, window)
	p.share = float64(p.capacity)
	if opt := &c.Compression; opt.MaxCacheTokens == 0 && opt.Rate > 0 {
		p.share = float64(tokens) * opt.Rate
	}
	return p
}

// even returns the same budget for every layer.
func (p *pyramid) even(kept int) []int {
	budgets := make([]int, p.layers)
	for l := range budgets {
		budgets[l] = kept
	}
	return budgets
}

// ends returns how many KVs before the window the first and the last layer keep. slope is false, and both are
// the mean, if the prompt has less than twice the mean or there is one layer.
func (p *pyramid) ends() (first, last int, slope bool) {
	mean := p.capacity - p.window
	if p.layers == 1 || p.tokens < 2*mean {
		return mean, mean, false
	}
	first, last = p.line()
	return first, last, true
}

// line returns the ends of the slope. The last layer keeps ⌊mean/β⌋ and the first the rest of twice the mean.
// If the prompt has fewer KVs than that, the first layer keeps all, and the last the rest.
func (p *pyramid) line() (first, last int) {
	mean, past := p.capacity-p.window, p.tokens-p.window
	last = mean / p.beta
	first = 2*mean - last
	if first >= past {
		first = past
		last = 2*mean - first
	}
	return first, last
}

// published returns the published budgets. The step between layers is constant and rounded down, so all
// layers together keep up to L(L−1)/2 KVs per head more than L times the capacity.
func (p *pyramid) published() []int {
	if p.tokens <= p.capacity {
		return p.even(p.tokens)
	}
	first, last, slope := p.ends()
	if !slope {
		return p.even(p.window + first)
	}
	return p.steps(first, last)
}

// adaKV returns the budgets of Ada-SnapKV's code: they slope for a prompt of any length, and increase with
// the layer if the capacity exceeds the prompt. A budget may then exceed the prompt.
func (p *pyramid) adaKV() []int {
	if p.layers == 1 {
		return p.even(p.capacity)
	}
	return p.steps(p.line())
}

// steps returns budgets that change from first towards last by equal steps, rounded down. first and last
// exclude the window, the budgets include it.
func (p *pyramid) steps(first, last int) []int {
	step := (first - last) / (p.layers - 1)
	if last > first { // round down means away from 0 here
		step = -ceil.Div(last-first, p.layers-1)
	}
	budgets := p.even(p.window + first)
	for l := range budgets {
		budgets[l] -= l * step
	}
	return budgets
}

// exact returns the published budgets without the rounding error: the first l layers together keep what the
// straight line from first to last gives them, rounded down,
//
//	Σ_{i<l} past_i = ⌊l·first − (first−last)·l(l−1) / (2(L−1))⌋
//
// so that all layers together keep exactly L times the capacity.
func (p *pyramid) exact() []int {
	if p.tokens <= p.capacity {
		return p.even(p.tokens)
	}
	first, last, slope := p.ends()
	budgets := p.even(p.window + first)
	if !slope {
		return budgets
	}
	upTo := func(l int) int { return l*first - ceil.Div((first-last)*l*(l-1), 2*(p.layers-1)) }
	for l := range budgets {
		budgets[l] = p.window + upTo(l+1) - upTo(l)
	}
	return budgets
}

// kvpress returns the budgets of NVIDIA/kvpress@8bb29b9: real numbers, each rounded half to even. They
// include the window, although the slope is computed without it. If a budget is not between the window and
// the prompt, all layers keep the same number of KVs, the rounded share, which may be less than the window.
func (p *pyramid) kvpress() []int {
	n, w := float64(p.tokens), float64(p.window)
	mean := float64(w+p.share) - w // in binary64, where (w + share) − w may differ from share
	last := mean / float64(p.beta)
	first := 2*mean - last
	if first >= n-w {
		first = n - w
		last = 2*mean - first
	}
	if p.layers == 1 || !(n >= first && first >= last && last >= w) {
		return p.even(int(math.RoundToEven(p.share)))
	}
	budgets := p.even(0)
	for l := range budgets {
		budgets[l] = int(math.RoundToEven(first - float64(float64(l)*((first-last)/float64(p.layers-1)))))
	}
	return budgets
}
