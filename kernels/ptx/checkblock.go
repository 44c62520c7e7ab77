package ptx

import "slices"

// Blocks begin, and in a cooperative launch take turns.

// blockChecks is what the checkers know of the block that runs, races aside.
type blockChecks struct {
	shared   *allocShadow
	local    []*initMap // of each of its warps; nil where it has not used its own
	flight   inFlight
	arrivals [maxBarriers][]arrival
}

// newBlock makes room for what there is to know of a block.
func (c *checks) newBlock(warps int) {
	c.blockChecks = blockChecks{
		shared: c.newShadow(int64(c.sharedBytes)), local: make([]*initMap, warps),
		flight: inFlight{words: make([]uint64, (c.sharedBytes+255)/256)},
	}
}

// leave ends the turn of a block, which will have another.
func (c *checks) leave(b *block) {
	if c.races != nil {
		c.races.leave(c.shared.races)
	}
	if b.checks = c.blockChecks; b.checks.flight.lanes > 0 {
		c.afloat = append(c.afloat, b)
	}
}

// enter begins another turn of a block.
func (c *checks) enter(b *block) {
	c.blockChecks, b.checks = b.checks, blockChecks{}
	c.afloat = slices.DeleteFunc(c.afloat, func(other *block) bool { return other == b })
	if c.races != nil {
		c.races.enter(b.linear)
	}
}

// beginBlock starts a block: its shared and local memory is undefined.
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
	}
}
