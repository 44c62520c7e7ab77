//go:build !purego

package ptx

import "unsafe"

//go:noescape
func fmaRowF32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func rcpRowF32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func addFtzRowF32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func subFtzRowF32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func mulFtzRowF32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func divFtzRowF32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func fmaFtzRowF32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func eqFtzRowF32(w *warp, in *instr) uint32

//go:noescape
func ltFtzRowF32(w *warp, in *instr) uint32

//go:noescape
func leFtzRowF32(w *warp, in *instr) uint32

//go:noescape
func gtFtzRowF32(w *warp, in *instr) uint32

//go:noescape
func geFtzRowF32(w *warp, in *instr) uint32

//go:noescape
func neFtzRowF32(w *warp, in *instr) uint32

//go:noescape
func minRowF32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func maxRowF32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func addRowF64(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func subRowF64(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func mulRowF64(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func divRowF64(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func fmaRowF64(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func addRowF16(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func subRowF16(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func mulRowF16(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func addRowF16x2(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func subRowF16x2(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func mulRowF16x2(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func fmaRowF16(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func fmaRowF16x2(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func narrowRowF16(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func packRowF16(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func widenRowBF16(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func narrowRowBF16(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func packRowBF16(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func floatRowS32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func nearestRowS32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func floorRowS32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func ceilRowS32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func truncRowS32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func nearestRowF32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func floorRowF32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func ceilRowF32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func truncRowF32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func eqRow64(w *warp, in *instr) uint32

//go:noescape
func neRow64(w *warp, in *instr) uint32

//go:noescape
func gtRowS64(w *warp, in *instr) uint32

//go:noescape
func ltRowS64(w *warp, in *instr) uint32

//go:noescape
func leRowS64(w *warp, in *instr) uint32

//go:noescape
func geRowS64(w *warp, in *instr) uint32

//go:noescape
func gtRowU64(w *warp, in *instr) uint32

//go:noescape
func ltRowU64(w *warp, in *instr) uint32

//go:noescape
func leRowU64(w *warp, in *instr) uint32

//go:noescape
func geRowU64(w *warp, in *instr) uint32

//go:noescape
func ex2RowF32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func rsqrtRowF32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func rcpFtzRowF32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func sqrtFtzRowF32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func minRowF16x2(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func maxRowF16x2(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func fmaRowBF16(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func fmaRowBF16x2(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func selpRow64(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func multiplyTile(c *float32, a *tileRow, b *float32, t *tile)

//go:noescape
func fillRow32(d unsafe.Pointer, v uint32)
