package llama

import (
	"testing"

	"kvcompress/dtype"
)

// A matrix of the size of Llama-3.1-8B's, times one token and a batch of them.
func BenchmarkMultiply(b *testing.B) {
	const rows, cols = 4096, 4096
	for _, format := range []dtype.DType{dtype.F32, dtype.F16, dtype.BF16} {
		m, err := newMatrix(rows, cols, format, make([]byte, rows*cols*format.Size()))
		if err != nil {
			b.Fatal(err)
		}
		for name, n := range map[string]int{"decode": 1, "prefill": feedBatch} {
			b.Run(format.String()+"/"+name, func(b *testing.B) {
				w := newWorkers()
				dst, x := make([]float32, n*rows), make([]float32, n*cols)
				for b.Loop() {
					w.multiply(dst, &m, x, nil, n)
				}
				b.ReportMetric(2e-9*float64(b.N)*rows*cols*float64(n)/b.Elapsed().Seconds(), "GFLOP/s")
			})
		}
	}
}
