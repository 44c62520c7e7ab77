package sim

import (
	"cmp"
	"slices"

	"kvcompress/ref"
)

// policy decides when the running sequences are compressed and which of them
// (DESIGN: compress_once, interval, new_token_limit, max_kv_per_compression).
type policy struct {
	opt       *ref.Compression
	blockSize int

	forced    bool // a prefill has just run
	decodes   int  // decode steps since the last compression
	newTokens int  // tokens that entered since
}

// due reports whether a compression is to run before the next batch.
func (p *policy) due() bool {
	if !p.opt.Enabled() {
		return false
	}
	return p.forced ||
		p.opt.Interval > 0 && p.decodes >= p.opt.Interval ||
		p.opt.NewTokenLimit > 0 && p.newTokens > p.opt.NewTokenLimit
}

// entered notes what a step put into the cache.
func (p *policy) entered(s *Step) {
	p.newTokens += s.Tokens
	if s.Kind == Prefill {
		p.forced = true
	} else {
		p.decodes++
	}
}

// run compresses: the sequences that have gone longest without compression
// first, and of those the earliest, as many as max_kv_per_compression allows, but
// at least one, or a sequence beyond the limit could never be compressed. Those
// that this step has compressed already are left alone.
func (p *policy) run(c Cache, running []*sequence) ([]Compression, error) {
	p.forced, p.decodes, p.newTokens = false, 0, 0
	order := slices.Clone(running)
	slices.SortStableFunc(order, func(a, b *sequence) int {
		return cmp.Compare(b.sinceCompression, a.sinceCompression)
	})
	var done []Compression
	slots, limit := 0, p.opt.MaxKVPerCompression
	for _, s := range order {
		if s.compressed && (p.opt.Once || s.sinceCompression == 0) || c.Count(s.id) == 0 {
			continue
		}
		slots += c.Held(s.id) * p.blockSize
		if limit > 0 && slots > limit && len(done) > 0 {
			break
		}
		r, err := c.Compress(s.id)
		if err != nil {
			return done, err
		}
		s.compressed, s.sinceCompression = true, 0
		done = append(done, Compression{Seq: s.id, Asked: r.Asked, Freed: r.Freed, Evicted: r.Evicted, Moved: r.Moved})
	}
	return done, nil
}
