package safetensors

import "kvcompress/dtype"

// DType is the format of a tensor's elements, as the header spells it.
type DType string

// The element formats of this package. Those that DType.Float maps can be converted to
// float32; of the others the size is known. A tensor of any other format cannot be read.
const (
	Bool   DType = "BOOL"
	F4     DType = "F4"
	F6E2M3 DType = "F6_E2M3"
	F6E3M2 DType = "F6_E3M2"
	U8     DType = "U8"
	I8     DType = "I8"
	F8E5M2 DType = "F8_E5M2"
	F8E4M3 DType = "F8_E4M3"
	F8E8M0 DType = "F8_E8M0"
	I16    DType = "I16"
	U16    DType = "U16"
	F16    DType = "F16"
	BF16   DType = "BF16"
	I32    DType = "I32"
	U32    DType = "U32"
	F32    DType = "F32"
	C64    DType = "C64"
	F64    DType = "F64"
	I64    DType = "I64"
	U64    DType = "U64"
)

// Bits returns the bits that one element takes, and 0 for an unknown format.
func (t DType) Bits() int {
	switch t {
	case F4:
		return 4
	case F6E2M3, F6E3M2:
		return 6
	case Bool, U8, I8, F8E5M2, F8E4M3, F8E8M0:
		return 8
	case I16, U16, F16, BF16:
		return 16
	case I32, U32, F32:
		return 32
	case C64, F64, I64, U64:
		return 64
	}
	return 0
}

// Float returns the format of package dtype that t names, and false if there is none.
func (t DType) Float() (dtype.DType, bool) {
	switch t {
	case F32:
		return dtype.F32, true
	case F16:
		return dtype.F16, true
	case BF16:
		return dtype.BF16, true
	case F8E4M3:
		return dtype.E4M3, true
	case F8E5M2:
		return dtype.E5M2, true
	}
	return 0, false
}

// FromFloat returns the name that a header gives to t, and "" for an invalid t.
func FromFloat(t dtype.DType) DType {
	switch t {
	case dtype.F32:
		return F32
	case dtype.F16:
		return F16
	case dtype.BF16:
		return BF16
	case dtype.E4M3:
		return F8E4M3
	case dtype.E5M2:
		return F8E5M2
	}
	return ""
}
