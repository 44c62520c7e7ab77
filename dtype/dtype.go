// Package dtype defines the number formats of stored keys and values, in a trace and in a KV cache, and
// bit-exact conversions between them and float32.
//
// Every conversion to a narrower format rounds to nearest, ties to even, and keeps subnormals. F16 and BF16
// overflow to infinity, as IEEE 754 specifies; the two fp8 formats saturate to their largest finite value, as
// PTX's cvt.rn.satfinite does. A NaN stays a NaN.
package dtype

import (
	"fmt"
	"math"
	"strings"
)

// DType is a storage format of keys and values.
type DType uint8

// The storage formats. E4M3 and E5M2 are the two fp8 formats of the Open
// Compute Project's 8-bit Floating Point Specification.
const (
	F32 DType = iota
	F16
	BF16
	E4M3
	E5M2
)

// formats is indexed by DType. The first name is what String returns.
var formats = [...]struct {
	names []string
	size  int
	max   float32
}{
	F32:  {[]string{"f32", "float32"}, 4, math.MaxFloat32},
	F16:  {[]string{"f16", "float16", "fp16", "half"}, 2, 0x1.ffcp+15},
	BF16: {[]string{"bf16", "bfloat16"}, 2, 0x1.fep+127},
	E4M3: {[]string{"fp8_e4m3", "e4m3"}, 1, 0x1.cp+8},
	E5M2: {[]string{"fp8_e5m2", "e5m2"}, 1, 0x1.cp+15},
}

// Parse returns the format with the given name: f32, f16, bf16, fp8_e4m3 or fp8_e5m2, or one of the aliases
// float32, float16, fp16, half, bfloat16, e4m3 and e5m2.
func Parse(s string) (DType, error) {
	var valid []string
	for t, f := range formats {
		for _, name := range f.names {
			if s == name {
				return DType(t), nil
			}
		}
		valid = append(valid, f.names[0])
	}
	return 0, fmt.Errorf("dtype: unknown format %q (want %s)", s, strings.Join(valid, ", "))
}

// Valid reports whether t is one of this package's formats.
func (t DType) Valid() bool { return int(t) < len(formats) }

// String returns the format's name, which Parse accepts.
func (t DType) String() string {
	if !t.Valid() {
		return fmt.Sprintf("DType(%d)", uint8(t))
	}
	return formats[t].names[0]
}

// Size returns the bytes of one number, or 0 if t is invalid.
func (t DType) Size() int {
	if !t.Valid() {
		return 0
	}
	return formats[t].size
}

// Max returns the largest finite number of the format, or 0 if t is invalid.
func (t DType) Max() float32 {
	if !t.Valid() {
		return 0
	}
	return formats[t].max
}

// MarshalText implements encoding.TextMarshaler: the text is t's String.
func (t DType) MarshalText() ([]byte, error) {
	if !t.Valid() {
		return nil, fmt.Errorf("dtype: unknown format %d", uint8(t))
	}
	return []byte(t.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler: it accepts what Parse accepts.
func (t *DType) UnmarshalText(text []byte) error {
	parsed, err := Parse(string(text))
	if err != nil {
		return err
	}
	*t = parsed
	return nil
}
