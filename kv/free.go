package kv

import (
	"math/bits"

	"kvcompress/internal/ceil"
)

// freeList gives out the free block with the lowest number. It is a bitmap with a search hint.
type freeList struct {
	words []uint64
	first int // no word before it has a bit set
	count int
}

func newFreeList(n int) freeList {
	f := freeList{words: make([]uint64, ceil.Div(n, 64))}
	for b := range n {
		f.put(b)
	}
	return f
}

func (f *freeList) put(b int) {
	f.words[b/64] |= 1 << (b % 64)
	f.first = min(f.first, b/64)
	f.count++
}

// take returns the lowest free block; there must be one.
func (f *freeList) take() int {
	for f.words[f.first] == 0 {
		f.first++
	}
	b := f.first*64 + bits.TrailingZeros64(f.words[f.first])
	f.words[f.first] &^= 1 << (b % 64)
	f.count--
	return b
}
