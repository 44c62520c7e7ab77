package quant

import "kvcompress/ref/vec"

// ReadChannels reads consecutive tokens of one group of keys that is packed by [Groups.PackBytes], from token first
// of the group on: dst is [tokens, D], codes [Size·b/8, D], scales and minima [D], D a multiple of 8.
func ReadChannels(dst []float32, codes []byte, scales, minima []float32, bits, first int) {
	vec.ReadChannels(dst, codes, scales, minima, bits, first)
}

// ReadTokens reads consecutive tokens whose groups are channels, each packed by [Groups.PackBytes]
// and stride bytes behind the one before: dst is [tokens, D], and numbers [tokens, 2, D/Size] the scales
// and the minima of each.
func ReadTokens(dst []float32, codes []byte, stride int, numbers []float32, d, size, bits int) {
	vec.ReadLines(dst, codes, stride, numbers, d, size, bits)
}
