//go:build !amd64 || purego

package ptx

import "unsafe"

const vectors = false

var (
	vectorALU     map[opType]aluFunc
	vectorCompare map[opType]cmpFunc
)

func blendRow32(d, s unsafe.Pointer, mask uint32) {
	blend((*[warpSize]uint32)(d), (*[warpSize]uint32)(s), mask)
}

func blendRow64(d, s unsafe.Pointer, mask uint32) {
	blend((*[warpSize]uint64)(d), (*[warpSize]uint64)(s), mask)
}

func coalesceRow(out, from *[warpSize]uint64, s *coalescing, mask uint32) {
	s.plain(out, from, mask)
}

func multiplyTile(c *float32, a *tileRow, b *float32, t *tile) { t.plain(c, a, b) }

func fillRow32(d unsafe.Pointer, v uint32) { fillAll((*[warpSize]uint32)(d), v) }
