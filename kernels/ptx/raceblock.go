package ptx

// When blocks run, and which block an access belongs to.

// blockTime is the clocks of a block: the order that its barriers have established.
type blockTime struct {
	number  uint64 // linear index of the block in the grid
	block   stamp  // start of the block
	barrier stamp  // last barrier of all threads of the block, or its start
	warps   []warpTime
}

// blockStart is the start of a block.
type blockStart struct {
	at    stamp
	block uint64 // its linear index in the grid
}

// begin starts the block at now.
func (b *blockTime) begin(now stamp) {
	b.block, b.barrier = now, now
	for w := range b.warps {
		b.warps[w] = warpTime{sync: now}
	}
}

// own reports whether an access of this launch is by the running block. In a cooperative launch it is called
// only for accesses to the block's shared memory, so the result is always true.
func (b *blockTime) own(e stamp) bool { return e >= b.block }

// blockOf returns the linear index of the block that performed an access of this launch. In a cooperative
// launch it is called only for accesses to shared memory.
func (r *races) blockOf(e stamp) uint64 {
	if r.own(e) {
		return r.number
	}
	lo, hi := 0, len(r.starts)
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; r.starts[mid].at <= e {
			lo = mid
		} else {
			hi = mid
		}
	}
	return r.starts[lo].block
}
