package validate

import (
	"fmt"

	"kvcompress/dtype"
	"kvcompress/kv"
	"kvcompress/ref/quant"
)

// compareKIVI compares the packed codes, scales and minima of one recorded array, and the values read back
// from the recorded codes, all to the bit. Codes of a group with scale 0 are not compared: the published code
// divides by it.
func compareKIVI(c *methodCase) (CaseResult, error) {
	var (
		which                                   string
		batch, heads, tokens, dim, group, nbits int
	)
	input := "f32"
	if err := (fields{
		"which": &which, "batch": &batch, "heads": &heads, "tokens": &tokens, "dim": &dim, "group": &group, "bits": &nbits,
	}).decode(c.found); err != nil {
		return CaseResult{}, err
	}
	if err := (fields{"input_dtype": &input}).optional(c.found); err != nil {
		return CaseResult{}, err
	}
	if err := checkQuantShape(batch, heads, tokens, dim, group); err != nil {
		return CaseResult{}, err
	}
	result := CaseResult{
		Detail:   fmt.Sprintf("%s, %d × %d heads, %d tokens of %d, %d bits in groups of %d", which, batch, heads, tokens, dim, nbits, group),
		Compared: "codes, scales, minima and dequantized values, to the bit",
	}
	if input != "f32" {
		result.Skipped = fmt.Sprintf("input_dtype %s: the published code rounds every step to it, and here every step is binary32", input)
		return result, nil
	}
	var (
		shape  quant.Array
		packed []int // dimensions of the recorded codes
		scales []int
	)
	g := quant.Groups{Bits: nbits, Size: group, Type: dtype.F32}
	switch which {
	case "key":
		shape = quant.Keys(batch*heads, tokens, dim)
		packed, scales = []int{batch, heads, tokens * nbits / 32, dim}, []int{batch, heads, tokens / group, 1, dim}
	case "value":
		shape = quant.Values(batch*heads, tokens, dim)
		packed, scales = []int{batch, heads, tokens, dim * nbits / 32}, []int{batch, heads, tokens, dim / group, 1}
	default:
		return CaseResult{}, fmt.Errorf(`"which": %q is neither "key" nor "value"`, which)
	}
	if err := g.CheckPacked(shape); err != nil {
		return CaseResult{}, err
	}
	x, err := c.floats("x", batch, heads, tokens, dim)
	if err != nil {
		return CaseResult{}, err
	}
	codes, err := c.ints("code", packed...)
	if err != nil {
		return CaseResult{}, err
	}
	recorded := quant.Quantized{}
	if recorded.Scales, err = c.floats("scale", scales...); err != nil {
		return CaseResult{}, err
	}
	if recorded.Minima, err = c.floats("minimum", scales...); err != nil {
		return CaseResult{}, err
	}
	want, err := c.floats("dequantised", batch, heads, tokens, dim)
	if err != nil {
		return CaseResult{}, err
	}
	q, err := g.Quantize(shape, x)
	if err != nil {
		return CaseResult{}, err
	}
	words, err := g.Pack(shape, q.Codes)
	if err != nil {
		return CaseResult{}, err
	}
	mask, constant, err := definedCodes(g, shape, q.Scales)
	if err != nil {
		return CaseResult{}, err
	}
	if constant > 0 {
		result.Detail += fmt.Sprintf("; %d groups have scale 0, so no codes to compare", constant)
	}
	recordedWords := make([]uint32, len(codes))
	differs := func(name string, i int, got, want any) {
		if result.Mismatch == "" {
			result.Mismatch = fmt.Sprintf("%s[%d]: %v, %v recorded", name, i, got, want)
		}
	}
	for i := range codes {
		recordedWords[i] = uint32(codes[i])
		if (words[i]^recordedWords[i])&mask[i] != 0 {
			differs("code", i, fmt.Sprintf("%08x", words[i]), fmt.Sprintf("%08x", recordedWords[i]))
		}
	}
	for i := range q.Scales {
		if q.Scales[i] != recorded.Scales[i] {
			differs("scale", i, q.Scales[i], recorded.Scales[i])
		}
		if q.Minima[i] != recorded.Minima[i] {
			differs("minimum", i, q.Minima[i], recorded.Minima[i])
		}
	}
	if recorded.Codes, err = g.Unpack(shape, recordedWords); err != nil {
		return CaseResult{}, err
	}
	back, err := g.Dequantize(shape, recorded)
	if err != nil {
		return CaseResult{}, err
	}
	for i := range want {
		if back[i] != want[i] {
			differs("dequantised", i, back[i], want[i])
		}
	}
	result.Values = len(words) + 2*len(q.Scales) + len(want)
	return result, nil
}

// definedCodes returns the bits of the packed words that the published code defines, and the number of groups
// with scale 0. The codes of such groups come from a division by 0: the NaN converts to the int32 −2³¹. Its
// shift moves that bit out of the word, except for the word's first code, which sets the word's highest bit,
// although the bit may belong to another group.
func definedCodes(g quant.Groups, a quant.Array, scales []float32) (mask []uint32, constant int, err error) {
	codes := make([]uint8, a.Outer*a.Length*a.Inner)
	n := a.Length / g.Size
	scale := func(o, i, j int) float32 { return scales[(o*n+i/g.Size)*a.Inner+j] }
	for k := range codes {
		if scale(k/a.Inner/a.Length, k/a.Inner%a.Length, k%a.Inner) != 0 {
			codes[k] = uint8(1<<g.Bits - 1)
		}
	}
	for _, s := range scales {
		if s == 0 {
			constant++
		}
	}
	if mask, err = g.Pack(a, codes); err != nil {
		return nil, 0, err
	}
	words := a.Length * g.Bits / 32
	for k := range mask {
		first := k / a.Inner % words * 32 / g.Bits
		if scale(k/a.Inner/words, first, k%a.Inner) == 0 {
			mask[k] &^= 1 << 31
		}
	}
	return mask, constant, nil
}

// compareFlexGen compares the values read back from one recorded quantized array, to the bit. Groups with
// scale 0 are not compared: the published code makes them NaN.
func compareFlexGen(c *methodCase) (CaseResult, error) {
	var (
		axis                      string
		tokens, dim, group, nbits int
	)
	if err := (fields{"axis": &axis, "tokens": &tokens, "dim": &dim, "group": &group, "bits": &nbits}).decode(c.found); err != nil {
		return CaseResult{}, err
	}
	batch, heads := c.leading("x")
	if err := checkQuantShape(batch, heads, tokens, dim, group); err != nil {
		return CaseResult{}, err
	}
	x, err := c.floats("x", batch, heads, tokens, dim)
	if err != nil {
		return CaseResult{}, err
	}
	recorded, err := c.anyFloats("y", batch, heads, tokens, dim)
	if err != nil {
		return CaseResult{}, err
	}
	result := CaseResult{
		Detail:   fmt.Sprintf("by %s, %d × %d heads, %d tokens of %d, %d bits in groups of %d", axis, batch, heads, tokens, dim, nbits, group),
		Compared: "dequantized values, to the bit",
		Values:   len(x),
	}
	g := quant.Groups{Bits: nbits, Size: group, Type: dtype.F32}
	var shape quant.Array
	switch axis {
	case "token":
		shape = quant.Values(batch*heads, tokens, dim)
	case "channel":
		g.Margin = quant.ChannelMargin
		if shape, x, err = quant.Pad(quant.Keys(batch*heads, tokens, dim), x, group); err != nil {
			return CaseResult{}, err
		}
	default:
		return CaseResult{}, fmt.Errorf(`"axis": %q is neither "token" nor "channel"`, axis)
	}
	q, err := g.Quantize(shape, x)
	if err != nil {
		return CaseResult{}, err
	}
	got, err := g.Dequantize(shape, q)
	if err != nil {
		return CaseResult{}, err
	}
	undefined := 0
	for i, want := range recorded {
		at := i
		if axis == "channel" { // skip the padding
			at += i / (tokens * dim) * (shape.Length - tokens) * dim
		}
		o, j := at/shape.Inner/shape.Length, at%shape.Inner
		scale := q.Scales[(o*(shape.Length/group)+at/shape.Inner%shape.Length/group)*shape.Inner+j]
		if want != want && scale == 0 {
			undefined++
		} else if got[at] != want && result.Mismatch == "" {
			result.Mismatch = fmt.Sprintf("y[%d]: %g, %g recorded", i, got[at], want)
		}
	}
	if undefined > 0 {
		result.Detail += fmt.Sprintf("; %d values are NaN in the published code, of groups with scale 0", undefined)
		result.Values -= undefined
	}
	return result, nil
}

// leading returns the first two of the four dimensions of the case's tensor of this name; 0 if it has none.
func (c *methodCase) leading(name string) (batch, heads int) {
	if c.tensors == nil {
		return 0, 0
	}
	info, ok := c.tensors.Tensor(c.id + "." + name)
	if !ok || len(info.Shape) != 4 {
		return 0, 0
	}
	return int(info.Shape[0]), int(info.Shape[1])
}

// maxCaseGroup bounds a group of quantized elements, and so the padding of a recorded array.
const maxCaseGroup = 1 << 10

// checkQuantShape bounds the dimensions of a recorded array, including padding.
func checkQuantShape(batch, heads, tokens, dim, group int) error {
	for _, f := range []struct {
		name       string
		value, top int
	}{{"batch", batch, maxCaseHeads}, {"heads", heads, maxCaseHeads}, {"tokens", tokens, maxCaseKVs}, {"dim", dim, kv.MaxHeadSize}, {"group", group, maxCaseGroup}} {
		if f.value < 1 || f.value > f.top {
			return fmt.Errorf("%s is %d, want 1 to %d", f.name, f.value, f.top)
		}
	}
	if rows := batch * heads; (tokens+group)*dim > maxCaseElements/rows {
		return fmt.Errorf("%d × %d heads of %d tokens of %d in groups of %d: more than %d elements", batch, heads, tokens, dim, group, maxCaseElements)
	}
	return nil
}
