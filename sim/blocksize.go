package sim

import "math/bits"

// blockSize is the number B of tokens of a block, a power of two.
type blockSize struct {
	shift int // log2 B
}

func blockSizeOf(tokens int) blockSize { return blockSize{bits.TrailingZeros(uint(tokens))} }

// blocksOf returns ⌈n/B⌉.
func (b blockSize) blocksOf(n int) int { return (n + 1<<b.shift - 1) >> b.shift }
