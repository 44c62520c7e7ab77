package ref

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"kvcompress/kv"
)

// Ada-SnapKV (Feng et al., arXiv 2407.11550; FFY0/AdaKV@efe4e2e): SnapKV whose budget of a
// layer, H times base = max_cache_tokens − window, is spread over the layer's heads. Head h
// has n_h of the layer's H·base largest scores, and keeps
//
//	b_h = round(n_h·(1−α) + ⌊base·α⌋)
//
// of its own largest, so that none keeps less than about the part α, the floor, of base.
type adaSnapKV struct {
	cfg     *Config
	watched *Observation
	opt     *adaSnapKVOptions
}

type adaSnapKVOptions struct {
	Window    int     `json:"window" help:"the prompt's last tokens, which are kept and whose queries are watched"`
	Kernel    int     `json:"kernel" help:"width of the pooling over tokens, odd"`
	Pooling   string  `json:"pooling" help:"avg or max"`
	Group     string  `json:"group" help:"of the query heads of a KV head: sum, mean or max"`
	Order     string  `json:"order" help:"the group's reduction comes before or after pooling"`
	Floor     float64 `json:"floor" help:"part of its even share that every head keeps, 0 to 1"`
	Normalize bool    `json:"normalize" help:"between heads, scores count times the part that the head's largest have of their sum"`
	Exact     bool    `json:"exact" help:"a layer's heads keep exactly their budget together; as published, rounding loses some"`
	Pyramid   bool    `json:"pyramid" help:"budgets fall from layer to layer, as in pyramidkv, but for prompts of any length"`
	Beta      int     `json:"beta" help:"of pyramid"`
}

func adaSnapKVEntry() Entry {
	e := Entry{
		Name:        "ada-snapkv",
		Paper:       "Ada-KV (Feng et al., arXiv 2407.11550)",
		Watches:     "the prompt's last window queries: P, averaged, pooled, reduced over the group",
		Does:        "drops the KVs before the window that receive least",
		From:        "over the heads of a layer, each with a floor",
		When:        "once after the prompt",
		Reads:       "all that is held",
		Payload:     "2·D·b + 8 (score and position)",
		CacheTokens: "KVs that a head keeps of a prompt on average over a layer's heads, the window included",
		Rate:        "part kept of a prompt's KVs, the window included and at least that",
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
func (m adaSnapKV) Observe() *Observation { return m.watched }

// Rank has a quota for each layer, which says how many of the layer's largest scores each
// head has; Refine makes the heads' budgets of it. As published, rounding loses KVs of a
// prompt that is just as long as the capacity, too. A layer whose budget is more than the
// prompt keeps all.
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

// keep returns how many of past KVs each head of a layer keeps, of which the layer's
// quota takes lost: b_h of the published code, whose arithmetic is binary32 here, and
// rounded half to even.
//
// With exact, the real numbers x_h = n_h·(1−α) + base·α, in binary64, are rounded down,
// and what is missing of H·base is given one by one to the heads with the largest
// remainder, the earlier head first.
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

// Quiet is for good: the method acts once, after the prompt.
func (m adaSnapKV) Quiet(Counts) int { return math.MaxInt }
func (m adaSnapKV) Plan(v View) Plan { return v.drop(m.Rank(v.Counts()), Decide) }
func (m adaSnapKV) Spec(v View) Plan { return v.drop(m.Rank(v.Counts()), Walk) }
