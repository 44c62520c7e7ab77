package merge

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"kvcompress/internal/ceil"
	"kvcompress/ref/vec"
)

// sameBits reports whether two slices are equal to the bit.
func sameBits(a, b []float32) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return false
		}
	}
	return true
}

// draw returns two vectors of random magnitude: independent, similar, parallel, opposite or nearly so, or
// zero.
func draw(r *rand.Rand, width int) (x, y []float32) {
	x, y = make([]float32, width), make([]float32, width)
	scale := math.Exp2(r.Float64()*40 - 20)
	if r.IntN(8) == 0 {
		scale = math.Exp2(r.Float64()*190 - 140) // subnormal, or near 2⁵⁶
	}
	ratio, noise := float32(math.Exp2(r.Float64()*8-4)), 0.0
	kind := r.IntN(8)
	if kind >= 4 {
		noise = math.Exp2(-r.Float64() * 24)
	}
	if kind%2 == 1 {
		ratio = -ratio
	}
	for j := range x {
		x[j] = float32(r.NormFloat64() * scale)
		y[j] = ratio * (x[j] + float32(noise*r.NormFloat64()*scale))
		switch kind {
		case 0:
			y[j] = float32(r.NormFloat64() * scale)
		case 1:
			y[j] = 0
		}
		limit := float32(MaxMagnitude)
		x[j], y[j] = max(-limit, min(x[j], limit)), max(-limit, min(y[j], limit))
	}
	if r.IntN(2) == 0 {
		x, y = y, x
	}
	return x, y
}

// check merges one pair of vectors, by Merge and Spec, and checks the result against the bounds of
// NUMERICS.md §13, in binary64. It returns the errors of the cosine and of the direction as fractions of
// their bounds.
func check(t testing.TB, s Slerp, x, y []float32) (cosine, direction float64) {
	t.Helper()
	m, err := s.Merge(x, y, len(x))
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Spec(x, y, len(x))
	if err != nil {
		t.Fatal(err)
	}
	if !sameBits(m.Directions, p.Directions) || !sameBits(m.Deep, p.Deep) || !sameBits(m.Shallow, p.Shallow) || !sameBits(m.Distances, p.Distances) {
		t.Fatalf("%+v, %v, %v: Merge gives %+v, Spec %+v", s, x, y, m, p)
	}
	const u = 0x1p-24
	terms := float64(ceil.Div(len(x), vec.Lanes))
	square := func(a, b []float64) (sum float64) {
		for j := range a {
			sum += a[j] * b[j]
		}
		return sum
	}
	unit := func(v []float32, norm float32) ([]float64, bool) {
		d := make([]float64, len(v))
		for j := range d {
			d[j] = float64(v[j])
		}
		exact := math.Sqrt(square(d, d))
		if n := max(exact, s.Eps); !(math.Abs(float64(norm)-n) <= n*u*(terms/2+5)) {
			t.Fatalf("%v: norm %g, want %g", v, norm, n)
		}
		n := max(exact, s.Eps)
		for j := range d {
			d[j] /= n
		}
		return d, exact > 2*s.Eps
	}
	ux, largeX := unit(x, m.Deep[0])
	uy, largeY := unit(y, m.Shallow[0])
	for _, v := range m.Directions {
		if !(v >= -1.0001 && v <= 1.0001) {
			t.Fatalf("%+v, %v, %v: direction %v", s, x, y, m.Directions)
		}
	}
	if d := m.Distances[0]; !(d >= 0 && d <= 1) {
		t.Fatalf("%+v, %v, %v: distance %v", s, x, y, d)
	}
	if !largeX || !largeY || s.Eps < 0x1p-23 {
		return 0, 0
	}
	angle := vec.Acos(s.clamp(dotPlain(unit32(s, x), unit32(s, y))))
	if got := angle / math.Pi; got != m.Distances[0] {
		t.Fatalf("distance %v, want %v", m.Distances[0], got)
	}
	c := math.Cos(float64(angle))
	want := min(max(square(ux, uy), float64(float32(-1+s.Eps))), float64(float32(1-s.Eps)))
	cosine = math.Abs(c-want) / (u * (2*terms + 22))

	sin := math.Sin(float64(angle))
	a, b := math.Sin((1-s.T)*float64(angle))/sin, math.Sin(s.T*float64(angle))/sin
	e := make([]float64, len(x))
	for j := range e {
		e[j] = a*uy[j] + b*ux[j]
	}
	length := max(math.Sqrt(square(e, e)), s.Eps)
	limit := u * (6*(max(a, b)*(22+terms/2)+float64(angle)/sin)/length + 5 + terms/2)
	for j := range e {
		direction = max(direction, math.Abs(float64(m.Directions[j])-e[j]/length)/limit)
	}
	if cosine > 1 || direction > 1 {
		t.Fatalf("%+v, %v, %v: the cosine reaches %g of its bound, the direction %g", s, x, y, cosine, direction)
	}
	return cosine, direction
}

func unit32(s Slerp, x []float32) []float32 {
	u, _ := s.unit(x)
	return u
}

// TestBounds merges random vectors with random options.
func TestBounds(t *testing.T) {
	rounds := 20000
	if testing.Short() {
		rounds = 2000
	}
	r := rand.New(rand.NewPCG(1, 2))
	var cosine, direction float64
	for range rounds {
		s := Default()
		if r.IntN(2) == 0 {
			s = Slerp{T: r.Float64(), Eps: math.Exp2(-r.Float64() * 36)}
			s.Eps = min(s.Eps, MaxEps)
		}
		x, y := draw(r, 1+r.IntN(40)*(1+r.IntN(8)))
		c, d := check(t, s, x, y)
		cosine, direction = max(cosine, c), max(direction, d)
	}
	t.Logf("cosines reach %.3f of their bound, directions %.3f", cosine, direction)
}

// TestValues has vectors with a known merge.
func TestValues(t *testing.T) {
	root := float32(math.Sqrt(0.5))
	for _, c := range []struct {
		name                    string
		s                       Slerp
		x, y                    []float32
		direction               []float32
		deep, shallow, distance float32
	}{
		{"halfway", Slerp{0.5, 1e-6}, []float32{0, 3}, []float32{4, 0}, []float32{root, root}, 3, 4, 0.5},
		{"the shallower's", Slerp{0, 1e-6}, []float32{0, 3}, []float32{4, 0}, []float32{1, 0}, 3, 4, 0.5},
		{"the deeper's", Slerp{1, 1e-6}, []float32{0, 3}, []float32{4, 0}, []float32{0, 1}, 3, 4, 0.5},
		// Parallel vectors have the smallest angle that Eps allows.
		{"parallel", Default(), []float32{2, 0}, []float32{3, 0}, []float32{1, 0}, 2, 3, 0x1.db2612p-12},
		{"opposite", Default(), []float32{2, 0}, []float32{-3, 0}, []float32{1, 0}, 2, 3, 0x1.ffc49ap-1},
		{"opposite, the shallower's", Slerp{0.4, 1e-6}, []float32{2, 0}, []float32{-3, 0}, []float32{-1, 0}, 2, 3, 0x1.ffc49ap-1},
		{"opposite, cancelled", Slerp{0.5, 1e-6}, []float32{2, 0}, []float32{-3, 0}, []float32{0, 0}, 2, 3, 0x1.ffc49ap-1},
		{"zero", Default(), []float32{0, 0}, []float32{-3, 0}, []float32{-1, 0}, 1e-6, 3, 0.5},
		{"zeros", Default(), []float32{0, 0}, []float32{0, 0}, []float32{0, 0}, 1e-6, 1e-6, 0.5},
		{"of square 0", Default(), []float32{0x1p-100, 0}, []float32{0, 1}, []float32{0, 1}, 1e-6, 1, 0.5},
		// If Eps is too small to change 1, the sine of equal vectors is 0.
		{"equal, without margin", Slerp{0.6, MinEps}, []float32{2, 0}, []float32{3, 0}, []float32{1, 0}, 2, 3, 0},
	} {
		m, err := c.s.Merge(c.x, c.y, 2)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for j, want := range c.direction {
			if d := m.Directions[j] - want; !(d >= -0x1p-23 && d <= 0x1p-23) {
				t.Errorf("%s: direction %v, want %v", c.name, m.Directions, c.direction)
				break
			}
		}
		if m.Deep[0] != c.deep || m.Shallow[0] != c.shallow || m.Distances[0] != c.distance {
			t.Errorf("%s: norms %x and %x, distance %x, want %x, %x, %x", c.name, m.Deep[0], m.Shallow[0], m.Distances[0], c.deep, c.shallow, c.distance)
		}
		check(t, c.s, c.x, c.y)
	}
}

// TestNormsAreKept restores both layers: norms must be the original ones, and directions the same.
func TestNormsAreKept(t *testing.T) {
	const n, width = 50, 32
	r := rand.New(rand.NewPCG(3, 4))
	x, y := make([]float32, n*width), make([]float32, n*width)
	for i := range x {
		x[i], y[i] = float32(r.NormFloat64()), float32(r.NormFloat64())
	}
	m, err := Default().Merge(x, y, width)
	if err != nil {
		t.Fatal(err)
	}
	restored := make([]float32, n*width)
	for _, layer := range []struct {
		was, norms []float32
	}{{x, m.Deep}, {y, m.Shallow}} {
		Restore(restored, m.Directions, layer.norms)
		for i := range n {
			was, is := dotPlain(layer.was[i*width:][:width], layer.was[i*width:][:width]), dotPlain(restored[i*width:][:width], restored[i*width:][:width])
			if d := math.Abs(float64(is/was) - 1); !(d <= 40*0x1p-24) {
				t.Errorf("token %d: the square of its norm is %g, was %g", i, is, was)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	two := []float32{1, 2}
	for _, c := range []struct {
		s     Slerp
		x, y  []float32
		width int
		want  string
	}{
		{Slerp{-0.1, 1e-6}, two, two, 2, "weight t"},
		{Slerp{1.1, 1e-6}, two, two, 2, "weight t"},
		{Slerp{math.NaN(), 1e-6}, two, two, 2, "weight t"},
		{Slerp{0.5, 0}, two, two, 2, "eps"},
		{Slerp{0.5, 0.2}, two, two, 2, "eps"},
		{Slerp{0.5, math.NaN()}, two, two, 2, "eps"},
		{Default(), two, two, 0, "choose 1 to"},
		{Default(), two, two, MaxWidth + 1, "choose 1 to"},
		{Default(), two, two, 3, "not the same number of vectors of 3"},
		{Default(), two, two[:1], 1, "not the same number"},
		{Default(), []float32{1, nan}, two, 2, "vector 0, element 1 is NaN"},
		{Default(), two, []float32{1, -inf}, 1, "vector 1, element 0 is -Inf"},
		{Default(), []float32{0x1p57, 1}, two, 2, "beyond ±2⁵⁶"},
	} {
		for _, merge := range []func(x, y []float32, width int) (Merged, error){c.s.Merge, c.s.Spec} {
			if _, err := merge(c.x, c.y, c.width); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v, width %d: %v, want %q", c.s, c.width, err, c.want)
			}
		}
	}
	if m, err := Default().Merge(nil, nil, 8); err != nil || len(m.Deep) != 0 {
		t.Errorf("no vectors: %v, %+v", err, m)
	}
	// The widest vectors with the largest elements.
	wide := make([]float32, MaxWidth)
	for i := range wide {
		wide[i] = MaxMagnitude
	}
	check(t, Default(), wide, wide)
}

// TestDigest checks a digest of results, which must be the same on every platform, whether or not the
// compiler may fuse multiply-adds.
func TestDigest(t *testing.T) {
	const want = 0xddad0d850e7fb3c5
	r := rand.New(rand.NewPCG(5, 6))
	digest := fnv.New64a()
	for _, width := range []int{1, 8, 24, 80, 128, 256, 1024} {
		x, y := make([]float32, 20*width), make([]float32, 20*width)
		for i := range x {
			x[i], y[i] = float32(r.Float64()*8-4), float32(r.Float64()*8-4) // float64 arithmetic, rounded last
		}
		m, err := Default().Merge(x, y, width)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range [][]float32{m.Directions, m.Deep, m.Shallow, m.Distances} {
			for _, v := range part {
				digest.Write(binary.LittleEndian.AppendUint32(nil, math.Float32bits(v)))
			}
		}
	}
	if got := digest.Sum64(); got != want {
		t.Errorf("digest %#x, want %#x", got, uint64(want))
	}
}

// FuzzMerge gives Merge any bits as elements. Either it returns an error, or Merge and Spec agree, all bounds
// hold, and nothing is NaN.
func FuzzMerge(f *testing.F) {
	f.Add(uint8(153), uint8(20), make([]byte, 64))
	f.Add(uint8(0), uint8(3), []byte("\x00\x00\x80\x3f\x00\x00\x00\xc0\x01\x00\x00\x00\xff\xff\x7f\x3f"))
	f.Fuzz(func(t *testing.T, weight, eps uint8, data []byte) {
		if len(data) > 1<<12 {
			return
		}
		s := Slerp{T: float64(weight) / 255, Eps: math.Exp2(-float64(eps) / 4)}
		n := len(data) / 8
		x, y := make([]float32, n), make([]float32, n)
		for i := range x {
			x[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[8*i:]))
			y[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[8*i+4:]))
		}
		if _, err := s.Merge(x, y, n); err != nil {
			return
		}
		check(t, s, x, y)
	})
}

func BenchmarkMerge(b *testing.B) {
	const n, width = 256, 128
	r := rand.New(rand.NewPCG(7, 8))
	x, y := make([]float32, n*width), make([]float32, n*width)
	for i := range x {
		x[i], y[i] = float32(r.NormFloat64()), float32(r.NormFloat64())
	}
	for _, form := range []struct {
		name string
		do   func(x, y []float32, width int) (Merged, error)
	}{{"Merge", Default().Merge}, {"Spec", Default().Spec}} {
		b.Run(form.name, func(b *testing.B) {
			b.SetBytes(2 * 2 * n * width) // as f16, of both layers
			for b.Loop() {
				if _, err := form.do(x, y, width); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A token's keys in two adjacent layers.
func ExampleSlerp_Merge() {
	deep, shallow := []float32{0, 3}, []float32{4, 0}
	m, err := Slerp{T: 0.5, Eps: 1e-6}.Merge(deep, shallow, 2)
	if err != nil {
		fmt.Println(err)
		return
	}
	restored := make([]float32, 2)
	Restore(restored, m.Directions, m.Deep)
	fmt.Printf("distance %.2f, norms %v and %v, the deeper layer's is read as %.2f\n", m.Distances[0], m.Deep[0], m.Shallow[0], restored)
	// Output:
	// distance 0.50, norms 3 and 4, the deeper layer's is read as [2.12 2.12]
}
