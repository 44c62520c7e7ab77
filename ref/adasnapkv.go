package ref

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"kvcompress/kv"
)

// Ada-SnapKV (Feng et al., arXiv 2407.11550; FFY0/AdaKV@efe4e2e): SnapKV with a budget for each layer, H·base
// where base = max_cache_tokens − window, which is divided among the layer's heads by their scores. If n_h of
// the layer's H·base largest scores are in head h, the head keeps its
//
//	b_h = round(n_h·(1−α) + ⌊base·α⌋)
//
// largest. α is the option floor: no head keeps less than about α·base.
type adaSnapKV struct {
	cfg         *Config
	observation *Observation
	opt         *adaSnapKVOptions
}

type adaSnapKVOptions struct {
	Window    int     `json:"window" help:"number of the prompt's last tokens: they are kept, and their queries are observed"`
	Kernel    int     `json:"kernel" help:"width of the pooling over tokens, odd"`
	Pooling   string  `json:"pooling" help:"pooling over tokens: avg or max"`
	Group     string  `json:"group" help:"reduction over the query heads of a KV head: sum, mean or max"`
	Order     string  `json:"order" help:"before or after: reduce over the query heads before or after pooling"`
	Floor     float64 `json:"floor" help:"fraction of its even share that every head keeps at least, 0 to 1"`
	Normalize bool    `json:"normalize" help:"to compare scores of different heads, multiply a head's by the sum of its largest over the sum of all"`
	Exact     bool    `json:"exact" help:"a layer's heads together keep exactly their budget; the published rounding loses some KVs"`
	Pyramid   bool    `json:"pyramid" help:"budgets decrease from layer to layer, as in pyramidkv, for prompts of any length"`
	Beta      int     `json:"beta" help:"with pyramid: the last layer keeps about 1/beta of the mean before the window"`
}

func adaSnapKVEntry() Entry {
	e := Entry{
		Name:        "ada-snapkv",
		Paper:       "Ada-KV (Feng et al., arXiv 2407.11550)",
		Watches:     "the prompt's last window queries: P, averaged, pooled, reduced over the group",
		Does:        "drops the KVs before the window that receive the least attention",
		From:        "a layer's heads together, with a floor for each",
		When:        "once after the prompt",
		Reads:       "all held KVs",
		Payload:     "2·D·b + 8 (score and position)",
		CacheTokens: "KVs that a head keeps of a prompt on average over a layer's heads, the window included",
		Rate:        "fraction of a prompt's KVs to keep, window included, and at least the window",
		HeldAgainst: "FFY0/AdaKV@efe4e2e",
		Defaults: func() any {
			return &adaSnapKVOptions{Window: 32, Kernel: 7, Pooling: "max", Group: "mean", Order: "before", Floor: 0.2, Beta: 20}
		},
	}
	e.New = func(c *Config) (Method, error) {
		opt := e.Defaults().(*adaSnapKVOptions)
		if err := c.Set.Into(&e, opt); err != nil {
			return nil, err
		}
		o, err := windowed{opt.Window, opt.Kernel, opt.Pooling, opt.Group, opt.Order}.observation(ScaleByWindow)
		switch tokens := c.Compression.MaxCacheTokens; {
		case err != nil:
		case tokens > 0 && tokens < opt.Window:
			err = fmt.Errorf("max_cache_tokens %d includes the window of %d tokens and is less: choose a smaller window", tokens, opt.Window)
		case !(opt.Floor >= 0 && opt.Floor <= 1):
			err = fmt.Errorf("floor %v is not from 0 to 1", opt.Floor)
		case opt.Beta < 1 || opt.Beta > math.MaxInt32:
			err = fmt.Errorf("beta %d is not from 1 to %d", opt.Beta, math.MaxInt32)
		}
		if err != nil {
			return nil, e.wrap(err)
		}
		return adaSnapKV{c, o, opt}, nil
	}
	return e
}

func (m adaSnapKV) Name() string          { return "ada-snapkv" }
func (m adaSnapKV) Columns() []kv.Column  { return scoreColumn() }
func (m adaSnapKV) Observe() *Observation { return m.observation }

// Rank has one quota for each layer, from which follows n_h of each head; Refine turns the n_h into quotas of
// the heads. As in the published code, rounding may evict KVs even if the prompt is exactly as long as the
// capacity. A layer with a budget larger than the prompt keeps everything.
func (m adaSnapKV) Rank(c Counts) Ranking {
	w, heads := m.opt.Window, m.cfg.Shape.KVHeads
	r := Ranking{Unit: 1, Window: w}
	p := newPyramid(m.cfg, m.opt.Beta, w, c.Prompt)
	if !c.Whole() || !m.cfg.Compression.Enabled() || c.Prompt <= w {
		return r
	}
	budgets := p.even(p.capacity)
	if m.opt.Pyramid {
		budgets = p.adaKV()
	}
	past := c.Prompt - w
	for l, budget := range budgets {
		r.Quotas = append(r.Quotas, Quota{First: l * heads, Heads: heads, Units: heads * max(0, c.Prompt-budget)})
	}
	if m.opt.Normalize {
		r.Share = make([]int, len(c.Heads))
		for i := range r.Share {
			r.Share[i] = min(past, budgets[i/heads]-w)
		}
	}
	r.Refine = func(lost []int) []Quota {
		quotas := make([]Quota, len(lost))
		for l, budget := range budgets {
			kept := slices.Repeat([]int{past}, heads)
			if budget <= c.Prompt {
				kept = m.keep(past, budget-w, lost[l*heads:][:heads])
			}
			for i, keep := range kept {
				quotas[l*heads+i] = Quota{First: l*heads + i, Heads: 1, Units: past - keep}
			}
		}
		return quotas
	}
	if r.Asks() == 0 {
		r.Quotas, r.Refine = r.Refine(make([]int, len(c.Heads))), nil
	}
	return r
}

// keep returns b_h for each head of a layer: of past KVs before the window, head h loses lost[h] by the
// layer's quota, so n_h = past − lost[h]. The arithmetic is binary32, rounded half to even, as in the
// published code.
//
// With exact, x_h = n_h·(1−α) + base·α is computed in binary64 and rounded down. The KVs that are then
// missing from H·base go one each to the heads with the largest remainders, ties to the lower head.
func (m adaSnapKV) keep(past, base int, lost []int) []int {
	alpha := m.opt.Floor
	kept := make([]int, len(lost))
	if !m.opt.Exact {
		floor := float32(math.Floor(float64(base) * alpha))
		for i, l := range lost {
			x := float32(float32(past-l)*float32(1-alpha)) + floor
			kept[i] = int(math.RoundToEven(float64(x)))
		}
		return kept
	}
	missing := base * len(lost)
	remainder := make([]float64, len(lost))
	order := make([]int, len(lost))
	for i, l := range lost {
		x := float64(float64(past-l)*(1-alpha)) + float64(float64(base)*alpha)
		kept[i] = min(int(x), past)
		remainder[i], order[i] = x-float64(kept[i]), i
		missing -= kept[i]
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(remainder[b], remainder[a]) })
	for _, i := range order {
		if missing > 0 && kept[i] < past {
			kept[i]++
			missing--
		}
	}
	return kept
}

func (m adaSnapKV) Asks(c Counts) int { return m.Rank(c).Asks() }

// Quiet returns math.MaxInt: the method compresses once, after the prompt.
func (m adaSnapKV) Quiet(Counts) int { return math.MaxInt }
func (m adaSnapKV) Plan(v View) Plan { return v.drop(m.Rank(v.Counts()), Decide) }
func (m adaSnapKV) Spec(v View) Plan { return v.drop(m.Rank(v.Counts()), Walk) }
