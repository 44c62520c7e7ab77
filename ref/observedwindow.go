package ref

import "fmt"

// SnapKV and what follows from it watch the prompt's last queries, keep those last tokens,
// and drop the least attended of the others, once, when the prompt is in the cache.

// windowed is the part of such a method that watches.
type windowed struct {
	Window  int
	Kernel  int
	Pooling string // avg or max
	Group   string // sum, mean or max
	Order   string // before or after: of the group's reduction, as to pooling
}

// observation returns what the engine watches: the attention that the keys before the
// window receive from the window's queries, scaled, pooled and reduced over the group.
// The error says which option is wrong.
func (w windowed) observation(scale Scale) (*Observation, error) {
	o := &Observation{Window: w.Window, Norm: L1, Outside: true, Scale: scale, GroupFirst: w.Order == "before"}
	switch {
	case w.Window < 1 || w.Window > MaxWindow:
		return nil, fmt.Errorf("window %d is not from 1 to %d", w.Window, MaxWindow)
	case w.Kernel < 1 || w.Kernel > MaxPoolWidth || w.Kernel%2 == 0:
		return nil, fmt.Errorf("kernel %d is not an odd width from 1 to %d", w.Kernel, MaxPoolWidth)
	case w.Order != "before" && w.Order != "after":
		return nil, fmt.Errorf("order %q is neither before nor after", w.Order)
	}
	switch w.Pooling {
	case "avg":
		o.Pool = Pool{AvgPool, w.Kernel}
	case "max":
		o.Pool = Pool{MaxPool, w.Kernel}
	default:
		return nil, fmt.Errorf("pooling %q is neither avg nor max", w.Pooling)
	}
	var err error
	o.Group, err = groupReduction(w.Group)
	return o, err
}

func groupReduction(name string) (GroupReduction, error) {
	switch name {
	case "sum":
		return GroupSum, nil
	case "mean":
		return GroupMean, nil
	case "max":
		return GroupMax, nil
	}
	return 0, fmt.Errorf("group %q is none of sum, mean and max", name)
}

// checkCapacity returns an error if max_cache_tokens has no room beside the window.
func (c *Compression) checkCapacity(window int) error {
	if c.MaxCacheTokens > 0 && c.MaxCacheTokens <= window {
		return fmt.Errorf("max_cache_tokens %d includes the window of %d tokens and must be larger: choose a smaller window", c.MaxCacheTokens, window)
	}
	return nil
}

// capacity returns how many KVs a head may keep of a prompt of n tokens: max_cache_tokens,
// or ⌊n·rate⌋ and at least the given number, a product in binary64 that is rounded once.
// Without either it is n.
func (c *Compression) capacity(n, least int) int {
	switch {
	case c.MaxCacheTokens > 0:
		return c.MaxCacheTokens
	case c.Rate > 0:
		return max(least, int(float64(n)*c.Rate))
	default:
		return n
	}
}

// keepPast ranks the KVs before the window of a whole prompt: head i keeps past(i) of
// them. It asks for nothing once a token was generated or a head has lost a KV.
func (c *Counts) keepPast(window int, past func(head int) int) Ranking {
	r := Ranking{Unit: 1, Window: window}
	if !c.Whole() {
		return r
	}
	for i, n := range c.Heads {
		if drop := n - window - past(i); drop > 0 {
			r.Quotas = append(r.Quotas, Quota{First: i, Heads: 1, Units: drop})
		}
	}
	return r
}
