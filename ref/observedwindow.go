package ref

import "fmt"

// SnapKV and the methods derived from it observe the prompt's last queries. Once, after the prompt, they keep
// the tokens of those queries and evict the least attended of the others.

// windowed has the options that such methods share.
type windowed struct {
	Window  int
	Kernel  int
	Pooling string // avg or max
	Group   string // sum, mean or max
	Order   string // before or after: reduce over the group before or after pooling
}

// observation returns what the engine observes: the attention that keys before the window receive from the
// window's queries, scaled, pooled and reduced over the group. The error names the wrong option.
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

// checkCapacity returns an error if max_cache_tokens does not exceed the window.
func (c *Compression) checkCapacity(window int) error {
	if c.MaxCacheTokens > 0 && c.MaxCacheTokens <= window {
		return fmt.Errorf("max_cache_tokens %d includes the window of %d tokens and must be larger: choose a smaller window", c.MaxCacheTokens, window)
	}
	return nil
}

// capacity returns how many KVs a head may keep of a prompt of n tokens: max_cache_tokens if set; with rate
// ⌊n·rate⌋, computed in binary64 with one rounding, but at least least; otherwise n.
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

// keepPast ranks the KVs before the window so that head i keeps past(i) of them. It asks for nothing after
// the first generated token, or when a head has lost a KV.
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
