package vec

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"kvcompress/dtype"
)

// The benchmarks of single loops work on one block in the L1 cache. MB/s counts the bytes of K or V as f16.
const (
	benchD    = 128
	benchRows = 16
)

func BenchmarkDots(b *testing.B) {
	for _, s := range supported {
		for _, g := range []int{1, 4, 8} {
			b.Run(fmt.Sprintf("%s/g=%d", s, g), func(b *testing.B) {
				q, k := make([]float32, g*benchD), make([]float32, benchRows*benchD)
				dst := make([]float32, g*benchRows)
				b.SetBytes(benchRows * benchD * 2)
				for b.Loop() {
					s.dots(dst, benchRows, q, k, benchRows, g, benchD)
				}
			})
		}
	}
}

func BenchmarkAccumulate(b *testing.B) {
	for _, s := range supported {
		for _, g := range []int{1, 4, 8} {
			b.Run(fmt.Sprintf("%s/g=%d", s, g), func(b *testing.B) {
				acc, v := make([]float32, g*benchD), make([]float32, benchRows*benchD)
				e := make([]float32, g*benchRows)
				b.SetBytes(benchRows * benchD * 2)
				for b.Loop() {
					s.accumulate(acc, e, benchRows, v, benchRows, g, benchD)
				}
			})
		}
	}
}

func BenchmarkMax(b *testing.B) {
	for _, s := range supported {
		b.Run(s.String(), func(b *testing.B) {
			x := make([]float32, 1024)
			b.SetBytes(4 * 1024)
			for b.Loop() {
				s.max(x)
			}
		})
	}
}

func BenchmarkExpSub(b *testing.B) {
	for _, s := range supported {
		b.Run(s.String(), func(b *testing.B) {
			x, dst := make([]float32, 1024), make([]float32, 1024)
			for i := range x {
				x[i] = -float32(i) / 50
			}
			b.SetBytes(4 * 1024)
			for b.Loop() {
				s.expSub(dst, x, 0)
			}
		})
	}
}

// BenchmarkDecodeAttention runs all of one head's attention, from K and V as f16 in a paged cache far larger
// than the processor's caches, with D = 128 and 4 queries. MB/s counts the bytes of K and V. For comparison
// it also copies the same number of bytes.
func BenchmarkDecodeAttention(b *testing.B) {
	const (
		d, g      = 128, 4
		block     = 16
		blockSize = block * d * 2
		context   = 4096
		heads     = 64
	)
	cache := make([]byte, 2*heads*context*d*2)
	rng := rand.New(rand.NewPCG(1, 1))
	one := make([]float32, block*d)
	for i := range one {
		one[i] = float32(rng.NormFloat64())
	}
	for at := 0; at < len(cache); at += blockSize {
		dtype.F16.Encode(cache[at:], one)
	}
	table := rng.Perm(len(cache) / blockSize)
	q := one[:g*d]
	other := make([]byte, len(cache))

	head := func(s isa, blocks []int, scores, tile, acc []float32) {
		for i, physical := range blocks[:len(blocks)/2] {
			dtype.F16.Decode(tile, cache[physical*blockSize:])
			Prefetch(cache[blocks[i+1]*blockSize:][:blockSize])
			s.dots(scores[i*block:(g-1)*context+(i+1)*block], context, q, tile, block, g, d)
		}
		for j := range g {
			row := scores[j*context : (j+1)*context]
			s.expSub(row, row, s.max(row))
		}
		clear(acc)
		for i, physical := range blocks[len(blocks)/2:] {
			dtype.F16.Decode(tile, cache[physical*blockSize:])
			Prefetch(cache[blocks[min(len(blocks)/2+i+1, len(blocks)-1)]*blockSize:][:blockSize])
			s.accumulate(acc, scores[i*block:(g-1)*context+(i+1)*block], context, tile, block, g, d)
		}
	}
	perHead := len(table) / heads
	for _, workers := range []int{1, 2} {
		// share divides the heads, or pieces of a copy, among the workers.
		share := func(b *testing.B, work func(h int)) {
			b.SetBytes(int64(len(cache)))
			for b.Loop() {
				var wg sync.WaitGroup
				for w := range workers {
					wg.Go(func() {
						for h := w; h < heads; h += workers {
							work(h)
						}
					})
				}
				wg.Wait()
			}
		}
		for _, s := range supported {
			b.Run(fmt.Sprintf("%s/workers=%d", s, workers), func(b *testing.B) {
				var mu sync.Mutex
				var free [][3][]float32
				share(b, func(h int) {
					mu.Lock()
					if len(free) == 0 {
						free = append(free, [3][]float32{make([]float32, g*context), make([]float32, block*d), make([]float32, g*d)})
					}
					own := free[len(free)-1]
					free = free[:len(free)-1]
					mu.Unlock()
					head(s, table[h*perHead:(h+1)*perHead], own[0], own[1], own[2])
					mu.Lock()
					free = append(free, own)
					mu.Unlock()
				})
			})
		}
		b.Run(fmt.Sprintf("copy/workers=%d", workers), func(b *testing.B) {
			piece := len(cache) / heads
			share(b, func(h int) {
				copy(other[h*piece:(h+1)*piece], cache[h*piece:(h+1)*piece])
			})
		})
	}
}
