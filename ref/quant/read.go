package quant

// ReadChannels reads consecutive tokens of one group of keys that is packed by [Groups.PackBytes], from token first
// of the group on: dst is [tokens, D], codes [Size·b/8, D], scales and minima [D].
func ReadChannels(dst []float32, codes []byte, scales, minima []float32, bits, first int) {
	d := len(scales)
	mask := uint(1)<<bits - 1
	for t := range len(dst) / d {
		bit := (first + t) * bits
		low := codes[bit/8*d:][:d]
		high := low // of no use where a code lies in one byte
		if bit%8+bits > 8 {
			high = codes[(bit/8+1)*d:][:d]
		}
		row := dst[t*d:][:d]
		for j := range row {
			code := (uint(low[j]) | uint(high[j])<<8) >> (bit % 8) & mask
			row[j] = float32(float32(code)*scales[j]) + minima[j]
		}
	}
}

// ReadToken reads one token whose groups are channels, packed by [Groups.PackBytes]: dst is
// [D], codes [D·b/8], scales and minima [D/Size].
func ReadToken(dst []float32, codes []byte, scales, minima []float32, bits int) {
	size := len(dst) / len(scales)
	mask := uint(1)<<bits - 1
	for j := range dst {
		bit := j * bits
		code := uint(codes[bit/8])
		if bit%8+bits > 8 {
			code |= uint(codes[bit/8+1]) << 8
		}
		dst[j] = float32(float32(code>>(bit%8)&mask)*scales[j/size]) + minima[j/size]
	}
}
