package vec

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestReadChannels compares the loops with their plain twins, for every number of channels and of bits.
func TestReadChannels(t *testing.T) {
	eachISA(t, func(t *testing.T, s isa) {
		r := rand.New(rand.NewPCG(1, 30))
		for d := 8; d <= MaxD; d += 8 {
			for bits := 1; bits <= 8; bits++ {
				for range 4 {
					kind := kinds[r.IntN(len(kinds))]
					first, rows := r.IntN(40), 1+r.IntN(20)
					codes := make([]byte, ((first+rows)*bits+7)/8*d)
					scales, minima := draw(r, d, kind.draw), draw(r, d, kind.draw)
					for i := range codes {
						codes[i] = byte(r.Uint32())
					}
					want := make([]float32, rows*d)
					readChannelsPlain(want, codes, scales, minima, bits, first)
					got, check := guarded(t, make([]float32, rows*d))
					s.readChannels(got, codes, scales, minima, bits, first)
					check()
					sameBits(t, got, want)
				}
			}
		}
	})
}

// TestReadLines does the same for lines, with and without extra bytes at the end.
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

// BenchmarkRead decodes 16 rows of 128 codes of 4 and of 2 bits, stored as keys and as values are. MB/s
// counts the bytes of the rows as f16.
func BenchmarkRead(b *testing.B) {
	for _, s := range supported {
		for _, bits := range []int{4, 2} {
			codes := make([]byte, benchRows*benchD*bits/8)
			scales, minima := make([]float32, benchD), make([]float32, benchD)
			rows, lines, numbers := make([]float32, benchRows*benchD), make([]byte, benchRows*80+8), make([]float32, benchRows*2*benchD/32)
			b.Run(fmt.Sprintf("%s/keys of %d bits", s, bits), func(b *testing.B) {
				b.SetBytes(benchRows * benchD * 2)
				for b.Loop() {
					s.readChannels(rows, codes, scales, minima, bits, 0)
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
