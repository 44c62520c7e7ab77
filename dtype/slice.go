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
	decoders[t](dst, src)
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
	encoders[t](dst, src)
}

func (t DType) mustBeValid() {
	if !t.Valid() {
		panic(fmt.Sprintf("dtype: no format has number %d", uint8(t)))
	}
}

// decoders and encoders are indexed by DType. Their slices have fitting lengths.
var (
	decoders = [...]func(dst []float32, src []byte){
		F32: decodeF32, F16: decodeF16, BF16: decodeBF16, E4M3: decodeE4M3, E5M2: decodeE5M2,
	}
	encoders = [...]func(dst []byte, src []float32){
		F32: encodeF32, F16: encodeF16, BF16: encodeBF16, E4M3: encodeE4M3, E5M2: encodeE5M2,
	}
)

func decodeF32(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
	}
}

func encodeF32(dst []byte, src []float32) {
	for i, x := range src {
		binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(x))
	}
}

func decodeF16(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = F16ToF32(binary.LittleEndian.Uint16(src[2*i:]))
	}
}

func encodeF16(dst []byte, src []float32) {
	for i, x := range src {
		binary.LittleEndian.PutUint16(dst[2*i:], F32ToF16(x))
	}
}

func decodeBF16(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = BF16ToF32(binary.LittleEndian.Uint16(src[2*i:]))
	}
}

func encodeBF16(dst []byte, src []float32) {
	for i, x := range src {
		binary.LittleEndian.PutUint16(dst[2*i:], F32ToBF16(x))
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

func decodeE4M3(dst []float32, src []byte) {
	for i, b := range src {
		dst[i] = e4m3Values[b]
	}
}

func decodeE5M2(dst []float32, src []byte) {
	for i, b := range src {
		dst[i] = e5m2Values[b]
	}
}

func encodeE4M3(dst []byte, src []float32) {
	for i, x := range src {
		dst[i] = F32ToE4M3(x)
	}
}

func encodeE5M2(dst []byte, src []float32) {
	for i, x := range src {
		dst[i] = F32ToE5M2(x)
	}
}
