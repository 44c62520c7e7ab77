package ptx

import "slices"

// The checkers at the start of a block and, in a cooperative launch, of its turns.

// blockChecks is the checkers' state of the running block, except that of races.
type blockChecks struct {
	shared   *allocShadow
	local    []*initMap // of each of its warps; nil until the warp uses its local memory
	flight   inFlight
	arrivals [maxBarriers + 1][]arrival // the last ones are of barrier.cluster
	released []arrival                  // of the last phase of barrier.cluster
	fenced   []*arrival                 // the clock of each warp at its last fence, if the kernel has barrier.cluster
}

// newBlock allocates the state of a block.
func (c *checks) newBlock(warps int) {
	c.blockChecks = blockChecks{
		shared: c.newShadow(int64(c.sharedBytes)), local: make([]*initMap, warps),
		flight: inFlight{words: make([]uint64, (c.sharedBytes+255)/256)}, fenced: make([]*arrival, warps),
	}
}

// leave ends a turn of a block that will have another.
func (c *checks) leave(b *block) {
	if c.races != nil {
		c.races.leave(c.shared.races)
	}
	if b.checks = c.blockChecks; b.checks.flight.lanes > 0 {
		c.afloat = append(c.afloat, b)
	}
}

// enter starts another turn of a block.
func (c *checks) enter(b *block) {
	c.blockChecks, b.checks = b.checks, blockChecks{}
	c.afloat = slices.DeleteFunc(c.afloat, func(other *block) bool { return other == b })
	if c.races != nil {
		c.races.enter(b.linear)
	}
}

// beginBlock starts a block, with undefined shared and local memory.
func (c *checks) beginBlock(b *block) {
	if c.on.Uninit {
		c.shared.init.reset()
		c.shared.stains = c.shared.stains[:0]
		for _, m := range c.local {
			if m != nil {
				m.reset()
			}
		}
	}
	c.flight.clear()
	if c.races != nil {
		c.races.beginBlock(b.linear)
		for i := range c.arrivals {
			c.arrivals[i] = nil
		}
		c.released = nil
		clear(c.fenced)
	}
}
