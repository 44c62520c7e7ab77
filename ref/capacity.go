package ref

import "fmt"

// needs returns an error if max_cache_tokens is below the least that the method needs.
func (c *Compression) needs(least int, method, why string) error {
	if c.MaxCacheTokens > 0 && c.MaxCacheTokens < least {
		return fmt.Errorf("method %s: max_cache_tokens is %d, want at least %d: %s", method, c.MaxCacheTokens, least, why)
	}
	return nil
}

// overflow returns a quota for each head: the KVs that it holds beyond its capacity.
func overflow(heads []int, capacity func(head int) int) []Quota {
	quotas := make([]Quota, len(heads))
	for i, n := range heads {
		quotas[i] = Quota{First: i, Heads: 1, Units: max(0, n-capacity(i))}
	}
	return quotas
}
