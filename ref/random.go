package ref

import (
	"kvcompress/kv"
)

// RandomOptions are the options of the method random.
type RandomOptions struct {
	Seed uint64 `json:"seed" help:"seed of the hash that ranks KVs"`
}

// random keeps the C KVs of each head with the largest hashes. It is a baseline for other methods.
type random struct {
	cfg *Config
	opt RandomOptions
}

func randomEntry() Entry {
	e := Entry{
		Name:        "random",
		Paper:       "none: a baseline like kvpress's RandomPress",
		Watches:     "nothing",
		Does:        "drops KVs at random: by a hash of seed, sequence, layer, head and position",
		From:        "the same number from each head",
		When:        "whenever a head holds more than C",
		Reads:       "all held KVs",
		Payload:     "2·D·b + 4 (position)",
		CacheTokens: "C, the KVs that each head keeps",
		Rate:        "C is this fraction of the prompt, rounded down, and at least 1",
		HeldAgainst: "nothing: published code draws from a generator of its own",
		Defaults:    func() any { return &RandomOptions{} },
	}
	e.New = func(c *Config) (Method, error) {
		m := random{cfg: c}
		if err := c.Set.Into(&e, &m.opt); err != nil {
			return nil, err
		}
		return m, nil
	}
	return e
}

func (m random) Name() string          { return "random" }
func (m random) Columns() []kv.Column  { return nil }
func (m random) Observe() *Observation { return nil }

// Rank evicts the KVs with the smallest hashes of each head, down to C.
func (m random) Rank(c Counts) Ranking {
	r := Ranking{Unit: 1, Key: ByHash, Seed: m.opt.Seed}
	if m.cfg.Compression.Enabled() {
		capacity := m.cfg.Compression.capacity(c.Prompt, 1)
		r.Quotas = overflow(c.Heads, func(int) int { return capacity })
	}
	return r
}

func (m random) Asks(c Counts) int { return m.Rank(c).Asks() }

// Quiet returns how many tokens can enter before a head holds more than C.
func (m random) Quiet(c Counts) int { return c.belowCapacity(&m.cfg.Compression, 1) }
func (m random) Plan(v View) Plan   { return v.drop(m.Rank(v.Counts()), Decide) }
func (m random) Spec(v View) Plan   { return v.drop(m.Rank(v.Counts()), Walk) }
