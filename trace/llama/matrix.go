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
	w.each((m.rows+3)/4, 4*m.cols*n, func(worker, block int) {
		first := 4 * block
		buf := w.scratch(worker, 4*m.cols)
		var rows [4][]float32
		count := min(4, m.rows-first)
		for i := range rows { // what is missing of the last four is a row again
			rows[i] = m.row(first+min(i, count-1), buf[i*m.cols:(i+1)*m.cols])
		}
		for t := range n {
			sums := dots(x[t*m.cols:(t+1)*m.cols], &rows)
			out := dst[t*m.rows+first:]
			copy(out[:count], sums[:])
			if bias != nil {
				add(out[:count], bias[first:])
			}
		}
	})
}

// addScaled adds s·x to dst.
func addScaled(dst, x []float32, s float32) {
	x = x[:len(dst)]
	for i := range dst {
		dst[i] += float32(s * x[i])
	}
}
