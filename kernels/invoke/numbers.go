package invoke

import (
	"encoding/binary"
	"math"
	"strconv"

	"kvcompress/safetensors"
)

// Number is a float64 whose infinities are "+Inf" and "-Inf" in JSON.
type Number float64

// MarshalJSON implements json.Marshaler.
func (n Number) MarshalJSON() ([]byte, error) {
	if math.IsInf(float64(n), 0) || n != n {
		return strconv.AppendQuote(nil, strconv.FormatFloat(float64(n), 'g', -1, 64)), nil
	}
	return strconv.AppendFloat(nil, float64(n), 'g', -1, 64), nil
}

// numbers summarizes a buffer's numbers.
type numbers struct {
	min, max *Number // nil if all numbers are NaN
	nans     int64
}

// add adds elements of a type. 64-bit integers are rounded.
func (n *numbers) add(t safetensors.DType, raw []byte) {
	if f, ok := t.Float(); ok {
		values := make([]float32, len(raw)/f.Size())
		f.Decode(values, raw)
		for _, v := range values {
			n.one(Number(v))
		}
		return
	}
	size := t.Bits() / 8
	for ; len(raw) >= size; raw = raw[size:] {
		var word [8]byte
		copy(word[:], raw[:size])
		u := binary.LittleEndian.Uint64(word[:])
		switch t {
		case safetensors.F64:
			n.one(Number(math.Float64frombits(u)))
		case safetensors.I8, safetensors.I16, safetensors.I32, safetensors.I64:
			n.one(Number(int64(u<<(64-t.Bits())) >> (64 - t.Bits())))
		default:
			n.one(Number(u))
		}
	}
}

func (n *numbers) one(v Number) {
	switch {
	case v != v:
		n.nans++
	case n.min == nil:
		low, high := v, v
		n.min, n.max = &low, &high
	default:
		*n.min, *n.max = min(*n.min, v), max(*n.max, v)
	}
}
