package ptx

// When blocks run, and whose accesses are whose.

// blockTime is what the threads of a block know of each other by barriers.
type blockTime struct {
	number  uint64 // of the block in the grid
	block   stamp  // when the block began
	barrier stamp  // when all threads of the block last passed a barrier, or began
	warps   []warpTime
}

// blockStart is when a block began.
type blockStart struct {
	at    stamp
	block uint64 // its number in the grid
}

// begin makes now the beginning of the block.
func (b *blockTime) begin(now stamp) {
	b.block, b.barrier = now, now
	for w := range b.warps {
		b.warps[w] = warpTime{sync: now}
	}
}

// own reports whether an access of this launch is by the block that runs. In a cooperative
// launch only accesses to its shared memory are asked about, which are.
func (b *blockTime) own(e stamp) bool { return e >= b.block }

// blockOf returns the number of the block that an access of this launch is by; in a
// cooperative launch, an access to shared memory.
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
