package vec

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestReadCodes holds the loops against their twins, over every length, shift and number of bits.
func TestReadCodes(t *testing.T) {
	eachISA(t, func(t *testing.T, s isa) {
		r := rand.New(rand.NewPCG(1, 30))
		for n := 8; n <= MaxD; n += 8 {
			for bits := 1; bits <= 8; bits++ {
				for shift := 0; shift+bits <= 8; shift++ {
					kind := kinds[r.IntN(len(kinds))]
					codes, scales, minima := make([]byte, n), draw(r, n, kind.draw), draw(r, n, kind.draw)
					for i := range codes {
						codes[i] = byte(r.Uint32())
					}
					want := make([]float32, n)
					readCodesPlain(want, codes, scales, minima, shift, bits)
					got, check := guarded(t, make([]float32, n))
					s.readCodes(got, codes, scales, minima, shift, bits)
					check()
					sameBits(t, got, want)
				}
			}
		}
	})
}

// TestReadLines does the same for lines, with and without bytes behind them.
func TestReadLines(t *testing.T) {
	eachISA(t, func(t *testing.T, s isa) {
		r := rand.New(rand.NewPCG(1, 31))
		for d := 8; d <= MaxD; d += 8 {
			for bits := 1; bits <= 8; bits++ {
				for _, size := range []int{1, 2, 4, 8, 16, 32, d} {
					if d%size != 0 {
						continue
					}
					for _, behind := range []int{0, 3, 8} {
						kind := kinds[r.IntN(len(kinds))]
						rows, stride := 1+r.IntN(4), d*bits/8+r.IntN(20)
						all := make([]byte, (rows-1)*stride+d*bits/8+behind)
						for i := range all {
							all[i] = byte(r.Uint32())
						}
						lines := slices.Clip(all)[:len(all)-behind]
						numbers := draw(r, 2*rows*d/size, kind.draw)
						want := make([]float32, rows*d)
						readLinesPlain(want, lines, stride, numbers, d, size, bits)
						got, check := guarded(t, make([]float32, rows*d))
						s.readLines(got, lines, stride, numbers, d, size, bits)
						check()
						sameBits(t, got, want)
					}
				}
			}
		}
	})
}

// BenchmarkRead reads a row of 128 codes of 4 and of 2 bits, as keys lie, and 16, as values do; the bytes
// that it counts are those that the rows have as f16.
func BenchmarkRead(b *testing.B) {
	for _, s := range supported {
		for _, bits := range []int{4, 2} {
			dst, line := make([]float32, benchD), make([]byte, benchD+8)
			scales, minima := make([]float32, benchD), make([]float32, benchD)
			rows, lines, numbers := make([]float32, benchRows*benchD), make([]byte, benchRows*80+8), make([]float32, benchRows*2*benchD/32)
			b.Run(fmt.Sprintf("%s/keys of %d bits", s, bits), func(b *testing.B) {
				b.SetBytes(benchD * 2)
				for b.Loop() {
					s.readCodes(dst, line[:benchD], scales, minima, bits, bits)
				}
			})
			b.Run(fmt.Sprintf("%s/values of %d bits", s, bits), func(b *testing.B) {
				b.SetBytes(benchRows * benchD * 2)
				for b.Loop() {
					s.readLines(rows, lines, 80, numbers, benchD, 32, bits)
				}
			})
		}
	}
}
