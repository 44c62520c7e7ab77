package quant

import "kvcompress/ref/vec"

// ReadChannels reads consecutive tokens of one group of keys that is packed by [Groups.PackBytes], from token first
// of the group on: dst is [tokens, D], codes [Size·b/8, D], scales and minima [D], D a multiple of 8.
func ReadChannels(dst []float32, codes []byte, scales, minima []float32, bits, first int) {
	d := len(scales)
	for t := range len(dst) / d {
		bit := (first + t) * bits
		row, low := dst[t*d:][:d], codes[bit/8*d:][:d]
		if bit%8+bits <= 8 {
			vec.ReadCodes(row, low, scales, minima, bit%8, bits)
			continue
		}
		high, mask := codes[(bit/8+1)*d:][:d], uint(1)<<bits-1
		for j := range row {
			code := (uint(low[j]) | uint(high[j])<<8) >> (bit % 8) & mask
			row[j] = float32(float32(code)*scales[j]) + minima[j]
		}
	}
}

// ReadTokens reads consecutive tokens whose groups are channels, each packed by [Groups.PackBytes]
// and stride bytes behind the one before: dst is [tokens, D], and numbers [tokens, 2, D/Size] the scales
// and the minima of each.
func ReadTokens(dst []float32, codes []byte, stride int, numbers []float32, d, size, bits int) {
	vec.ReadLines(dst, codes, stride, numbers, d, size, bits)
}
