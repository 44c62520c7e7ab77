// Package quant is the arithmetic of quantized groups: keys and values as codes of a few bits, with a scale
// and a minimum for each group (KIVI, arXiv 2402.02750; FlexGen, arXiv 2303.06865).
//
// A group is a run of consecutive elements along one dimension: for keys consecutive tokens of one channel,
// for values consecutive channels of one token. With M and m the largest and smallest element of a group of
// b-bit codes:
//
//	scale = (M − m + margin) / (2ᵇ − 1)        rounded to the cache's type
//	code  = round(min((x − m) / scale, 2ᵇ − 1))    half to even; 0 if scale is 0
//	x̂     = code·scale + m
//
// All functions are pure. NUMERICS.md, "Quantized groups", specifies the arithmetic to the bit and derives a
// bound of |x − x̂|.
package quant

import (
	"fmt"
	"math"

	"kvcompress/dtype"
	"kvcompress/internal/ceil"
)

// Groups says how groups are quantized. KIVI, and FlexGen per token, have no margin.
type Groups struct {
	Bits   int         // bits of a code, 1 to MaxBits
	Size   int         // elements of a group
	Type   dtype.DType // of the elements, the scales and the minima: F32, F16 or BF16
	Margin float32     // added to every group's range, at least 0
}

// MaxBits is the largest number of bits of a code: an unpacked code is a byte.
const MaxBits = 8

// ChannelMargin is the margin of FlexGen per channel in henryzhongsc/longctx_bench@72204d0 (utils_quant.py).
// In binary32 it keeps the scale of a constant group above 0.
const ChannelMargin = 2e-6

// Array is the shape of an array with groups along its middle dimension. Element (o, i, j) is at index
// (o·Length + i)·Inner + j. With n = Length/Size, the scale and minimum of its group are at (o·n +
// i/Size)·Inner + j.
type Array struct{ Outer, Length, Inner int }

// Keys is the shape of keys [heads, tokens, headSize] in groups of tokens of a channel.
func Keys(heads, tokens, headSize int) Array { return Array{heads, tokens, headSize} }

// Values is the shape of values [heads, tokens, headSize] in groups of channels of a token. FlexGen also
// quantizes keys in this shape.
func Values(heads, tokens, headSize int) Array { return Array{heads * tokens, headSize, 1} }

// Quantized is an array in quantized groups.
type Quantized struct {
	Codes  []uint8   // [Outer, Length, Inner]
	Scales []float32 // [Outer, Length/Size, Inner], numbers of the type
	Minima []float32 // [Outer, Length/Size, Inner]; never −0
}

// maxElements bounds an array, so that no product of its dimensions overflows.
const maxElements = 1 << 40

// top returns the largest code, 2ᵇ − 1.
func (g Groups) top() float32 { return float32(uint(1)<<g.Bits - 1) }

// round returns x rounded to the type, ties to even.
func (g Groups) round(x float32) float32 {
	switch g.Type {
	case dtype.F16:
		return dtype.F16ToF32(dtype.F32ToF16(x))
	case dtype.BF16:
		return dtype.BF16ToF32(dtype.F32ToBF16(x))
	default:
		return x
	}
}

// Check returns an error if the array does not consist of whole groups, or if the groups are invalid; the
// error says what would work.
func (g Groups) Check(a Array) error {
	switch {
	case g.Bits < 1 || g.Bits > MaxBits:
		return fmt.Errorf("quant: codes of %d bits: choose 1 to %d", g.Bits, MaxBits)
	case g.Size < 1:
		return fmt.Errorf("quant: groups of %d elements: choose at least 1", g.Size)
	case g.Type != dtype.F32 && g.Type != dtype.F16 && g.Type != dtype.BF16:
		return fmt.Errorf("quant: elements of type %d: choose f32, f16 or bf16", g.Type)
	case !(g.Margin >= 0 && g.Margin <= math.MaxFloat32):
		return fmt.Errorf("quant: a margin of %g: choose a finite one of at least 0", g.Margin)
	case a.Outer < 1 || a.Length < 1 || a.Inner < 1:
		return fmt.Errorf("quant: an array of %d × %d × %d is empty", a.Outer, a.Length, a.Inner)
	case a.Outer > maxElements/a.Length || a.Inner > maxElements/(a.Outer*a.Length):
		return fmt.Errorf("quant: an array of %d × %d × %d has more than 2⁴⁰ elements", a.Outer, a.Length, a.Inner)
	case a.Length%g.Size != 0:
		return fmt.Errorf("quant: %d elements are not whole groups of %d: choose a multiple of %d, or a group size that divides %d",
			a.Length, g.Size, g.Size, a.Length)
	}
	return nil
}

// groups returns how many groups an array has.
func (g Groups) groups(a Array) int { return a.Outer * (a.Length / g.Size) * a.Inner }

// elements returns how many elements an array has.
func (a Array) elements() int { return a.Outer * a.Length * a.Inner }

// Quantize returns the codes, scales and minima of x. Values must be finite numbers of the type, as those of
// a cache are, so that minima are exact. It refuses a group with a scale beyond the type, or with a largest
// code that would read back as infinity.
func (g Groups) Quantize(a Array, x []float32) (Quantized, error) {
	if err := g.Check(a); err != nil {
		return Quantized{}, err
	}
	if len(x) != a.elements() {
		return Quantized{}, fmt.Errorf("quant: %d elements, want %d", len(x), a.elements())
	}
	for i, v := range x {
		if r := g.round(v); r != v || !(r >= -g.Type.Max() && r <= g.Type.Max()) {
			return Quantized{}, fmt.Errorf("quant: element %d, %g, is not a finite %v: round it first", i, v, g.Type)
		}
	}
	q := Quantized{make([]uint8, len(x)), make([]float32, g.groups(a)), make([]float32, g.groups(a))}
	top := g.top()
	for at := range q.Scales {
		first := (at/a.Inner)*g.Size*a.Inner + at%a.Inner
		low, high := x[first], x[first]
		for i := 1; i < g.Size; i++ {
			v := x[first+i*a.Inner]
			if v < low {
				low = v
			} else if v > high {
				high = v
			}
		}
		low += 0 // −0 becomes +0
		scale := g.round((high - low + g.Margin) / top)
		if reach := float32(top*scale) + low; scale > g.Type.Max() || reach > math.MaxFloat32 {
			return Quantized{}, fmt.Errorf("quant: the group of element %d, from %g to %g, is too wide for %d bits with a scale in %v: choose more bits or a type of a wider range",
				first, low, high, g.Bits, g.Type)
		}
		q.Scales[at], q.Minima[at] = scale, low
		if scale == 0 {
			continue
		}
		for i := range g.Size {
			k := first + i*a.Inner
			quotient := (x[k] - low) / scale
			if quotient > top {
				quotient = top
			}
			q.Codes[k] = uint8(math.RoundToEven(float64(quotient)))
		}
	}
	return q, nil
}

// Dequantize returns x̂ of every element in binary32, not rounded to the type.
func (g Groups) Dequantize(a Array, q Quantized) ([]float32, error) {
	if err := g.Check(a); err != nil {
		return nil, err
	}
	if n := g.groups(a); len(q.Codes) != a.elements() || len(q.Scales) != n || len(q.Minima) != n {
		return nil, fmt.Errorf("quant: %d codes, %d scales and %d minima, want %d, %d and %d",
			len(q.Codes), len(q.Scales), len(q.Minima), a.elements(), n, n)
	}
	x := make([]float32, len(q.Codes))
	for at, scale := range q.Scales {
		first := (at/a.Inner)*g.Size*a.Inner + at%a.Inner
		for i := range g.Size {
			k := first + i*a.Inner
			x[k] = float32(float32(q.Codes[k])*scale) + q.Minima[at]
		}
	}
	return x, nil
}

// Pad appends zeros to x along the groups' dimension, up to whole groups of size elements, and returns the
// new shape and x. FlexGen per channel does this, so the zeros are quantized too and may widen the range of
// the last group.
func Pad(a Array, x []float32, size int) (Array, []float32, error) {
	if a.Outer < 1 || a.Length < 1 || a.Inner < 1 || size < 1 || size > maxElements || a.Length > maxElements {
		return Array{}, nil, fmt.Errorf("quant: no array of %d × %d × %d in groups of %d", a.Outer, a.Length, a.Inner, size)
	}
	padded := a
	padded.Length = ceil.Div(a.Length, size) * size
	if err := (Groups{Bits: 1, Size: size}).Check(padded); err != nil {
		return Array{}, nil, err
	}
	if len(x) != a.elements() {
		return Array{}, nil, fmt.Errorf("quant: %d elements, want %d", len(x), a.elements())
	}
	y := make([]float32, padded.elements())
	row := a.Length * a.Inner
	for o := range a.Outer {
		copy(y[o*padded.Length*a.Inner:], x[o*row:][:row])
	}
	return padded, y, nil
}
