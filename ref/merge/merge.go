// Package merge is the arithmetic of merged vectors: keys or values of two adjacent layers stored as one
// direction and a norm for each layer (MiniCache, arXiv 2405.14366).
//
// With x the vector of a token in the deeper layer of a pair, and y in the shallower one:
//
//	Ω  = arccos(x·y / (|x||y|))
//	e  = sin((1−t)Ω)/sinΩ · y/|y| + sin(tΩ)/sinΩ · x/|x|       the direction is e/|e|
//	x̂  = e/|e| · |x|,    ŷ = e/|e| · |y|
//
// Tokens with the largest distance Ω/π are retained: both of their vectors are also stored unmerged. A vector
// is one head's, or a whole layer's.
//
// All functions are pure. NUMERICS.md, "Merged vectors", specifies the arithmetic to the bit, also for
// parallel, opposite and zero vectors.
package merge

import (
	"fmt"
	"math"

	"kvcompress/ref/vec"
)

// Slerp says how two directions are interpolated.
type Slerp struct {
	T   float64 // weight of the deeper layer, 0 to 1
	Eps float64 // smallest norm, and smallest distance of a cosine from ±1; MinEps to MaxEps
}

// Default returns the paper's weight and the Eps of Zefan-Cai/KVCache-Factory@c97f9d7 (minicache.py).
func Default() Slerp { return Slerp{T: 0.6, Eps: 1e-6} }

// Bounds on options and inputs.
const (
	MinEps       = 1e-12
	MaxEps       = 0.1
	MaxMagnitude = 1 << 56 // of an element, as in a trace
	MaxWidth     = 1 << 15 // elements of a vector, so that its square, at most 2¹⁵·(2⁵⁶)², is finite
)

// Merged are the merged vectors of n tokens.
type Merged struct {
	Directions []float32 // [n, width]; of length 1, or 0 if opposite vectors cancel
	Deep       []float32 // [n] norms in the deeper layer, at least Eps
	Shallow    []float32 // [n] norms in the shallower layer
	Distances  []float32 // [n] Ω/π, from 0 to 1
}

// Check returns an error if an option is out of range.
func (s Slerp) Check() error {
	switch {
	case !(s.T >= 0 && s.T <= 1):
		return fmt.Errorf("merge: weight t is %v: choose 0 (the shallower layer's direction) to 1 (the deeper one's)", s.T)
	case !(s.Eps >= MinEps && s.Eps <= MaxEps):
		return fmt.Errorf("merge: eps is %v: choose %g to %g", s.Eps, MinEps, MaxEps)
	}
	return nil
}

// checkRows returns the number of vectors in each layer, or an error.
func (s Slerp) checkRows(deep, shallow []float32, width int) (int, error) {
	if err := s.Check(); err != nil {
		return 0, err
	}
	if width < 1 || width > MaxWidth {
		return 0, fmt.Errorf("merge: vectors of %d elements: choose 1 to %d", width, MaxWidth)
	}
	if len(deep) != len(shallow) || len(deep)%width != 0 {
		return 0, fmt.Errorf("merge: %d and %d elements are not the same number of vectors of %d", len(deep), len(shallow), width)
	}
	for i, v := range deep {
		for _, v := range [...]float32{v, shallow[i]} {
			if !(v >= -MaxMagnitude && v <= MaxMagnitude) {
				return 0, fmt.Errorf("merge: vector %d, element %d is %g, beyond ±2⁵⁶", i/width, i%width, v)
			}
		}
	}
	return len(deep) / width, nil
}

// Merge merges vectors of two layers, [n, width] each. Elements beyond MaxMagnitude are an error.
func (s Slerp) Merge(deep, shallow []float32, width int) (Merged, error) {
	n, err := s.checkRows(deep, shallow, width)
	if err != nil {
		return Merged{}, err
	}
	dot := dotPlain
	if width%8 == 0 && width <= vec.MaxD {
		dot = dotQuick
	}
	m := newMerged(n, width)
	units := make([]float32, 2*width)
	for i := range n {
		row := m.Directions[i*width : (i+1)*width]
		m.Deep[i], m.Shallow[i], m.Distances[i] = s.vector(row, deep[i*width:(i+1)*width], shallow[i*width:(i+1)*width], units, dot)
	}
	return m, nil
}

// Spec is the specification of Merge: it returns the same, with plain loops.
func (s Slerp) Spec(deep, shallow []float32, width int) (Merged, error) {
	n, err := s.checkRows(deep, shallow, width)
	if err != nil {
		return Merged{}, err
	}
	m := newMerged(n, width)
	for i := range n {
		x, y := deep[i*width:(i+1)*width], shallow[i*width:(i+1)*width]
		ux, nx := s.unit(x)
		uy, ny := s.unit(y)
		angle := vec.Acos(s.clamp(dotPlain(ux, uy)))
		a, b := s.weights(angle)
		e := make([]float32, width)
		for j := range e {
			e[j] = float32(a*(uy[j]+ux[j])) + float32((b-a)*ux[j])
		}
		direction, _ := s.unit(e)
		copy(m.Directions[i*width:], direction)
		m.Deep[i], m.Shallow[i], m.Distances[i] = nx, ny, angle/math.Pi
	}
	return m, nil
}

func newMerged(n, width int) Merged {
	return Merged{make([]float32, n*width), make([]float32, n), make([]float32, n), make([]float32, n)}
}

// vector merges x and y into direction. units is scratch for two vectors.
func (s Slerp) vector(direction, x, y, units []float32, dot func(a, b []float32) float32) (deep, shallow, distance float32) {
	ux, uy := units[:len(x)], units[len(x):]
	deep = s.norm(dot(x, x))
	shallow = s.norm(dot(y, y))
	for j := range ux {
		ux[j], uy[j] = x[j]/deep, y[j]/shallow
	}
	angle := vec.Acos(s.clamp(dot(ux, uy)))
	a, b := s.weights(angle)
	c := b - a
	for j, u := range ux {
		direction[j] = float32(a*(uy[j]+u)) + float32(c*u)
	}
	length := s.norm(dot(direction, direction))
	for j := range direction {
		direction[j] /= length
	}
	return deep, shallow, angle / math.Pi
}

// norm returns the square root of square, at least Eps.
func (s Slerp) norm(square float32) float32 {
	return max(float32(math.Sqrt(float64(square))), float32(s.Eps))
}

// unit returns a vector divided by its norm, and the norm.
func (s Slerp) unit(x []float32) ([]float32, float32) {
	n := s.norm(dotPlain(x, x))
	u := make([]float32, len(x))
	for j := range u {
		u[j] = x[j] / n
	}
	return u, n
}

// clamp clamps a cosine to at least Eps from ±1.
func (s Slerp) clamp(c float32) float32 {
	return min(max(c, float32(-1+s.Eps)), float32(1-s.Eps))
}

// weights returns the weights of the unit vectors of the shallower and the deeper layer.
func (s Slerp) weights(angle float32) (shallow, deep float32) {
	shallow, deep = float32(1-s.T), float32(s.T)
	sin := vec.Sin(angle)
	if sin > float32(s.Eps) || sin < -float32(s.Eps) {
		shallow = vec.Sin(float32(shallow*angle)) / sin
		deep = vec.Sin(float32(deep*angle)) / sin
	}
	return shallow, deep
}

// Restore writes a layer's vectors to dst, [n, width]: directions, [n, width], times its norms, [n].
// Inconsistent lengths may panic.
func Restore(dst, directions, norms []float32) {
	if len(norms) == 0 {
		return
	}
	width := len(directions) / len(norms)
	for i, n := range norms {
		row := dst[i*width : (i+1)*width]
		for j, e := range directions[i*width : (i+1)*width] {
			row[j] = float32(e * n)
		}
	}
}

// dotPlain returns the dot product of two vectors of any width, summed in the order of a warp.
func dotPlain(a, b []float32) float32 {
	products := make([]float32, len(a))
	for j := range a {
		products[j] = float32(a[j] * b[j])
	}
	return vec.Sum(products)
}

// dotQuick is dotPlain for a multiple of 8 elements, at most vec.MaxD.
func dotQuick(a, b []float32) float32 {
	var sum [1]float32
	vec.Dots(sum[:], a, b, len(a))
	return sum[0]
}
