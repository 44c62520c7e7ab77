package vec

import "fmt"

// ReadChannels decodes consecutive rows, starting at row first, of codes stored channel by channel. The codes
// of channel j are bits of the bytes codes[j], codes[d+j], codes[2d+j], …, lowest bit first, and share one
// scale and minimum:
//
//	for r := range len(dst) / d {
//		for j := range d {
//			code := bits (first+r)·b to (first+r)·b + b − 1 of channel j
//			dst[r*d+j] = float32(code)*scales[j] + minima[j]
//		}
//	}
//
// scales and minima are [d], d is a multiple of 8, b = bits is 1 to 8. The product is rounded before the sum.
func ReadChannels(dst []float32, codes []byte, scales, minima []float32, bits, first int) {
	d := len(scales)
	rows := len(dst) / max(1, d)
	if d%8 != 0 || len(minima) != d || len(dst) != rows*d || bits < 1 || bits > 8 || first < 0 || rows > 0 && len(codes) < ((first+rows)*bits+7)/8*d {
		panic(fmt.Sprintf("vec: ReadChannels: %d numbers from row %d on of %d bytes, %d scales and %d minima, %d bits", len(dst), first, len(codes), d, len(minima), bits))
	}
	if rows > 0 {
		best.readChannels(dst, codes, scales, minima, bits, first)
	}
}

// ReadLines decodes lines of codes. A line is stride bytes; its codes are consecutive, from the lowest bit of
// its first byte on, and each group of size codes shares a scale and a minimum:
//
//	groups := d / size
//	for r := range len(dst) / d {
//		line := lines[r*stride:]
//		for i := range d {
//			code := bits i·b to i·b + b − 1 of line
//			dst[r*d+i] = float32(code)*numbers[2*r*groups+i/size] + numbers[(2*r+1)*groups+i/size]
//		}
//	}
//
// numbers is [rows, 2, groups]: the scales of a line, then its minima. b = bits is 1 to 8, d·bits is a
// multiple of 8, and size divides d.
func ReadLines(dst []float32, lines []byte, stride int, numbers []float32, d, size, bits int) {
	rows := len(dst) / max(1, d)
	if d < 1 || size < 1 || d%size != 0 || len(dst) != rows*d || bits < 1 || bits > 8 || d*bits%8 != 0 || stride < d*bits/8 ||
		len(numbers) != 2*rows*(d/size) || rows > 0 && len(lines) < (rows-1)*stride+d*bits/8 {
		panic(fmt.Sprintf("vec: ReadLines: %d numbers in rows of %d, of %d bytes with stride %d, groups of %d, %d scales and minima, %d bits", len(dst), d, len(lines), stride, size, len(numbers), bits))
	}
	if rows > 0 {
		best.readLines(dst, lines, stride, numbers, d, size, bits)
	}
}

func readChannelsPlain(dst []float32, codes []byte, scales, minima []float32, bits, first int) {
	d, mask := len(scales), uint(1)<<bits-1
	for r := range len(dst) / d {
		bit := (first + r) * bits
		for j := range d {
			code := uint(codes[bit/8*d+j])
			if bit%8+bits > 8 {
				code |= uint(codes[(bit/8+1)*d+j]) << 8
			}
			dst[r*d+j] = float32(float32(code>>(bit%8)&mask)*scales[j]) + minima[j]
		}
	}
}

func readLinesPlain(dst []float32, lines []byte, stride int, numbers []float32, d, size, bits int) {
	mask, groups := uint(1)<<bits-1, d/size
	for r := range len(dst) / d {
		row, line := dst[r*d:][:d], lines[r*stride:][:d*bits/8]
		scales, minima := numbers[2*r*groups:][:groups], numbers[(2*r+1)*groups:][:groups]
		for i := range row {
			bit := i * bits
			code := uint(line[bit/8])
			if bit%8+bits > 8 {
				code |= uint(line[bit/8+1]) << 8
			}
			row[i] = float32(float32(code>>(bit%8)&mask)*scales[i/size]) + minima[i/size]
		}
	}
}
