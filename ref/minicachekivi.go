package ref

import (
	"kvcompress/kv"
	"kvcompress/ref/merge"
)

// MiniCacheKIVIOptions are the options of the method minicache+kivi.
type MiniCacheKIVIOptions struct {
	MiniCacheOptions
	KIVIOptions
}

func miniCacheKIVIEntry() Entry {
	e := Entry{
		Name:        "minicache+kivi",
		Paper:       "MiniCache with KIVI (Liu et al., arXiv 2405.14366; Liu et al., arXiv 2402.02750)",
		Watches:     "no attention: the directions of keys and values",
		Does:        "merges pairs of layers as minicache does, and quantizes their directions in groups of channels; quantizes the other layers as kivi does",
		From:        "pairs of layers from S on; in the other layers the same number from each head",
		When:        "after the prompt, which attends to its own keys and values, and after every step: a token is exact in its own step",
		Reads:       "all held KVs",
		Payload:     "in merged layers D·(bits + 32/group)/8 + 8 (norms; the direction is two layers'), of retained tokens 2·D·b + 8 (indices) more; in others as kivi",
		CacheTokens: "not accepted: from, gamma, bits, group and residual set the bytes of a token",
		Rate:        "not accepted",
		HeldAgainst: "no published code; its two halves are minicache's and kivi's",
		OwnPages:    true,
		Defaults: func() any {
			return &MiniCacheKIVIOptions{
				MiniCacheOptions{From: -1, T: merge.Default().T, Retain: "ratio", Gamma: 0.05, Append: "merge"},
				KIVIOptions{Bits: 4, Group: 32, Residual: 128},
			}
		},
	}
	e.New = func(c *Config) (Method, error) {
		o := *e.Defaults().(*MiniCacheKIVIOptions)
		if err := c.Set.Into(&e, &o); err != nil {
			return nil, err
		}
		quantized, err := newKIVI(e.Name, &o.KIVIOptions, c)
		if err != nil {
			return nil, e.wrap(err)
		}
		merged, err := newMiniCache(&o.MiniCacheOptions, kv.Format{Kind: kv.Merged, Bits: o.Bits, Group: o.Group}, c)
		if err != nil {
			return nil, e.wrap(err)
		}
		return miniCacheKIVI{merged, quantized}, nil
	}
	return e
}

// miniCacheKIVI is MiniCache with directions in quantized groups of channels, and KIVI in the layers that are
// not merged. A plan quantizes these layers first.
type miniCacheKIVI struct {
	miniCache
	quantized kivi
}

func (m miniCacheKIVI) Name() string { return m.quantized.name }

// Formats and Quantizes implement [Quantizer], for the layers that are not merged.
func (m miniCacheKIVI) Formats() (k, v kv.Format)               { return m.quantized.Formats() }
func (m miniCacheKIVI) Quantizes(tokens int) (keys, values int) { return m.quantized.Quantizes(tokens) }

func (m miniCacheKIVI) Asks(c Counts) int {
	return quantizerAsks(c, m, m.heads) + m.miniCache.Asks(c)
}

func (m miniCacheKIVI) Plan(v View) Plan {
	cfg := v.Cache.Config()
	first, then := PlanQuantizer(&cfg, v.Sequence, m), m.miniCache.Plan(v)
	return first.Then(&then)
}

func (m miniCacheKIVI) Spec(v View) Plan {
	first := m.quantized.spec(v, func(layer int) bool {
		merged, _ := m.merging.Merges(layer)
		return !merged
	})
	then := m.miniCache.Spec(v)
	return first.Then(&then)
}
