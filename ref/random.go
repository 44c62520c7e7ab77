package ref

import (
	"math"

	"kvcompress/kv"
)

// RandomOptions are the options of the method random.
type RandomOptions struct {
	Seed uint64 `json:"seed" help:"seed of the hash by which KVs are evicted"`
}

// random keeps C KVs of each head, whichever have the largest hashes: the baseline that
// any other method has to beat.
type random struct {
	cfg *Config
	opt RandomOptions
}

func randomEntry() Entry {
	e := Entry{
		Name:        "random",
		Paper:       "none: a baseline, as kvpress's RandomPress",
		Watches:     "nothing",
		Does:        "drops KVs at random: by a hash of seed, sequence, layer, head and position",
		From:        "of each head alike",
		When:        "whenever a head holds more than C",
		Reads:       "all that is held",
		Payload:     "2·D·b + 4 (position)",
		CacheTokens: "C, the KVs that each head keeps",
		Rate:        "C is this part of the prompt, rounded down, and at least 1",
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

// Rank evicts of each head the KVs of the smallest hashes, down to C.
func (m random) Rank(c Counts) Ranking {
	r := Ranking{Unit: 1, Key: ByHash, Seed: m.opt.Seed}
	if m.cfg.Compression.Enabled() {
		capacity := m.cfg.Compression.capacity(c.Prompt, 1)
		r.Quotas = overflow(c.Heads, func(int) int { return capacity })
	}
	return r
}

func (m random) Asks(c Counts) int { return m.Rank(c).Asks() }

// Quiet is until a head holds more than C.
func (m random) Quiet(c Counts) int {
	if !m.cfg.Compression.Enabled() {
		return math.MaxInt
	}
	return c.belowCapacity(m.cfg.Compression.capacity(c.Prompt, 1))
}
func (m random) Plan(v View) Plan { return v.drop(m.Rank(v.Counts()), Decide) }
func (m random) Spec(v View) Plan { return v.drop(m.Rank(v.Counts()), Walk) }
