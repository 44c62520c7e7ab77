package quant

import "fmt"

// wordBits is the size of KIVI's int32 words.
const wordBits = 32

// CheckPacked is Check for an array to be packed into words: the codes along the groups' dimension must fill
// whole words.
func (g Groups) CheckPacked(a Array) error {
	if err := g.Check(a); err != nil {
		return err
	}
	if a.Length*g.Bits%wordBits != 0 {
		unit := wordBits
		for n := g.Bits; n%2 == 0; n /= 2 {
			unit /= 2
		}
		return fmt.Errorf("quant: %d codes of %d bits do not fill whole words of %d bits: choose a multiple of %d", a.Length, g.Bits, wordBits, unit)
	}
	return nil
}

// words returns the number of words along the groups' dimension.
func (g Groups) words(a Array) int { return a.Length * g.Bits / wordBits }

// place returns the word, and the lowest bit in it, of the first code of a row. Row o·Length + i has the
// codes (o, i, 0) to (o, i, Inner − 1), which are in consecutive words.
func (g Groups) place(a Array, row int) (at, shift int) {
	bit := row % a.Length * g.Bits
	return (row/a.Length*g.words(a) + bit/wordBits) * a.Inner, bit % wordBits
}

// Bytes returns the payload of an array: packed codes, scales and minima. Per element that is b + 32/Size
// bits with f16 or bf16, and b + 64/Size with f32.
func (g Groups) Bytes(a Array) (int, error) {
	if err := g.CheckPacked(a); err != nil {
		return 0, err
	}
	return a.Outer*g.words(a)*a.Inner*wordBits/8 + 2*g.groups(a)*g.Type.Size(), nil
}

// checkCodes returns an error unless there is one code of at most b bits for each element.
func (g Groups) checkCodes(a Array, codes []uint8) error {
	if len(codes) != a.elements() {
		return fmt.Errorf("quant: %d codes, want %d", len(codes), a.elements())
	}
	for i, c := range codes {
		if c>>g.Bits != 0 {
			return fmt.Errorf("quant: code %d is %d, more than %d bits hold", i, c, g.Bits)
		}
	}
	return nil
}

// Pack packs codes [Outer, Length, Inner] into words [Outer, Length·b/32, Inner]: code i is bits i·b to i·b +
// b − 1 of the words along the groups' dimension, lowest bit of the first word first. With 1, 2, 4 and 8 bits
// this is pack_tensor of jy-yuan/KIVI@876b4d2 (quant/new_pack.py). With other sizes, which KIVI does not
// have, a code may span two words.
func (g Groups) Pack(a Array, codes []uint8) ([]uint32, error) {
	if err := g.CheckPacked(a); err != nil {
		return nil, err
	}
	if err := g.checkCodes(a, codes); err != nil {
		return nil, err
	}
	words := make([]uint32, a.Outer*g.words(a)*a.Inner)
	for row := range a.Outer * a.Length {
		at, shift := g.place(a, row)
		for j, c := range codes[row*a.Inner:][:a.Inner] {
			words[at+j] |= uint32(c) << shift
			if shift+g.Bits > wordBits {
				words[at+a.Inner+j] |= uint32(c) >> (wordBits - shift)
			}
		}
	}
	return words, nil
}

// Unpack is the inverse of Pack.
func (g Groups) Unpack(a Array, words []uint32) ([]uint8, error) {
	if err := g.CheckPacked(a); err != nil {
		return nil, err
	}
	if want := a.Outer * g.words(a) * a.Inner; len(words) != want {
		return nil, fmt.Errorf("quant: %d words, want %d", len(words), want)
	}
	codes := make([]uint8, a.elements())
	mask := uint32(1)<<g.Bits - 1
	for row := range a.Outer * a.Length {
		at, shift := g.place(a, row)
		to := codes[row*a.Inner:][:a.Inner]
		for j := range to {
			c := words[at+j] >> shift
			if shift+g.Bits > wordBits {
				c |= words[at+a.Inner+j] << (wordBits - shift)
			}
			to[j] = uint8(c & mask)
		}
	}
	return codes, nil
}

// PackBytes packs codes [Outer, Length, Inner] into bytes [Outer, Length·b/8, Inner]. Along the groups'
// dimension they are the bytes of Pack's words in little-endian order, but need only fill whole bytes.
func (g Groups) PackBytes(a Array, codes []uint8) ([]byte, error) {
	if err := g.Check(a); err != nil {
		return nil, err
	}
	if a.Length*g.Bits%8 != 0 {
		return nil, fmt.Errorf("quant: %d codes of %d bits do not fill whole bytes: choose a multiple of 8", a.Length, g.Bits)
	}
	if err := g.checkCodes(a, codes); err != nil {
		return nil, err
	}
	line := a.Length * g.Bits / 8
	packed := make([]byte, a.Outer*line*a.Inner)
	for row := range a.Outer * a.Length {
		bit := row % a.Length * g.Bits
		to := packed[(row/a.Length*line+bit/8)*a.Inner:]
		for j, c := range codes[row*a.Inner:][:a.Inner] {
			to[j] |= c << (bit % 8)
			if bit%8+g.Bits > 8 {
				to[a.Inner+j] |= c >> (8 - bit%8)
			}
		}
	}
	return packed, nil
}

// checkNibbles returns an error if FlexGen's packing does not support the array.
func (g Groups) checkNibbles(a Array) error {
	if err := g.Check(a); err != nil {
		return err
	}
	if g.Bits != 4 || g.Size%2 != 0 {
		return fmt.Errorf("quant: FlexGen packs codes of 4 bits in groups of an even size, not of %d bits in groups of %d", g.Bits, g.Size)
	}
	return nil
}

// PackNibbles packs 4-bit codes [Outer, Length, Inner] into bytes [Outer, Length/2, Inner] as FlexGen does
// (compress of FMInference/FlexiGen@863ae9a, flexgen/compression.py): of two consecutive codes along the
// groups' dimension, the first is the upper half of the byte.
func (g Groups) PackNibbles(a Array, codes []uint8) ([]byte, error) {
	if err := g.checkNibbles(a); err != nil {
		return nil, err
	}
	if err := g.checkCodes(a, codes); err != nil {
		return nil, err
	}
	packed := make([]byte, len(codes)/2)
	for k := range packed {
		first := k/a.Inner*2*a.Inner + k%a.Inner
		packed[k] = codes[first]<<4 | codes[first+a.Inner]
	}
	return packed, nil
}

// UnpackNibbles is the inverse of PackNibbles.
func (g Groups) UnpackNibbles(a Array, packed []byte) ([]uint8, error) {
	if err := g.checkNibbles(a); err != nil {
		return nil, err
	}
	if want := a.elements() / 2; len(packed) != want {
		return nil, fmt.Errorf("quant: %d bytes, want %d", len(packed), want)
	}
	codes := make([]uint8, a.elements())
	for k, p := range packed {
		first := k/a.Inner*2*a.Inner + k%a.Inner
		codes[first], codes[first+a.Inner] = p>>4, p&15
	}
	return codes, nil
}
