//go:build !purego

package dtype

import (
	"unsafe"

	"github.com/klauspost/cpuid/v2"
)

// isa is an instruction set that the conversions are written for.
type isa uint8

const (
	plain isa = iota
	avx2
)

func (s isa) String() string { return [...]string{"plain", "AVX2"}[s] }

// supported lists the instruction sets that this processor has, best last.
var supported = detect()

var best = supported[len(supported)-1]

func detect() []isa {
	if cpuid.CPU.Supports(cpuid.AVX2, cpuid.F16C) {
		return []isa{plain, avx2}
	}
	return []isa{plain}
}

// The assembly converts n numbers, a positive multiple of 32.

//go:noescape
func decodeF16AVX2(dst *float32, src *byte, n int)

//go:noescape
func decodeBF16AVX2(dst *float32, src *byte, n int)

//go:noescape
func decodeE4M3AVX2(dst *float32, src *byte, n int)

//go:noescape
func decodeE5M2AVX2(dst *float32, src *byte, n int)

//go:noescape
func encodeF16AVX2(dst *byte, src *float32, n int)

//go:noescape
func encodeBF16AVX2(dst *byte, src *float32, n int)

func (s isa) decode(t DType, dst []float32, src []byte) {
	whole := len(dst) &^ 31
	if s == plain || whole == 0 {
		decodePlain(t, dst, src)
		return
	}
	switch t {
	case F32:
		copy(bytesOf(dst), src)
		return
	case F16:
		decodeF16AVX2(&dst[0], &src[0], whole)
	case BF16:
		decodeBF16AVX2(&dst[0], &src[0], whole)
	case E4M3:
		decodeE4M3AVX2(&dst[0], &src[0], whole)
	case E5M2:
		decodeE5M2AVX2(&dst[0], &src[0], whole)
	}
	decodePlain(t, dst[whole:], src[whole*t.Size():])
}

func (s isa) encode(t DType, dst []byte, src []float32) {
	whole := len(src) &^ 31
	if s == plain || whole == 0 {
		encodePlain(t, dst, src)
		return
	}
	switch t {
	case F32:
		copy(dst, bytesOf(src))
		return
	case F16:
		encodeF16AVX2(&dst[0], &src[0], whole)
	case BF16:
		encodeBF16AVX2(&dst[0], &src[0], whole)
	default:
		whole = 0
	}
	encodePlain(t, dst[whole*t.Size():], src[whole:])
}

// bytesOf returns the memory of x, which on this processor is little endian.
func bytesOf(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}
