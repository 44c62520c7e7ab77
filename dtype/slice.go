package dtype

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Decode reads len(dst) numbers of format t from src, little endian, and puts
// them into dst:
//
//	for i := range dst {
//		dst[i] = value of src[i*t.Size() : (i+1)*t.Size()]
//	}
//
// It panics if src is shorter than that, or t invalid.
func (t DType) Decode(dst []float32, src []byte) {
	t.mustBeValid()
	src = src[:len(dst)*t.Size()]
	best.decode(t, dst, src)
}

// Encode writes the numbers of src to dst in format t, little endian, each
// rounded to nearest, ties to even:
//
//	for i, x := range src {
//		dst[i*t.Size() : (i+1)*t.Size()] = bits of x in format t
//	}
//
// It panics if dst is shorter than that, or t invalid.
func (t DType) Encode(dst []byte, src []float32) {
	t.mustBeValid()
	dst = dst[:len(src)*t.Size()]
	best.encode(t, dst, src)
}

func (t DType) mustBeValid() {
	if !t.Valid() {
		panic(fmt.Sprintf("dtype: unknown format %d", uint8(t)))
	}
}

// decodePlain is Decode without the checks and without assembly.
func decodePlain(t DType, dst []float32, src []byte) {
	switch t {
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	case F16:
		for i := range dst {
			dst[i] = F16ToF32(binary.LittleEndian.Uint16(src[2*i:]))
		}
	case BF16:
		for i := range dst {
			dst[i] = BF16ToF32(binary.LittleEndian.Uint16(src[2*i:]))
		}
	case E4M3:
		for i, b := range src {
			dst[i] = e4m3Values[b]
		}
	case E5M2:
		for i, b := range src {
			dst[i] = e5m2Values[b]
		}
	}
}

// encodePlain is Encode without the checks and without assembly.
func encodePlain(t DType, dst []byte, src []float32) {
	switch t {
	case F32:
		for i, x := range src {
			binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(x))
		}
	case F16:
		for i, x := range src {
			binary.LittleEndian.PutUint16(dst[2*i:], F32ToF16(x))
		}
	case BF16:
		for i, x := range src {
			binary.LittleEndian.PutUint16(dst[2*i:], F32ToBF16(x))
		}
	case E4M3:
		for i, x := range src {
			dst[i] = F32ToE4M3(x)
		}
	case E5M2:
		for i, x := range src {
			dst[i] = F32ToE5M2(x)
		}
	}
}

var (
	e4m3Values = tabulate(E4M3ToF32)
	e5m2Values = tabulate(E5M2ToF32)
)

func tabulate(value func(uint8) float32) *[256]float32 {
	var t [256]float32
	for i := range t {
		t[i] = value(uint8(i))
	}
	return &t
}
