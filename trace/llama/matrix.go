package llama

import (
	"fmt"
	"math"

	"kvcompress/dtype"
)

// matrix is a weight matrix in the number format of its file. Rows are decoded
// when they are used; binary32 needs no decoding and is stored as []float32.
type matrix struct {
	rows, cols int
	numbers    []float32 // if the format is F32, else nil
	format     dtype.DType
	raw        []byte
}

// newMatrix takes ownership of raw, which holds rows·cols numbers, little endian.
// Weights that are not finite are an error here, because otherwise they would only
// show up much later, as NaNs in a trace.
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

// row returns row r. If it has to be decoded, the result is in buf.
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
// Each element of the result is one dot product. Its order of addition does not
// depend on n or on the number of workers.
func (w *workers) multiply(dst []float32, m *matrix, x, bias []float32, n int) {
	w.each((m.rows+3)/4, 4*m.cols*n, func(worker, block int) {
		first := 4 * block
		buf := w.scratch(worker, 4*m.cols)
		var rows [4][]float32
		count := min(4, m.rows-first)
		for i := range rows { // the last block repeats its last row if it has fewer than four
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
