package invoke

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"

	"kvcompress/dtype"
	"kvcompress/internal/words"
	"kvcompress/kernels/device"
	"kvcompress/safetensors"
	"kvcompress/trace/regular"
)

// Tolerance says how far a number may be from the expected one. The zero Tolerance requires equal bits. With
// any other, two NaNs are equal, and numbers agree within ULP steps of their type, or if |got - want| ≤ Abs +
// Rel·|want|. Integers are always compared exactly.
type Tolerance struct {
	ULP      uint64
	Rel, Abs float64
}

// Comparison is the result of comparing a buffer with the file that it should equal.
type Comparison struct {
	Line     int    `json:"line,omitempty"` // of a script
	Arg      *int   `json:"arg,omitempty"`  // index of an argument
	Name     string `json:"name"`           // of the buffer
	File     string `json:"file"`
	Type     string `json:"type"`
	Agree    bool   `json:"agree"`
	Elements int64  `json:"elements"` // number of compared elements
	Differ   int64  `json:"differ"`
	// First is the index of the first element that differs; nil if none does. Got and Want are its values.
	First []int64 `json:"first,omitempty"`
	Got   *Number `json:"got,omitempty"`
	Want  *Number `json:"want,omitempty"`
	// MaxULP and MaxAbs are the largest differences among elements that are neither NaN nor infinite; MaxULP
	// counts steps of a floating-point type.
	MaxULP uint64 `json:"max_ulp"`
	MaxAbs Number `json:"max_abs"`
}

// String returns the result as one line.
func (c *Comparison) String() string {
	if c.Agree {
		if c.MaxULP == 0 && c.MaxAbs == 0 {
			return fmt.Sprintf("%s equals %s (%s)", c.Name, c.File, words.Count(c.Elements, "element"))
		}
		return fmt.Sprintf("%s is near %s (%s; at most %s ulp and %g apart)", c.Name, c.File, words.Count(c.Elements, "element"), words.Number(c.MaxULP), float64(c.MaxAbs))
	}
	return fmt.Sprintf("%s differs from %s in %s of %s, first at %v: %v, want %v (at most %s ulp and %g apart)",
		c.Name, c.File, words.Number(c.Differ), words.Count(c.Elements, "element"), c.First, float64(*c.Got), float64(*c.Want), words.Number(c.MaxULP), float64(c.MaxAbs))
}

// numeric reads the elements of a type.
type numeric struct {
	typ   safetensors.DType
	size  int
	small dtype.DType // if it is a floating-point type of at most 32 bits
	float bool
}

func newNumeric(t safetensors.DType) numeric {
	small, float := t.Float()
	return numeric{t, t.Bits() / 8, small, float || t == safetensors.F64}
}

// word returns the bits of an element.
func (n numeric) word(raw []byte) uint64 {
	var w [8]byte
	copy(w[:], raw[:n.size])
	return binary.LittleEndian.Uint64(w[:])
}

// value returns an element as a number. 64-bit integers are rounded.
func (n numeric) value(raw []byte) float64 {
	switch {
	case n.typ == safetensors.F64:
		return math.Float64frombits(n.word(raw))
	case n.float:
		var v [1]float32
		n.small.Decode(v[:], raw[:n.size])
		return float64(v[0])
	case n.typ == safetensors.I8, n.typ == safetensors.I16, n.typ == safetensors.I32, n.typ == safetensors.I64:
		shift := 64 - 8*n.size
		return float64(int64(n.word(raw)<<shift) >> shift)
	}
	return float64(n.word(raw))
}

// rank numbers the values of a floating-point type in ascending order; both zeros are 0.
func (n numeric) rank(w uint64) int64 {
	sign := uint64(1) << (8*n.size - 1)
	if w&sign != 0 {
		return -int64(w &^ sign)
	}
	return int64(w)
}

// near reports whether two elements agree, and their distance.
func (t Tolerance) near(n numeric, got, want []byte) (ok bool, ulp uint64, abs float64) {
	if bytes.Equal(got[:n.size], want[:n.size]) {
		return true, 0, 0
	}
	g, w := n.value(got), n.value(want)
	abs = math.Abs(g - w)
	if !n.float {
		return false, 0, abs
	}
	exact := t == Tolerance{}
	switch {
	case g != g && w != w:
		return !exact, 0, 0
	case g != g || w != w || math.IsInf(g, 0) || math.IsInf(w, 0):
		return false, 0, 0
	}
	a, b := n.rank(n.word(got)), n.rank(n.word(want))
	ulp = uint64(max(a, b)) - uint64(min(a, b))
	return !exact && (ulp <= t.ULP || abs <= t.Abs+t.Rel*math.Abs(w)), ulp, abs
}

// add compares elements from index at on.
func (c *Comparison) add(t Tolerance, n numeric, got, want []byte, at int64, shape []int64) {
	count := len(got) / n.size
	c.Elements += int64(count)
	if bytes.Equal(got, want) {
		return
	}
	for i := range count {
		g, w := got[i*n.size:], want[i*n.size:]
		ok, ulp, abs := t.near(n, g, w)
		c.MaxULP, c.MaxAbs = max(c.MaxULP, ulp), max(c.MaxAbs, Number(abs))
		if ok {
			continue
		}
		if c.Differ++; c.Differ == 1 {
			gv, wv := Number(n.value(g)), Number(n.value(w))
			c.First, c.Got, c.Want = indexOf(at+int64(i), shape), &gv, &wv
		}
	}
}

// indexOf returns the indices of an element in a row-major array.
func indexOf(i int64, shape []int64) []int64 {
	index := make([]int64, len(shape))
	for d := len(shape) - 1; d >= 0; d-- {
		index[d] = i % shape[d]
		i /= shape[d]
	}
	return index
}

// reader reads a buffer's bytes from the device.
type reader func(to []byte, off int64) error

// compare compares a buffer with a file's array of the same type and shape. Elements that the mask excludes
// are skipped; a nil mask excludes none.
func compare(ctx context.Context, read reader, typ safetensors.DType, shape []int64, file string, mask []byte, t Tolerance) (Comparison, error) {
	from, err := openSource(file)
	if err != nil {
		return Comparison{}, err
	}
	defer from.file.Close()
	if from.typ != typ || !slices.Equal(from.shape, shape) {
		return Comparison{}, fmt.Errorf("%s is %s, and the buffer %s", file, typeText(from.typ, from.shape), typeText(typ, shape))
	}
	c := Comparison{File: file, Type: nameOf(typ)}
	n := newNumeric(typ)
	got, want := make([]byte, min(from.size, chunk)), make([]byte, min(from.size, chunk))
	err = inChunks(ctx, from.size, func(part []byte, off int64) error {
		if _, err := io.ReadFull(from.at, want[:len(part)]); err != nil {
			return fmt.Errorf("%s: at byte %d of %d: %w", file, off, from.size, regular.Short(err))
		}
		first := off / int64(n.size)
		return eachRun(mask, first, len(part)/n.size, func(i, j int) error {
			a, b := i*n.size, j*n.size
			if err := read(got[a:b], off+int64(a)); err != nil {
				return err
			}
			c.add(t, n, got[a:b], want[a:b], first+int64(i), shape)
			return nil
		})
	})
	c.Agree = c.Differ == 0
	return c, err
}

// eachRun calls do for the runs of consecutive elements that a mask includes, among count elements starting
// at first; a nil mask includes all.
func eachRun(mask []byte, first int64, count int, do func(from, to int) error) error {
	if mask == nil {
		return do(0, count)
	}
	mask = mask[first:]
	for i := 0; i < count; {
		j := i
		for j < count && (mask[j] != 0) == (mask[i] != 0) {
			j++
		}
		if mask[i] != 0 {
			if err := do(i, j); err != nil {
				return err
			}
		}
		i = j
	}
	return nil
}

// readMask reads an array of booleans or bytes, one for each element of a buffer.
func readMask(file string, elements int64) ([]byte, error) {
	from, err := openSource(file)
	if err != nil {
		return nil, err
	}
	defer from.file.Close()
	if from.typ.Bits() != 8 || from.size != elements {
		return nil, fmt.Errorf("%s is %s: a mask has a bool for each of the %d elements", file, typeText(from.typ, from.shape), elements)
	}
	mask := make([]byte, from.size)
	if _, err := io.ReadFull(from.at, mask); err != nil {
		return nil, fmt.Errorf("%s: %w", file, regular.Short(err))
	}
	return mask, nil
}

// pointerTo returns a reader of device memory.
func pointerTo(dev device.Device, p device.Ptr) reader {
	return func(to []byte, off int64) error { return dev.Read(to, p+device.Ptr(off)) }
}
