package ptx

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"

	"kvcompress/dtype"
	"kvcompress/kernels/device"
)

// What the kernels of testdata/foreign compute, in plain Go.

func foreignCases() []kernelCase {
	rng := rand.New(rand.NewPCG(3, 4))
	return slices.Concat(foreignMatmul(rng), foreignSort(rng), foreignHistogram(rng), foreignScan(rng), foreignTranspose(rng),
		foreignNorm(rng), foreignSoftmax(rng), foreignPaged(rng))
}

// fused is fma.rn.f32: the sum is exact, and rounded once.
func fused(a, b, c float32) float32 {
	x := func(v float32) *big.Float { return new(big.Float).SetPrec(1000).SetFloat64(float64(v)) }
	p := x(a)
	p.Mul(p, x(b)).Add(p, x(c))
	f, _ := p.Float32()
	return f
}

func foreignMatmul(rng *rand.Rand) []kernelCase {
	const n = 64
	a, b := randomFloats(rng, n*n), randomFloats(rng, n*n)
	c := sequence(n*n, func(at int) float32 {
		sum := float32(0)
		for k := range n {
			sum = fused(a[at/n*n+k], b[k*n+at%n], sum)
		}
		return sum
	})
	args := []any{writes(c), reads(a), reads(b), device.I32(n)}
	return []kernelCase{
		{file: "foreign/matmul", entry: "matmul_tiled", grid: extent(n/32, n/32), block: extent(32, 32), args: args},
		{file: "foreign/matmul", entry: "sgemm", grid: extent(n/64, n/64), block: extent(256), args: args},
	}
}

func foreignSort(rng *rand.Rand) []kernelCase {
	const blocks, keys = 3, 1024
	type pair struct{ k, v uint32 }
	var in, out []pair
	for range blocks {
		one := sequence(keys, func(i int) pair { return pair{rng.Uint32()&^(keys-1) | uint32(i), rng.Uint32()} }) // no two keys are equal
		in = append(in, one...)
		slices.SortFunc(one, func(a, b pair) int {
			if a.k < b.k {
				return -1
			}
			return 1
		})
		out = append(out, one...)
	}
	part := func(list []pair, f func(pair) uint32) []uint32 {
		return sequence(len(list), func(i int) uint32 { return f(list[i]) })
	}
	key, value := func(p pair) uint32 { return p.k }, func(p pair) uint32 { return p.v }
	return []kernelCase{{file: "foreign/sort", entry: "bitonic_sort", grid: extent(blocks), block: extent(keys / 2), args: []any{
		writes(part(out, key)), writes(part(out, value)), reads(part(in, key)), reads(part(in, value))}}}
}

func foreignHistogram(rng *rand.Rand) []kernelCase {
	const words = 20000
	in, out := sequence(words, func(int) uint32 { return rng.Uint32() & 0xff7f3f0f }), make([]int32, 256)
	for _, w := range in {
		for b := range 4 {
			out[w>>(8*b)&255]++
		}
	}
	return []kernelCase{{file: "foreign/histogram", entry: "histogram", grid: extent(4), block: extent(256), args: []any{
		changes(make([]int32, 256), out), reads(in), device.I32(words)}}}
}

func foreignScan(rng *rand.Rand) []kernelCase {
	const blocks, each = 24, 1024
	in := randomInts(rng, blocks*each, 1000)
	out, sum := make([]int32, len(in)), int32(0)
	for i, v := range in {
		if i%each == 0 {
			sum = 0
		}
		sum += v
		out[i] = sum
	}
	return []kernelCase{{file: "foreign/scan", entry: "scan", grid: extent(blocks), block: extent(each / 4), args: []any{writes(out), reads(in)}}}
}

func foreignTranspose(rng *rand.Rand) []kernelCase {
	const width, height = 192, 128
	in := randomFloats(rng, width*height)
	out := sequence(len(in), func(i int) float32 { return in[i%height*width+i/height] })
	return []kernelCase{{file: "foreign/transpose", entry: "transpose", grid: extent(width/32, height/32), block: extent(32, 8), args: []any{
		writes(out), reads(in), device.I32(width), device.I32(height)}}}
}

// butterfly combines a value of each of 2^n lanes, as xor-shuffles do with decreasing distances.
func butterfly[T any](v []T, from, to int, f func(a, b T) T) []T {
	v = slices.Clone(v)
	for d := from; d >= to; d /= 2 {
		v = sequence(len(v), func(i int) T { return f(v[i], v[i^d]) })
	}
	return v
}

func addF32(a, b float32) float32 { return a + b }

// blockSum is block_sum of norm.cu, of a value of each thread.
func blockSum(v []float32) float32 {
	warps := make([]float32, 32)
	for w := range len(v) / 32 {
		warps[w] = butterfly(v[w*32:w*32+32], 16, 1, addF32)[0]
	}
	return butterfly(warps, 16, 1, addF32)[0]
}

func foreignNorm(rng *rand.Rand) []kernelCase {
	const rows, width, threads, epsilon = 12, 2048, 256, 1e-5
	x, gamma, beta := randomFloats(rng, rows*width), randomFloats(rng, width), randomFloats(rng, width)
	out := make([]float32, rows*width)
	for r := range rows {
		row := x[r*width:][:width]
		threadSum := func(add func(sum float32, v []float32) float32) float32 {
			sums := make([]float32, threads)
			for i := 0; i < width/4; i++ {
				sums[i%threads] = add(sums[i%threads], row[i*4:i*4+4])
			}
			return blockSum(sums)
		}
		mean := threadSum(func(sum float32, v []float32) float32 { return sum + (v[0] + v[1] + v[2] + v[3]) }) / width
		squares := threadSum(func(sum float32, v []float32) float32 {
			for i := 3; i >= 0; i-- {
				sum = fused(v[i]-mean, v[i]-mean, sum)
			}
			return sum
		})
		scale := 1 / float32(math.Sqrt(float64(squares/width+epsilon)))
		for i, v := range row {
			out[r*width+i] = fused(float32((v-mean)*scale), gamma[i], beta[i])
		}
	}

	const pairs = width / 2
	bf16 := func(f float32) uint16 { return dtype.F32ToBF16(f) }
	wide := func(h uint16) float32 { return dtype.BF16ToF32(h) }
	halves := func(n int) []uint16 { return sequence(n, func(int) uint16 { return bf16(float32(rng.NormFloat64())) }) }
	y, residual, weight := halves(rows*width), halves(rows*width), halves(width)
	sums, normed := make([]uint16, rows*width), make([]uint16, rows*width)
	for r := range rows {
		threadSums := make([]float32, threads)
		for i := range pairs {
			s := sums[r*width+2*i:]
			for k := range 2 {
				at := r*width + 2*i + k
				s[k] = bf16(wide(y[at]) + wide(residual[at]))
			}
			threadSums[i%threads] = fused(wide(s[0]), wide(s[0]), fused(wide(s[1]), wide(s[1]), threadSums[i%threads]))
		}
		scale := 1 / float32(math.Sqrt(float64(blockSum(threadSums)/(2*pairs)+epsilon)))
		for i := range width {
			normed[r*width+i] = bf16(float32(float32(wide(sums[r*width+i])*scale) * wide(weight[i])))
		}
	}
	return []kernelCase{
		{file: "foreign/norm", entry: "layer_norm", grid: extent(rows), block: extent(threads), args: []any{
			writes(out), reads(x), reads(gamma), reads(beta), device.I32(width), device.F32(epsilon)}},
		{file: "foreign/norm", entry: "add_rms_norm", grid: extent(rows), block: extent(threads), args: []any{
			changes(y, normed), changes(residual, sums), reads(weight), device.I32(pairs), device.F32(epsilon)}},
	}
}

// expf is __expf as the machine computes it.
func expf(x float32) float32 { return float32(math.Exp2(float64(float32(x * 1.4426950408889634)))) }

func foreignSoftmax(rng *rand.Rand) []kernelCase {
	const rows, width = 16, 500
	in, out := randomFloats(rng, rows*width), make([]float32, rows*width)
	type part struct{ top, sum float32 }
	for r := range rows {
		row := in[r*width:][:width]
		lanes := sequence(32, func(int) part { return part{float32(math.Inf(-1)), 0} })
		for i, v := range row {
			p := &lanes[i%32]
			m := max(p.top, v)
			*p = part{m, fused(p.sum, expf(p.top-m), expf(v-m))}
		}
		all := butterfly(lanes, 16, 1, func(a, b part) part {
			m := max(a.top, b.top)
			return part{m, fused(a.sum, expf(a.top-m), float32(b.sum*expf(b.top-m)))}
		})
		for i, v := range row {
			p := all[i%32]
			out[r*width+i] = float32(expf(v-p.top) * (1 / p.sum))
		}
	}
	return []kernelCase{{file: "foreign/softmax", entry: "softmax", grid: extent(rows / 4), block: extent(128), approx: true, args: []any{
		writes(out), reads(in), device.I32(rows), device.I32(width)}}}
}

func foreignPaged(rng *rand.Rand) []kernelCase {
	const heads, kvHeads, size, blockSize, threads, warps = 4, 2, 128, 16, 128, 4
	lens := []int32{77, 200}
	const maxBlocks, blocks, scale = 13, 20, 0.088388346
	const headStride, blockStride = size * blockSize, kvHeads * size * blockSize
	half := func(f float32) uint16 { return dtype.F32ToF16(f) }
	wide := func(h uint16) float32 { return dtype.F16ToF32(h) }
	halves := func(n int) []uint16 { return sequence(n, func(int) uint16 { return half(float32(rng.NormFloat64())) }) }
	q, keys, values := halves(len(lens)*heads*size), halves(blocks*blockStride), halves(blocks*blockStride)
	tables := sequence(len(lens)*maxBlocks, func(int) int32 { return rng.Int32N(blocks) })
	// f16 arithmetic in float64. Only fma's sum may be inexact there, but numbers of similar size have few
	// enough bits; the only rounding is to f16.
	mul := func(a, b uint16) uint16 { return half(float32(wide(a) * wide(b))) }
	add := func(a, b uint16) uint16 { return half(wide(a) + wide(b)) }
	fma := func(a, b, c uint16) uint16 { return roundHalf(float64(wide(a))*float64(wide(b)) + float64(wide(c))) }
	want := make([]uint16, len(q))
	for s, n := range lens {
		for h := range heads {
			at := func(pos, d int) (k, v uint16) {
				base := int(tables[s*maxBlocks+pos/blockSize])*blockStride + h/(heads/kvHeads)*headStride
				return keys[base+d/8*blockSize*8+pos%blockSize*8+d%8], values[base+d*blockSize+pos%blockSize]
			}
			query := q[(s*heads+h)*size:][:size]
			logits, top := make([]float32, (n+blockSize-1)/blockSize*blockSize), float32(-math.MaxFloat32)
			for pos := range int(n) {
				var dots [2]float32 // of the two threads that share a key
				for g := range dots {
					var part [4]float32
					for d := g * 4; d < size; d += 8 {
						for i := range part {
							k, _ := at(pos, d+i)
							part[i] = fused(wide(query[d+i]), wide(k), part[i])
						}
					}
					dots[g] = (part[0] + part[1]) + (part[2] + part[3])
				}
				logits[pos] = float32((dots[0] + dots[1]) * scale)
				top = max(top, logits[pos])
			}
			sums := make([]float32, threads)
			for i := range int(n) {
				logits[i] = expf(logits[i] - top)
				sums[i%threads] += logits[i]
			}
			var warpSums [warps]float32
			for w := range warpSums {
				warpSums[w] = butterfly(sums[w*32:w*32+32], 16, 1, addF32)[0]
			}
			inverse := 1 / (butterfly(warpSums[:], warps/2, 1, addF32)[0] + 1e-6)
			for i := range int(n) {
				logits[i] = float32(logits[i] * inverse)
			}
			for d := range size {
				var acc [warps][2]float32 // of the two threads that share a row
				for b := range len(logits) / blockSize {
					for g := range 2 {
						var w, v [8]uint16
						for i := range 8 {
							pos := b*blockSize + g*8 + i
							w[i] = half(logits[pos])
							if pos < int(n) {
								_, v[i] = at(pos, d)
							}
						}
						var both [2]uint16
						for i := range both {
							sum := add(mul(w[i], v[i]), mul(w[2+i], v[2+i]))
							both[i] = fma(w[6+i], v[6+i], fma(w[4+i], v[4+i], sum))
						}
						acc[b%warps][g] += wide(both[0]) + wide(both[1])
					}
				}
				var rows [warps]float32
				for w := range rows {
					rows[w] = acc[w][0] + acc[w][1]
				}
				want[(s*heads+h)*size+d] = half((rows[0] + rows[2]) + (rows[1] + rows[3]))
			}
		}
	}
	return []kernelCase{{file: "foreign/paged", entry: "paged_attention_f16", grid: extent(heads, len(lens)), block: extent(threads), shared: 1024, approx: true,
		args: []any{writes(want), reads(q), reads(keys), reads(values), device.I32(kvHeads), device.F32(scale), reads(tables), reads(lens),
			device.I32(maxBlocks), device.I32(heads * size), device.I32(blockStride), device.I32(headStride)}}}
}

// roundHalf rounds a float64 to f16, to nearest even: first to odd in float32.
func roundHalf(x float64) uint16 {
	f := float32(x)
	if float64(f) != x {
		b := math.Float32bits(f)
		if math.Abs(float64(f)) > math.Abs(x) {
			b--
		}
		f = math.Float32frombits(b | 1)
	}
	return dtype.F32ToF16(f)
}
