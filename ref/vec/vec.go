// Package vec has the inner loops of attention. Each is specified to the bit by a plain Go loop, its twin,
// and runs as AVX2 or AVX-512 code on processors that have it, with the same bits.
//
// The arithmetic is IEEE 754 binary32, round to nearest even, with subnormals and without fused multiply-add:
// a product is rounded before it is added. Inputs must be finite; results for NaN and infinity are not
// specified.
//
// The build tag purego leaves out the assembly.
package vec

import (
	"fmt"
	"unsafe"
)

// Lanes is the number of partial sums of a dot product, as many as a warp has lanes.
const Lanes = 32

// MaxD is the largest head size.
const MaxD = 256

// Dots writes the dot product of q and each row of k to dst:
//
//	for r := range dst {
//		dst[r] = dot(q, k[r*d:(r+1)*d])
//	}
//
// q is [d], k is [len(dst), d], and d is a multiple of 8 from 8 to MaxD.
//
// A dot product is summed in the order of a warp. Lane l of 32 starts at +0 and adds the products q[i]·k[i]
// with i ≡ l (mod 32) in ascending order. Then, for step 16, 8, 4, 2, 1, every lane adds the sum of lane l
// xor step to its own. At the end all lanes have the same sum.
func Dots(dst, q, k []float32, d int) {
	DotsGroup(dst, len(dst), q, k[:len(dst)*d], 1, d)
}

// DotsGroup is Dots for g queries of the same rows, so that each row of k is read once:
//
//	rows := len(k) / d
//	for j := range g {
//		for r := range rows {
//			dst[j*stride+r] = dot(q[j*d:(j+1)*d], k[r*d:(r+1)*d])
//		}
//	}
//
// q is [g, d] and k is [rows, d]. dst is the first columns of a [g, stride] matrix, stride ≥ rows. For the
// scores of a paged cache, [g, context length], call it for each block with dst[block*B:] and stride =
// context length.
func DotsGroup(dst []float32, stride int, q, k []float32, g, d int) {
	rows := mustFit("DotsGroup", stride, len(q), len(k), g, d)
	if rows == 0 {
		return
	}
	dst = dst[:(g-1)*stride+rows]
	best.dots(dst, stride, q, k, rows, g, d)
}

// Accumulate adds the weighted rows of v to acc:
//
//	rows := len(v) / d
//	for r := range rows {
//		for j := range g {
//			for i := range d {
//				acc[j*d+i] += e[j*stride+r] * v[r*d+i]
//			}
//		}
//	}
//
// acc is [g, d] and v is [rows, d]. e is the first columns of a [g, stride] matrix, stride ≥ rows. Every sum
// is sequential in r. d is a multiple of 8 from 8 to MaxD.
func Accumulate(acc, e []float32, stride int, v []float32, g, d int) {
	rows := mustFit("Accumulate", stride, len(acc), len(v), g, d)
	if rows == 0 {
		return
	}
	e = e[:(g-1)*stride+rows]
	best.accumulate(acc, e, stride, v, rows, g, d)
}

// Sum returns the sum of x in the order of a warp: lane l of Lanes starts at +0 and adds the x[i] with i ≡ l
// (mod Lanes) in ascending order; the lanes are added as for a dot product.
func Sum(x []float32) float32 {
	var lanes [Lanes]float32
	for i, v := range x {
		lanes[i%Lanes] += v
	}
	return butterfly(&lanes)
}

// Max returns the largest of x, which must not be empty. If that is a zero, it returns +0.
func Max(x []float32) float32 {
	return best.max(x)
}

// Prefetch asks the processor to fetch p into its caches, and does not wait. Paged attention prefetches the
// next block, because its address does not follow from the current one's.
func Prefetch[T byte | int32 | float32](p []T) {
	if len(p) > 0 {
		prefetch(unsafe.Pointer(unsafe.SliceData(p)), len(p)*int(unsafe.Sizeof(p[0])))
	}
}

// mustFit returns the number of rows in n numbers, and panics if the shapes of DotsGroup or Accumulate are
// inconsistent.
func mustFit(name string, stride, nq, n, g, d int) (rows int) {
	if d < 8 || d > MaxD || d%8 != 0 {
		panic(fmt.Sprintf("vec: %s: head size %d is not a multiple of 8 from 8 to %d", name, d, MaxD))
	}
	rows = n / d
	if g < 1 || nq != g*d || n != rows*d || stride < rows {
		panic(fmt.Sprintf("vec: %s: %d and %d numbers are not [%d, %d] and [rows, %d], with stride %d ≥ rows", name, nq, n, g, d, d, stride))
	}
	return rows
}

func dotsPlain(dst []float32, stride int, q, k []float32, rows, g, d int) {
	for j := range g {
		for r := range rows {
			dst[j*stride+r] = dot(q[j*d:(j+1)*d], k[r*d:(r+1)*d])
		}
	}
}

func dot(q, k []float32) float32 {
	var lanes [Lanes]float32
	for i, x := range q {
		lanes[i%Lanes] += float32(x * k[i])
	}
	return butterfly(&lanes)
}

// butterfly adds up the lanes. A warp's butterfly computes each sum twice, once in each lane of a pair; this
// computes it once.
func butterfly(lanes *[Lanes]float32) float32 {
	for step := Lanes / 2; step > 0; step /= 2 {
		for l := range step {
			lanes[l] += lanes[l+step]
		}
	}
	return lanes[0]
}

func accumulatePlain(acc, e []float32, stride int, v []float32, rows, g, d int) {
	for r := range rows {
		row := v[r*d : (r+1)*d]
		for j := range g {
			weight := e[j*stride+r]
			sums := acc[j*d : (j+1)*d]
			for i, x := range row {
				sums[i] += float32(weight * x)
			}
		}
	}
}

func maxPlain(x []float32) float32 {
	m := x[0]
	for _, y := range x {
		if y > m {
			m = y
		}
	}
	return m + 0 // -0 + 0 is +0
}
