package llama

import (
	"fmt"
	"math"

	"kvcompress/dtype"
)

// matrix is a weight matrix in the number format of its file. Rows are decoded
// as they are needed, except that binary32, which needs no decoding, is kept as
// numbers.
type matrix struct {
	rows, cols int
	numbers    []float32 // if the format is F32, else nil
	format     dtype.DType
	raw        []byte
}

// newMatrix takes over raw, which holds rows·cols numbers, little endian. It
// refuses weights that are not finite: they would only show up much later, as
// nonsense in a trace.
func newMatrix(rows, cols int, format dtype.DType, raw []byte) (matrix, error) {
	m := matrix{rows: rows, cols: cols, format: format, raw: raw}
	if format == dtype.F32 {
		m.numbers = make([]float32, rows*cols)
		format.Decode(m.numbers, raw)
		m.raw = nil
	}
	buf := make([]float32, cols)
	for r := range rows {
		if c := firstNotFinite(m.row(r, buf)); c >= 0 {
			return matrix{}, fmt.Errorf("row %d, column %d is not a finite number", r, c)
		}
	}
	return m, nil
}

// row returns row r, in buf if it had to be decoded.
func (m *matrix) row(r int, buf []float32) []float32 {
	if m.numbers != nil {
		return m.numbers[r*m.cols : (r+1)*m.cols]
	}
	buf = buf[:m.cols]
	m.format.Decode(buf, m.raw[r*m.cols*m.format.Size():])
	return buf
}

func firstNotFinite(x []float32) int {
	const exponent = 0xff << 23
	for i, v := range x {
		if math.Float32bits(v)&exponent == exponent {
			return i
		}
	}
	return -1
}

// multiply sets dst[t] = m·x[t] (+ bias, if it is not nil) for each of n
// vectors. dst is [n, rows], x is [n, cols].
//
// Each number is one dot, whose order of addition does not depend on n or on the
// number of workers.
func (w *workers) multiply(dst []float32, m *matrix, x, bias []float32, n int) {
	w.each(m.rows, m.cols*n, func(worker, r int) {
		row := m.row(r, w.scratch(worker, m.cols))
		for t := range n {
			sum := dot(row, x[t*m.cols:(t+1)*m.cols])
			if bias != nil {
				sum += bias[r]
			}
			dst[t*m.rows+r] = sum
		}
	})
}

// dot returns a·b, summed in eight interleaved parts, so that an addition need
// not wait for the one before it.
func dot(a, b []float32) float32 {
	b = b[:len(a)]
	var s0, s1, s2, s3, s4, s5, s6, s7 float32
	for len(a) >= 8 && len(b) >= 8 {
		s0 += float32(a[0] * b[0]) // the conversions keep compilers from fusing
		s1 += float32(a[1] * b[1])
		s2 += float32(a[2] * b[2])
		s3 += float32(a[3] * b[3])
		s4 += float32(a[4] * b[4])
		s5 += float32(a[5] * b[5])
		s6 += float32(a[6] * b[6])
		s7 += float32(a[7] * b[7])
		a, b = a[8:], b[8:]
	}
	for i := range a {
		s0 += float32(a[i] * b[i])
	}
	return ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))
}

// addScaled adds s·x to dst.
func addScaled(dst, x []float32, s float32) {
	x = x[:len(dst)]
	for i := range dst {
		dst[i] += float32(s * x[i])
	}
}
