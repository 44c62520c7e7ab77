package ptx

import (
	"cmp"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"

	"kvcompress/kernels/device"
)

// What the kernels of testdata/nvcc compute, in plain Go.

func nvccCases() []kernelCase {
	rng := rand.New(rand.NewPCG(1, 2))
	return slices.Concat(nvccReduce(rng), nvccSort(rng), nvccInts(rng), nvccMisc(rng), nvccPaged(rng), nvccHalf(rng))
}

func randomInts(rng *rand.Rand, n int, limit int32) []int32 {
	return sequence(n, func(int) int32 { return rng.Int32N(2*limit) - limit })
}

func randomFloats(rng *rand.Rand, n int) []float32 {
	return sequence(n, func(int) float32 { return float32(rng.NormFloat64()) })
}

func nvccReduce(rng *rand.Rand) []kernelCase {
	const n = 1000
	x := randomInts(rng, n, 1000)
	blocks, total := make([]int32, 4), int32(0)
	for i, v := range x {
		blocks[i/256] += v
		total += v
	}
	halves := make([]int32, 2)
	for i, v := range x[:512] {
		halves[i/256] += v
	}
	whole := sequence(n, func(int) float32 { return float32(rng.IntN(100)) }) // integers, so that every order has the same sum
	sums := make([]float32, 3)
	for i, v := range whole {
		sums[i/64%3] += v
	}
	u := sequence(90, func(i int) uint32 { return rng.Uint32() >> (i % 32) })
	warps := make([]uint32, 12)
	for i, v := range u {
		w := warps[i/32*3:]
		w[0], w[1], w[2] = w[0]+v, max(w[1], v), w[2]|v
	}
	return []kernelCase{
		{file: "nvcc/reduce", entry: "sum_tree", grid: extent(4), block: extent(256), args: []any{reads(x), writes(blocks), device.I32(n)}},
		{file: "nvcc/reduce", entry: "sum_shuffle", grid: extent(3), block: extent(64), args: []any{reads(whole), writes(sums), device.I32(n)}},
		{file: "nvcc/reduce", entry: "sum_last_block", grid: extent(5), block: extent(128), args: []any{
			reads(x), reads(make([]int32, 5)), writes([]int32{total}), device.I32(n)}},
		{file: "nvcc/reduce", entry: "sum_volatile", grid: extent(2), block: extent(256), shared: 1024, args: []any{reads(x[:512]), writes(halves)}},
		{file: "nvcc/reduce", entry: "sum_redux", grid: extent(2), block: extent(64), args: []any{reads(u), writes(warps), device.I32(90)}},
	}
}

func nvccSort(rng *rand.Rand) []kernelCase {
	x := randomInts(rng, 500, 100)
	sums, sum := make([]int32, len(x)), int32(0)
	for i, v := range x {
		sum += v
		sums[i] = sum
	}
	var positive []int32
	for _, v := range x[:30] {
		if v > 0 {
			positive = append(positive, v)
		}
	}
	letters := sequence(3000, func(int) uint8 { return uint8(rng.Uint32()) })
	counts := make([]uint32, 256)
	for _, v := range letters {
		counts[v]++
	}
	keys := sequence(250, func(int) uint32 { return rng.Uint32() })
	byDigit := slices.Clone(keys)
	slices.SortStableFunc(byDigit, func(a, b uint32) int { return cmp.Compare(a>>8&15, b>>8&15) })
	y := randomInts(rng, 256, 1000)
	return []kernelCase{
		{file: "nvcc/sort", entry: "scan_warps", grid: extent(1), block: extent(512), args: []any{reads(x), writes(sums), device.I32(500)}},
		{file: "nvcc/sort", entry: "compact", grid: extent(1), block: extent(32), args: []any{
			reads(x[:30]), writes(positive), changes([]int32{0}, []int32{int32(len(positive))}), device.I32(30)}},
		{file: "nvcc/sort", entry: "histogram", grid: extent(3), block: extent(192), args: []any{
			reads(letters), changes(make([]uint32, 256), counts), device.I32(3000)}},
		{file: "nvcc/sort", entry: "radix_pass", grid: extent(1), block: extent(256), args: []any{
			reads(keys), writes(byDigit), device.I32(250), device.I32(8)}},
		{file: "nvcc/sort", entry: "bitonic", grid: extent(1), block: extent(256), shared: 1024, args: []any{changes(y, slices.Sorted(slices.Values(y)))}},
	}
}

func nvccInts(rng *rand.Rand) []kernelCase {
	const n = 100
	u := sequence(n, func(i int) uint32 { return rng.Uint32() >> (i % 32) })
	u[3], u[4] = 0, math.MaxUint32
	var results []uint32
	for i, v := range u {
		w := u[(i+1)%n]
		both := uint64(w)<<32 | uint64(v)
		permuted := func(selector uint32) (r uint32) {
			for k := 0; k < 32; k += 8 {
				r |= uint32(both>>(8*(selector>>(k/2)&7))&255) << k
			}
			return r
		}
		added, found := uint32(0), uint32(0)
		for k := 0; k < 32; k += 8 {
			added |= (v>>k + w>>k) & 255 << k
		}
		if v != 0 {
			found = uint32(bits.TrailingZeros32(v) + 1)
		}
		s, z := int64(int32(v)), int64(int32(w))
		results = append(results,
			uint32(bits.OnesCount32(v)), uint32(bits.LeadingZeros32(v)), found, bits.Reverse32(v),
			uint32(both<<(w&31)>>32), uint32(both>>7), permuted(0x5140), permuted(w),
			uint32(uint64(v)*uint64(w)>>32), uint32(s*z>>32), uint32(s%7), v/(w|1),
			uint32(max(s-z, z-s))+1, uint32((s+z)>>1), v&0xffffff*(w&0xffffff), added)
	}
	x := randomInts(rng, n, 1<<29)
	picked := sequence(n, func(t int) int32 {
		return slices.Sorted(slices.Values(sequence(32, func(i int) int32 { return x[(t+i)%n] })))[x[t]&31]
	})
	which := sequence(n, func(int) int32 { return rng.Int32N(12) - 1 })
	chosen := sequence(n, func(at int) int32 {
		i := int32(at)
		switch which[at] {
		case 0:
			return i * 3
		case 1:
			return i ^ 0x55
		case 2:
			return -i
		case 3:
			return i << 4
		case 4:
			return which[(at+5)%n]
		case 5:
			return i * i
		case 6:
			return int32(math.Ceil(math.Sqrt(float64(i))))
		case 7:
			return i % 5
		case 9:
			return 99
		}
		return -1
	})
	type pair struct {
		A    int32
		B    int16
		C, _ int8
		D    float64
		E    [3]float32
		_    int32
	}
	type big struct {
		N int32
		M [20]int32
		_ int32
		Q int64
	}
	p, b := pair{A: 5, B: -300, C: 7, D: 1.5, E: [3]float32{1, 2, 3}}, big{N: 3, Q: 1<<33 + 4}
	for i := range b.M {
		b.M[i] = int32(i * i)
	}
	pairs := sequence(40, func(t int) pair {
		q := p
		q.A += int32(t) + b.M[t%20] + int32(b.Q) + b.N
		q.B, q.C, q.D, q.E[t%3] = 2*q.B, q.C^0x55, q.D+float64(t), float32(t)
		return q
	})
	return []kernelCase{
		{file: "nvcc/ints", entry: "bits", grid: extent(2), block: extent(64), args: []any{reads(u), writes(results), device.I32(n)}},
		{file: "nvcc/ints", entry: "choose", grid: extent(2), block: extent(64), args: []any{reads(which), writes(chosen), device.I32(n)}},
		{file: "nvcc/ints", entry: "structs", grid: extent(1), block: extent(40), args: []any{reads([]pair{p}), reads([]big{b}), changes(make([]pair, 40), pairs)}},
		{file: "nvcc/ints", entry: "local_array", grid: extent(2), block: extent(64), args: []any{reads(x), writes(picked), device.I32(n)}},
		{file: "nvcc/ints", entry: "constants", grid: extent(1), block: extent(64), args: []any{writes(sequence(64, func(t int) int32 {
			v := []int32{3, 1, 4, 1, 5, 9, 2, 6}[t%8] + []int32{500, -1250, 3000, 1}[t%4] + int32("paged"[t%5])
			if t == 0 {
				v += 7 + 7 + 5
			}
			return v
		}))}},
	}
}

func nvccMisc(rng *rand.Rand) []kernelCase {
	number := sequence(64, func(i int) int32 { return int32(i) })
	wrong := slices.Clone(number)
	wrong[33] = -1
	text := sequence(101, func(int) uint8 { return uint8(rng.Uint32()) })
	swapped := sequence(256, func(i int) uint8 {
		if from := i ^ 4; from < len(text) {
			return text[from]
		}
		return 0
	})
	x := sequence(64, func(i int) int32 {
		if i < 32 {
			return 77
		}
		return rng.Int32N(100)
	})
	above, three := int32(0), int32(0)
	for _, v := range x {
		above += int32(bit(v > 10))
		three |= int32(bit(v == 3))
	}
	var votes []uint32
	for t, v := range x {
		warp := x[t&^31:][:32]
		var some, every, same, odd, peers, first uint32 = 0, 1, 1, 0, 0, 32
		for l, u := range warp {
			some |= bit(u > 50)
			every &= bit(u < 200)
			same &= bit(u == warp[0])
			peers |= bit(u%3 == v%3) << l
			if u&1 == 1 {
				odd++
				first = min(first, uint32(l))
			}
		}
		all := uint32(0)
		if same == 1 {
			all = math.MaxUint32
		}
		of := uint32(0)
		if v&1 == 1 {
			of = uint32(t&^31) + first + 1000*odd
		}
		votes = append(votes, some|every<<1, all+same, of, peers)
	}
	one := func(entry string, threads int, args ...any) kernelCase {
		return kernelCase{file: "nvcc/misc", entry: entry, grid: extent(1), block: extent(threads), args: args}
	}
	failing := one("asserts", 64, reads(wrong))
	failing.fails = "thread (33,0,0): misc.cu:10"
	return []kernelCase{
		one("says", 64, writes(number)), one("asserts", 64, reads(number)), failing,
		one("asm_copy_tail", 64, reads(text), writes(swapped), device.I32(101)),
		one("votes", 64, reads(x), writes(votes)),
		one("barriers", 64, changes(x, sequence(64, func(i int) int32 { return 100*above + 10 + three + x[63-i] }))),
		one("named", 64, writes(sequence(32, func(i int) int32 { return int32(10 * (31 - i)) })), device.I32(5)),
	}
}

func nvccPaged(rng *rand.Rand) []kernelCase {
	const blocks, heads, dim, size, pack = 12, 2, 64, 16, 4 // pack: adjacent floats of a key
	keyAt := func(block, h, d, off int) int {
		return ((block*heads+h)*dim/pack+d/pack)*size*pack + off*pack + d%pack
	}
	valueAt := func(block, h, d, off int) int { return ((block*heads+h)*dim+d)*size + off }
	keys, values := randomFloats(rng, blocks*heads*dim*size), randomFloats(rng, blocks*heads*dim*size)

	lens := []int32{1, 33, 64}
	const perSeq = 4
	table := sequence(len(lens)*perSeq, func(i int) int32 { return int32(i * 5 % blocks) })
	q := randomFloats(rng, len(lens)*heads*dim)
	out := make([]float32, len(q))
	for s := range lens {
		for h := range heads {
			row := (s*heads + h) * dim
			weights, sum := make([]float64, lens[s]), 0.0
			for p := range weights {
				for d := range dim {
					weights[p] += float64(q[row+d]) * float64(keys[keyAt(int(table[s*perSeq+p/size]), h, d, p%size)])
				}
				weights[p] = math.Exp(weights[p] / 8)
				sum += weights[p]
			}
			for d := range dim {
				acc := 0.0
				for p, w := range weights {
					acc += w / sum * float64(values[valueAt(int(table[s*perSeq+p/size]), h, d, p%size)])
				}
				out[row+d] = float32(acc)
			}
		}
	}

	slots := []int64{3, 17, -1, 40, 0}
	k, v := randomFloats(rng, len(slots)*heads*dim), randomFloats(rng, len(slots)*heads*dim)
	newKeys, newValues := slices.Clone(keys), slices.Clone(values)
	for t, slot := range slots {
		for i := range heads * dim {
			if block, off := int(slot)/size, int(slot)%size; slot >= 0 {
				newKeys[keyAt(block, i/dim, i%dim, off)] = k[t*heads*dim+i]
				newValues[valueAt(block, i/dim, i%dim, off)] = v[t*heads*dim+i]
			}
		}
	}

	const elems = 40
	a, b := sequence(6*elems, func(i int) uint16 { return uint16(i) }), sequence(6*elems, func(i int) uint16 { return uint16(i + 1000) })
	a2, b2 := slices.Clone(a), slices.Clone(b)
	for _, m := range [][2]int{{0, 4}, {2, 5}} {
		copy(a2[m[1]*elems:][:elems], a[m[0]*elems:])
		copy(b2[m[1]*elems:][:elems], b[m[0]*elems:])
	}
	return []kernelCase{
		{file: "nvcc/paged", entry: "paged_attention", approx: true, grid: extent(heads, len(lens)), block: extent(128), shared: 256, args: []any{
			near(out, 2e-4), reads(q), reads(keys), reads(values), reads(table), reads(lens), device.F32(0.125), device.I32(perSeq)}},
		{file: "nvcc/paged", entry: "reshape_and_cache", grid: extent(len(slots)), block: extent(96), args: []any{
			reads(k), reads(v), changes(keys, newKeys), changes(values, newValues), reads(slots),
			device.I32(heads), device.I32(dim), device.I32(size), device.I32(pack)}},
		{file: "nvcc/paged", entry: "copy_blocks", grid: extent(1, 2), block: extent(32), args: []any{
			changes(a, a2), changes(b, b2), caseAddress(0), caseAddress(1), reads([]int64{0, 4, 2, 5}), device.I32(elems)}},
	}
}

func nvccHalf(rng *rand.Rand) []kernelCase {
	number := func(h uint16) float64 { return fmtF16.float64(uint64(h)) }
	half := func(x float64) uint16 { // x is exact
		return uint16(fmtF16.pack(fmtF64.unpack(math.Float64bits(x)), roundNearest, false))
	}
	random := func(n int) []uint16 { return sequence(n, func(int) uint16 { return half(rng.NormFloat64()) }) }
	x := random(64)
	results := make([]uint16, 20*32)
	for i := range x {
		a, b := x[i], x[(i+2)%64]
		u, v := number(a), number(b)
		ge := half(float64(bit(u >= v)))
		for j, r := range []uint16{half(u + v), half(u - v), half(u * v), half(u*v + u), half(max(u, v)), half(min(u, v)), a ^ 0x8000, a &^ 0x8000, ge} {
			results[i/2*20+2*j+i%2] = r
		}
	}
	for i := range 32 {
		results[20*i+18], results[20*i+19] = x[2*i], x[(2*i+2)%64]
	}
	const n = 48
	a, b := random(n*n), random(n*n)
	c := sequence(n*n, func(at int) (acc float32) {
		for k := range n { // the products are exact
			acc = float32(number(a[at/n*n+k])*number(b[k*n+at%n]) + float64(acc))
		}
		return acc
	})
	return []kernelCase{
		{file: "nvcc/half", entry: "half2_ops", approx: true, grid: extent(1), block: extent(32), args: []any{reads(x), writes(results), device.I32(32)}},
		{file: "nvcc/half", entry: "half_matmul", grid: extent(3, 3), block: extent(16, 16), args: []any{
			reads(a), reads(b), near(c, 1e-6), device.I32(n)}},
	}
}
