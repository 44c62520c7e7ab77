//go:build !purego

package vec

import (
	"unsafe"

	"github.com/klauspost/cpuid/v2"
)

// isa is an instruction set with its own version of the loops.
type isa uint8

const (
	plain isa = iota
	avx2
	avx512
)

func (s isa) String() string { return [...]string{"plain", "AVX2", "AVX-512"}[s] }

// supported lists the instruction sets that this processor has, best last.
var supported = detect()

var best = supported[len(supported)-1]

func detect() []isa {
	sets := []isa{plain}
	if cpuid.CPU.Supports(cpuid.AVX2) {
		sets = append(sets, avx2)
		if cpuid.CPU.Supports(cpuid.AVX512F, cpuid.AVX512DQ) {
			sets = append(sets, avx512)
		}
	}
	return sets
}

// tileRows is the number of rows processed for all queries before the next rows: a tile stays in the L1
// cache.
const tileRows = 32

// dotQuads is the argument of one assembly call: n times, the dot products of one vector, shared, with four
// others.
//
//	for s := range n {
//		for i := range 4 {
//			*(out[i] + s*outStep) = dot(shared + s*sharedStep, other[i] + s*otherStep)
//		}
//	}
//
// Vectors have d numbers; steps count numbers. If fewer than four are needed, several of the four are the
// same.
type dotQuads struct {
	shared     *float32
	other      [4]*float32
	out        [4]*float32
	sharedStep int
	otherStep  int
	outStep    int
	n, d       int
}

//go:noescape
func dotQuadsAVX2(w *dotQuads)

//go:noescape
func dotQuadsAVX512(w *dotQuads)

func (w *dotQuads) do(s isa) {
	if s == avx512 {
		dotQuadsAVX512(w)
	} else {
		dotQuadsAVX2(w)
	}
}

func (s isa) dots(dst []float32, stride int, q, k []float32, rows, g, d int) {
	switch {
	case s == plain:
		dotsPlain(dst, stride, q, k, rows, g, d)
		return
	case g == 1:
		s.dotsOfOne(dst, q, k, rows, d)
		return
	}
	for first := 0; first < rows; first += tileRows {
		n := min(tileRows, rows-first)
		for j := 0; j < g; j += 4 {
			w := dotQuads{shared: &k[first*d], sharedStep: d, outStep: 1, n: n, d: d}
			for i := range 4 {
				query := min(j+i, g-1)
				w.other[i] = &q[query*d]
				w.out[i] = &dst[query*stride+first]
			}
			w.do(s)
		}
	}
}

// dotsOfOne is dots for a single query. It processes four rows of k at a time.
func (s isa) dotsOfOne(dst, q, k []float32, rows, d int) {
	for first := 0; first < rows; {
		w := dotQuads{shared: &q[0], otherStep: 4 * d, outStep: 4, n: max(1, (rows-first)/4), d: d}
		for i := range 4 {
			row := min(first+i, rows-1)
			w.other[i] = &k[row*d]
			w.out[i] = &dst[row]
		}
		w.do(s)
		first += 4 * w.n
	}
}

// weighQuads is the argument of one assembly call: it adds the n rows of v, weighted by e, to acc, for four
// queries.
//
//	for c := range d {
//		for r := range n {
//			for i := range 4 {
//				acc[i][c] += e[i][r] * v[r*d+c]
//			}
//		}
//	}
//
// If fewer than four are needed, several of the four are the same.
type weighQuads struct {
	acc  [4]*float32
	e    [4]*float32
	v    *float32
	n, d int
}

//go:noescape
func weighQuadsAVX2(w *weighQuads)

//go:noescape
func weighQuadsAVX512(w *weighQuads)

func (w *weighQuads) do(s isa) {
	if s == avx512 {
		weighQuadsAVX512(w)
	} else {
		weighQuadsAVX2(w)
	}
}

func (s isa) accumulate(acc, e []float32, stride int, v []float32, rows, g, d int) {
	if s == plain {
		accumulatePlain(acc, e, stride, v, rows, g, d)
		return
	}
	for first := 0; first < rows; first += tileRows {
		n := min(tileRows, rows-first)
		for j := 0; j < g; j += 4 {
			w := weighQuads{v: &v[first*d], n: n, d: d}
			for i := range 4 {
				query := min(j+i, g-1)
				w.acc[i] = &acc[query*d]
				w.e[i] = &e[query*stride+first]
			}
			w.do(s)
		}
	}
}

// maxAVX2 returns the largest of n numbers, a positive multiple of 32.
//
//go:noescape
func maxAVX2(x *float32, n int) float32

func (s isa) max(x []float32) float32 {
	whole := len(x) &^ 31
	if s == plain || whole == 0 {
		return maxPlain(x)
	}
	m := maxAVX2(&x[0], whole)
	for _, y := range x[whole:] {
		m = max(m, y)
	}
	return m + 0 // -0 + 0 is +0
}

// expSubAVX2 and expSubAVX512 process n numbers, a positive multiple of 8 and 16. c is expConstants.

//go:noescape
func expSubAVX2(dst, x *float32, n int, m float32, c *[12]float32)

//go:noescape
func expSubAVX512(dst, x *float32, n int, m float32, c *[12]float32)

// expConstants has the constants of Exp, for the assembly.
var expConstants = [...]float32{
	expLowest, expLog2e, expRound, expLn2Hi, expLn2Lo,
	expC6, expC5, expC4, expC3, expC2, 1, 0x1p-33,
}

func (s isa) expSub(dst, x []float32, m float32) {
	whole := 0
	switch s {
	case avx512:
		if whole = len(x) &^ 15; whole > 0 {
			expSubAVX512(&dst[0], &x[0], whole, m, &expConstants)
		}
	case avx2:
		if whole = len(x) &^ 7; whole > 0 {
			expSubAVX2(&dst[0], &x[0], whole, m, &expConstants)
		}
	}
	expSubPlain(dst[whole:], x[whole:], m)
}

// prefetch touches the n > 0 bytes from p.
//
//go:noescape
func prefetch(p unsafe.Pointer, n int)
