package vec

import "fmt"

// ReadCodes reads codes that lie in one byte each, of a scale and a minimum each:
//
//	for i := range dst {
//		code := codes[i] >> shift & (1<<bits - 1)
//		dst[i] = float32(code)*scales[i] + minima[i]
//	}
//
// All have the length of dst, a multiple of 8. The product is rounded before it is added.
func ReadCodes(dst []float32, codes []byte, scales, minima []float32, shift, bits int) {
	n := len(dst)
	if n%8 != 0 || len(codes) != n || len(scales) != n || len(minima) != n || shift < 0 || bits < 1 || shift+bits > 8 {
		panic(fmt.Sprintf("vec: ReadCodes: %d numbers of %d codes, %d scales and %d minima, %d bits from bit %d on", n, len(codes), len(scales), len(minima), bits, shift))
	}
	if n > 0 {
		best.readCodes(dst, codes, scales, minima, shift, bits)
	}
}

// ReadLines reads lines of codes that lie one after the other in each, from the lowest bit of its
// first byte on, and of which size share a scale and a minimum:
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
// numbers is [rows, 2, groups]: the scales of a line and its minima. bits is 1 to 8, d·bits a
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

func readCodesPlain(dst []float32, codes []byte, scales, minima []float32, shift, bits int) {
	mask := byte(1<<bits - 1)
	for i := range dst {
		dst[i] = float32(float32(codes[i]>>shift&mask)*scales[i]) + minima[i]
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
