package kit

import (
	"encoding/binary"
	"fmt"
	"math"

	"kvcompress/dtype"
	"kvcompress/safetensors"
)

// i32 is the dtype of integer parts; other parts have a format of package dtype.
const i32 = "i32"

// kind says how the bytes of an element are interpreted.
type kind uint8

const (
	integer  kind = iota // two's complement
	natural              // unsigned
	floating             // a format of package dtype
	double               // binary64
)

// element is the type of an array's elements.
type element struct {
	name   string // used in messages
	kind   kind
	size   int         // bytes
	format dtype.DType // if the kind is floating
}

// elements are the supported types, with their names in the two file formats. NumPy has no bfloat16 and no
// fp8: their bits are stored as unsigned integers.
var elements = []struct {
	element
	npy string
	st  safetensors.DType
}{
	{element{"f32", floating, 4, dtype.F32}, "<f4", safetensors.F32},
	{element{"f16", floating, 2, dtype.F16}, "<f2", safetensors.F16},
	{element{"bf16", floating, 2, dtype.BF16}, "", safetensors.BF16},
	{element{"fp8_e4m3", floating, 1, dtype.E4M3}, "", safetensors.F8E4M3},
	{element{"fp8_e5m2", floating, 1, dtype.E5M2}, "", safetensors.F8E5M2},
	{element{"f64", double, 8, 0}, "<f8", safetensors.F64},
	{element{i32, integer, 4, 0}, "<i4", safetensors.I32},
	{element{"i64", integer, 8, 0}, "<i8", safetensors.I64},
	{element{"i16", integer, 2, 0}, "<i2", safetensors.I16},
	{element{"i8", integer, 1, 0}, "|i1", safetensors.I8},
	{element{"u32", natural, 4, 0}, "<u4", safetensors.U32},
	{element{"u64", natural, 8, 0}, "<u8", safetensors.U64},
	{element{"u16", natural, 2, 0}, "<u2", safetensors.U16},
	{element{"u8", natural, 1, 0}, "|u1", safetensors.U8},
	{element{"bool", natural, 1, 0}, "|b1", safetensors.Bool},
}

// elementOf returns the type for a dtype of a manifest.
func elementOf(name string) (element, bool) {
	if name == i32 {
		return element{i32, integer, 4, 0}, true
	}
	format, err := dtype.Parse(name)
	if err != nil || format.String() != name {
		return element{}, false
	}
	return element{name, floating, format.Size(), format}, true
}

// npyType returns the type's name in a .npy file of an export.
func (e element) npyType() string {
	for _, x := range elements {
		if x.element == e && x.npy != "" {
			return x.npy
		}
	}
	return map[int]string{1: "|u1", 2: "<u2"}[e.size]
}

// safetensorsType returns the type's name in a safetensors file.
func (e element) safetensorsType() safetensors.DType {
	for _, x := range elements {
		if x.element == e {
			return x.st
		}
	}
	return ""
}

// fromNPY returns the type for a .npy file's type name, for an array that should have the type want. Unsigned
// integers of the same size count as the bits of types that NumPy does not have.
func fromNPY(name string, want element) (element, error) {
	for _, x := range elements {
		if x.npy == name && name != "" {
			return x.element.as(want)
		}
	}
	if len(name) > 1 && name[0] == '>' {
		return element{}, fmt.Errorf("dtype %s is big-endian: save it in little-endian order", name)
	}
	return element{}, fmt.Errorf("dtype %.20s is not supported", name)
}

// fromSafetensors is fromNPY for a safetensors file.
func fromSafetensors(name safetensors.DType, want element) (element, error) {
	for _, x := range elements {
		if x.st == name {
			return x.element.as(want)
		}
	}
	return element{}, fmt.Errorf("dtype %s is not supported", name)
}

// as returns the type with which elements of type e are read to be compared with elements of type want.
func (e element) as(want element) (element, error) {
	switch {
	case want.kind == floating && e.kind == natural && e.size == want.size && e.name != "bool":
		return want, nil // the integers are its bits
	case (want.kind == floating) == (e.kind == floating || e.kind == double):
		return e, nil
	case want.kind == floating:
		return element{}, fmt.Errorf("its elements are %s, want %s or another float", e.name, want.name)
	default:
		return element{}, fmt.Errorf("its elements are %s, want integers", e.name)
	}
}

// floats decodes raw and appends to dst. Binary64 is rounded to binary32, to nearest even; every other
// conversion is exact.
func (e element) floats(dst []float32, raw []byte) []float32 {
	if e.kind == double {
		for ; len(raw) >= 8; raw = raw[8:] {
			dst = append(dst, float32(math.Float64frombits(binary.LittleEndian.Uint64(raw))))
		}
		return dst
	}
	n := len(raw) / e.size
	dst = append(dst, make([]float32, n)...)
	e.format.Decode(dst[len(dst)-n:], raw[:n*e.size])
	return dst
}

// ints decodes raw and appends to dst. Values beyond int64 become the largest int64, which no expected value
// equals.
func (e element) ints(dst []int64, raw []byte) []int64 {
	for ; len(raw) >= e.size; raw = raw[e.size:] {
		var b [8]byte
		copy(b[:], raw[:e.size])
		u := binary.LittleEndian.Uint64(b[:])
		if e.kind == integer {
			shift := 64 - 8*e.size
			dst = append(dst, int64(u<<shift)>>shift)
		} else {
			dst = append(dst, int64(min(u, math.MaxInt64)))
		}
	}
	return dst
}
