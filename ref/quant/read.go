package quant

import "kvcompress/ref/vec"

// ReadChannels decodes consecutive tokens, starting at token first, of one group of keys packed by
// [Groups.PackBytes]: dst is [tokens, D], codes [Size·b/8, D], scales and minima [D], D a multiple of 8.
func ReadChannels(dst []float32, codes []byte, scales, minima []float32, bits, first int) {
	vec.ReadChannels(dst, codes, scales, minima, bits, first)
}

// ReadTokens decodes consecutive tokens in groups of channels. Each token is packed by [Groups.PackBytes];
// tokens are stride bytes apart. dst is [tokens, D], and numbers [tokens, 2, D/Size] has each token's scales,
// then its minima.
func ReadTokens(dst []float32, codes []byte, stride int, numbers []float32, d, size, bits int) {
	vec.ReadLines(dst, codes, stride, numbers, d, size, bits)
}
