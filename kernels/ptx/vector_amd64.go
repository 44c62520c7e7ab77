//go:build !purego

package ptx

import (
	"unsafe"

	"github.com/klauspost/cpuid/v2"
)

// vectors reports whether the processor has the instructions of vector_amd64.s.
var vectors = cpuid.CPU.Supports(cpuid.AVX2, cpuid.F16C, cpuid.FMA3)

//go:noescape
func addRow32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func subRow32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func mulRow32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func madRow32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func andRow32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func orRow32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func xorRow32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func minRowS32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func maxRowS32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func minRowU32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func maxRowU32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func shlRow32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func shrRowU32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func shrRowS32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func addRow64(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func subRow64(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func mulRow64(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func andRow64(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func orRow64(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func xorRow64(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func shlRow64(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func shrRowU64(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func addRowF32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func subRowF32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func mulRowF32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func divRowF32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func sqrtRowF32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func widenRowF16(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func widenRowS32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func widenRowU32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func narrowRow64(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func mulWideRowU32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func mulWideRowS32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func copyRow32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func copyRow64(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func selpRow32(d unsafe.Pointer, w *warp, in *instr)

//go:noescape
func ltRowS32(w *warp, in *instr) uint32

//go:noescape
func leRowS32(w *warp, in *instr) uint32

//go:noescape
func gtRowS32(w *warp, in *instr) uint32

//go:noescape
func geRowS32(w *warp, in *instr) uint32

//go:noescape
func ltRowU32(w *warp, in *instr) uint32

//go:noescape
func leRowU32(w *warp, in *instr) uint32

//go:noescape
func gtRowU32(w *warp, in *instr) uint32

//go:noescape
func geRowU32(w *warp, in *instr) uint32

//go:noescape
func eqRow32(w *warp, in *instr) uint32

//go:noescape
func neRow32(w *warp, in *instr) uint32

//go:noescape
func ltRowF32(w *warp, in *instr) uint32

//go:noescape
func leRowF32(w *warp, in *instr) uint32

//go:noescape
func gtRowF32(w *warp, in *instr) uint32

//go:noescape
func geRowF32(w *warp, in *instr) uint32

//go:noescape
func eqRowF32(w *warp, in *instr) uint32

//go:noescape
func neRowF32(w *warp, in *instr) uint32

//go:noescape
func blendRow32(d, s unsafe.Pointer, mask uint32)

//go:noescape
func blendRow64(d, s unsafe.Pointer, mask uint32)

//go:noescape
func coalesceRow(out, from *[warpSize]uint64, s *coalescing, mask uint32)

// vectorALU are the row operations that have assembly.
var vectorALU = map[opType]aluFunc{
	{"add", u32}: addRow32, {"add", s32}: addRow32, {"add", u64}: addRow64, {"add", s64}: addRow64, {"add", f32}: addRowF32,
	{"sub", u32}: subRow32, {"sub", s32}: subRow32, {"sub", u64}: subRow64, {"sub", s64}: subRow64, {"sub", f32}: subRowF32,
	{"mul", u32}: mulRow32, {"mul", s32}: mulRow32, {"mul", u64}: mulRow64, {"mul", s64}: mulRow64, {"mul", f32}: mulRowF32,
	{"div", f32}: divRowF32, {"sqrt", f32}: sqrtRowF32,
	{"mad", u32}: madRow32, {"mad", s32}: madRow32,
	{"mul.wide", u32}: mulWideRowU32, {"mul.wide", s32}: mulWideRowS32,
	{"min", u32}: minRowU32, {"min", s32}: minRowS32, {"max", u32}: maxRowU32, {"max", s32}: maxRowS32,
	{"and", b32}: andRow32, {"or", b32}: orRow32, {"xor", b32}: xorRow32,
	{"and", b64}: andRow64, {"or", b64}: orRow64, {"xor", b64}: xorRow64,
	{"shl", b32}: shlRow32, {"shl", b64}: shlRow64,
	{"shr", b32}: shrRowU32, {"shr", u32}: shrRowU32, {"shr", s32}: shrRowS32, {"shr", b64}: shrRowU64, {"shr", u64}: shrRowU64,
	{"mov", b32}: copyRow32, {"mov", b64}: copyRow64, {"selp", b32}: selpRow32,
	{"fma", f32}: fmaRowF32, {"rcp", f32}: rcpRowF32, {"min", f32}: minRowF32, {"max", f32}: maxRowF32,
	{"add.ftz", f32}: addFtzRowF32, {"sub.ftz", f32}: subFtzRowF32, {"mul.ftz", f32}: mulFtzRowF32, {"div.ftz", f32}: divFtzRowF32,
	{"fma.ftz", f32}: fmaFtzRowF32, {"rcp.ftz", f32}: rcpFtzRowF32, {"sqrt.ftz", f32}: sqrtFtzRowF32,
	{"ex2.approx", f32}: ex2RowF32, {"rsqrt.approx", f32}: rsqrtRowF32,
	{"add", f64}: addRowF64, {"sub", f64}: subRowF64, {"mul", f64}: mulRowF64, {"div", f64}: divRowF64, {"fma", f64}: fmaRowF64,
	{"add", f16}: addRowF16, {"sub", f16}: subRowF16, {"mul", f16}: mulRowF16, {"fma", f16}: fmaRowF16,
	{"add", f16x2}: addRowF16x2, {"sub", f16x2}: subRowF16x2, {"mul", f16x2}: mulRowF16x2, {"fma", f16x2}: fmaRowF16x2,
	{"min", f16x2}: minRowF16x2, {"max", f16x2}: maxRowF16x2,
	{"fma", bf16}: fmaRowBF16, {"fma", bf16x2}: fmaRowBF16x2, {"selp", b64}: selpRow64,
	{"cvt.f16", f32}: narrowRowF16, {"cvt.f16x2", f32}: packRowF16, {"cvt.f32", bf16}: widenRowBF16,
	{"cvt.bf16", f32}: narrowRowBF16, {"cvt.bf16x2", f32}: packRowBF16, {"cvt.f32", s32}: floatRowS32,
	{"cvt.rni.s32", f32}: nearestRowS32, {"cvt.rmi.s32", f32}: floorRowS32, {"cvt.rpi.s32", f32}: ceilRowS32, {"cvt.rzi.s32", f32}: truncRowS32,
	{"cvt.rni.f32", f32}: nearestRowF32, {"cvt.rmi.f32", f32}: floorRowF32, {"cvt.rpi.f32", f32}: ceilRowF32, {"cvt.rzi.f32", f32}: truncRowF32,
	{"cvt.f32", f16}: widenRowF16, {"cvt.64", s32}: widenRowS32, {"cvt.64", u32}: widenRowU32, {"cvt.32", b64}: narrowRow64,
}

// vectorCompare are the comparisons that have assembly.
var vectorCompare = map[opType]cmpFunc{
	{"lt", s32}: ltRowS32, {"le", s32}: leRowS32, {"gt", s32}: gtRowS32, {"ge", s32}: geRowS32,
	{"lt", u32}: ltRowU32, {"le", u32}: leRowU32, {"gt", u32}: gtRowU32, {"ge", u32}: geRowU32,
	{"eq", s32}: eqRow32, {"ne", s32}: neRow32, {"eq", u32}: eqRow32, {"ne", u32}: neRow32,
	{"lt", f32}: ltRowF32, {"le", f32}: leRowF32, {"gt", f32}: gtRowF32, {"ge", f32}: geRowF32,
	{"eq", f32}: eqRowF32, {"ne", f32}: neRowF32,
	{"lt.ftz", f32}: ltFtzRowF32, {"le.ftz", f32}: leFtzRowF32, {"gt.ftz", f32}: gtFtzRowF32, {"ge.ftz", f32}: geFtzRowF32,
	{"eq.ftz", f32}: eqFtzRowF32, {"ne.ftz", f32}: neFtzRowF32,
	{"lt", s64}: ltRowS64, {"le", s64}: leRowS64, {"gt", s64}: gtRowS64, {"ge", s64}: geRowS64,
	{"lt", u64}: ltRowU64, {"le", u64}: leRowU64, {"gt", u64}: gtRowU64, {"ge", u64}: geRowU64,
	{"eq", s64}: eqRow64, {"ne", s64}: neRow64, {"eq", u64}: eqRow64, {"ne", u64}: neRow64,
}
