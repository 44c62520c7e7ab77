package ref

import (
	"fmt"
	"math"

	"kvcompress/kv"
)

// SnapKV (Li et al., arXiv 2404.14469; FasterDecoding/SnapKV@e216ddc): after the prompt, every head keeps
// max_cache_tokens KVs: its last window tokens, and of the tokens before those the ones with the highest
// attention from the window's queries,
//
//	s_i = pool(Σ_t P_{t,i})      t over the window's queries, i before the window
//
// It does nothing later: the cache grows with the answer.
type snapKV struct {
	name        string
	cfg         *Config
	observation *Observation
}

type snapKVOptions struct {
	Window  int    `json:"window" help:"number of the prompt's last tokens: they are kept, and their queries are observed"`
	Kernel  int    `json:"kernel" help:"width of the pooling over tokens, odd"`
	Pooling string `json:"pooling" help:"pooling over tokens: avg or max"`
	Group   string `json:"group" help:"reduction over the query heads of a KV head: sum, mean or max"`
	Order   string `json:"order" help:"before or after: reduce over the query heads before or after pooling"`
}

func snapKVEntry() Entry {
	e := Entry{
		Name:        "snapkv",
		Paper:       "SnapKV (Li et al., arXiv 2404.14469)",
		Watches:     "the prompt's last window queries: P, summed, pooled, reduced over the group",
		Does:        "drops the KVs before the window that receive the least attention",
		From:        "the same number from each head",
		When:        "once after the prompt",
		Reads:       "all held KVs",
		Payload:     "2·D·b + 8 (score and position)",
		CacheTokens: "KVs that every head keeps of a prompt, the window included",
		Rate:        "fraction of a prompt's KVs to keep, window included, and at least the window",
		HeldAgainst: "FasterDecoding/SnapKV@e216ddc; Zefan-Cai/KVCache-Factory@c97f9d7 (groups)",
		Defaults: func() any {
			return &snapKVOptions{Window: 32, Kernel: 5, Pooling: "avg", Group: "mean", Order: "before"}
		},
	}
	e.New = func(c *Config) (Method, error) {
		opt := e.Defaults().(*snapKVOptions)
		if err := c.Set.Into(&e, opt); err != nil {
			return nil, err
		}
		o, err := windowed(*opt).observation(ScaleNone)
		if err == nil {
			err = c.Compression.checkCapacity(opt.Window)
		}
		if err != nil {
			return nil, e.wrap(err)
		}
		return snapKV{e.Name, c, o}, nil
	}
	return e
}

// snapKVPublishedEntry is the published code, which repeats keys and values for every query head before it
// selects and caches them: the G query heads of a KV head make G selections, and a KV selected more than once
// is stored more than once.
func snapKVPublishedEntry() Entry {
	type options struct {
		Window  int    `json:"window" help:"number of the prompt's last tokens: they are kept, and their queries are observed"`
		Kernel  int    `json:"kernel" help:"width of the pooling over tokens, odd"`
		Pooling string `json:"pooling" help:"pooling over tokens: avg or max"`
	}
	e := snapKVEntry()
	e.Name = "snapkv-published"
	e.Watches = "the prompt's last window queries: P, summed and pooled, for each query head separately"
	e.Does = "copies K and V for every query head, and drops the KVs before the window that receive the least attention"
	e.From = "the same number from each query head"
	e.Payload = "G·(2·D·b + 8) (score and position)"
	e.CacheTokens = "KVs that every query head keeps of a prompt, the window included"
	e.HeldAgainst = "FasterDecoding/SnapKV@e216ddc"
	e.Repeats = true
	e.Defaults = func() any { return &options{Window: 32, Kernel: 5, Pooling: "avg"} }
	e.New = func(c *Config) (Method, error) {
		opt := e.Defaults().(*options)
		if err := c.Set.Into(&e, opt); err != nil {
			return nil, err
		}
		if s := c.Shape; s.Group > 1 {
			return nil, e.wrap(fmt.Errorf("it caches a copy of K and V for each query head: its shape has %d KV heads and group 1, not %d and %d", s.QueryHeads(), s.KVHeads, s.Group))
		}
		o, err := windowed{opt.Window, opt.Kernel, opt.Pooling, "sum", "before"}.observation(ScaleNone)
		if err == nil {
			err = c.Compression.checkCapacity(opt.Window)
		}
		if err != nil {
			return nil, e.wrap(err)
		}
		return snapKV{e.Name, c, o}, nil
	}
	return e
}

func (m snapKV) Name() string { return m.name }

// Columns declares the score of every KV. Only a compression reads it.
func (m snapKV) Columns() []kv.Column { return scoreColumn() }

func (m snapKV) Observe() *Observation { return m.observation }

func (m snapKV) Rank(c Counts) Ranking {
	w := m.observation.Window
	past := m.cfg.Compression.capacity(c.Prompt, w) - w
	return c.keepPast(w, func(int) int { return past })
}

func (m snapKV) Asks(c Counts) int { return m.Rank(c).Asks() }

// Quiet returns math.MaxInt: the method compresses once, after the prompt.
func (m snapKV) Quiet(Counts) int { return math.MaxInt }
func (m snapKV) Plan(v View) Plan { return v.drop(m.Rank(v.Counts()), Decide) }
func (m snapKV) Spec(v View) Plan { return v.drop(m.Rank(v.Counts()), Walk) }

// scoreColumn declares one number for every KV.
func scoreColumn() []kv.Column { return []kv.Column{{Name: "scores", Value: "score", Width: 1}} }
