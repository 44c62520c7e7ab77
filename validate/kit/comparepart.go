package kit

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"

	"kvcompress/internal/words"
	"kvcompress/ref"
	"kvcompress/validate"
)

// chunk is the number of elements read at a time.
const chunk = 1 << 16

// partComparison compares one part of one stage.
type partComparison struct {
	*stageComparison
	part   *Part
	result *Result

	want, got    *array
	a, b         []byte // chunks of both arrays
	x, y         []float32
	xInts, yInts []int64
}

// compare compares the part. It returns errAbsent if the part is missing in theirs.
func (c *partComparison) compare() error {
	wanted, _ := elementOf(c.part.DType)
	var err error
	if c.got, err = c.theirs.array(c.part.Name, wanted); errors.Is(err, fs.ErrNotExist) {
		return errAbsent
	} else if err != nil {
		return fmt.Errorf("theirs: %w", err)
	}
	if c.want, err = c.expected(c.part); err != nil {
		return err
	}
	if c.part.Counts != "" {
		return c.byHead()
	}
	if !slices.Equal(c.got.shape, c.part.shape()) {
		c.differ("shape", validate.Nowhere, fmt.Sprint(c.part.shape()), fmt.Sprint(c.got.shape))
		return nil
	}
	return c.elements(c.want.elements(), 0, 0, func(i int64) validate.Place { return c.placeOf(i, c.part.Dims, c.atAll()) })
}

// atAll returns the place of the whole part.
func (c *partComparison) atAll() validate.Place {
	at := validate.Nowhere
	if len(c.stage.Sequences) == 1 && c.stage.Stage != ref.StageRelease {
		at.Sequence = c.stage.Sequences[0]
	}
	return at
}

// byHead compares, head by head, a part with a different length for each head. If theirs has no counts, it
// uses the export's.
func (c *partComparison) byHead() error {
	countsPart := c.stageComparison.part(c.part.Counts)
	counts, err := c.expected(countsPart)
	if err != nil {
		return err
	}
	want, sum, err := readCounts(counts, c.part.Dims[0].N)
	if err != nil {
		return fmt.Errorf("the export: %w", err)
	}
	if sum != c.part.Dims[0].N {
		return fmt.Errorf("the export: %s sums to %d, and %s has %s: export again", counts.name, sum, c.part.Name, words.Count(c.part.Dims[0].N, "entry"))
	}
	total := int64(0)
	shape := c.part.shape()
	if len(c.got.shape) == len(shape) {
		total, shape[0] = c.got.shape[0], c.got.shape[0]
	}
	if !slices.Equal(c.got.shape, shape) || total > maxElements { // ignoring the number of entries
		c.differ("shape", validate.Nowhere, fmt.Sprint(c.part.shape()), fmt.Sprint(c.got.shape))
		return nil
	}
	got, gotSum := want, sum
	a, err := c.theirs.array(countsPart.Name, counts.element)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("theirs: %w", err)
	case slices.Equal(a.shape, countsPart.shape()):
		if got, gotSum, err = readCounts(a, total); err != nil {
			return fmt.Errorf("theirs: %w", err)
		}
	}
	if gotSum != total {
		what := "length of the list: " + c.part.Value + ", of all heads"
		c.differ(what, c.atAll(), fmt.Sprint(sum), fmt.Sprint(total))
		return nil
	}
	return c.lists(countsPart.Dims, want, got)
}

// lists compares the lists of all heads: first their lengths, then, if those are equal, their entries.
func (c *partComparison) lists(dims []Dim, want, got []int64) error {
	row := c.part.row()
	entry := slices.Clone(c.part.Dims)
	var a, b int64 // start of the head's lists
	for h := range want {
		at := c.placeOf(int64(h), dims, c.atAll())
		if want[h] != got[h] {
			c.result.Values++
			c.differ("length of the list: "+c.part.Value, at, fmt.Sprint(want[h]), fmt.Sprint(got[h]))
		} else {
			entry[0].N = want[h]
			if err := c.elements(want[h]*row, a*row, b*row, func(i int64) validate.Place { return c.placeOf(i, entry, at) }); err != nil {
				return err
			}
		}
		a += want[h]
		b += got[h]
	}
	return nil
}

// readCounts reads the counts of heads, and their sum. A negative count is an error. The sum is capped at
// most + 1.
func readCounts(a *array, most int64) (counts []int64, sum int64, err error) {
	raw, err := a.bytes(nil, 0, int(a.elements())) // bounded by the number of heads
	if err != nil {
		return nil, 0, err
	}
	counts = a.ints(nil, raw)
	for _, n := range counts {
		if n < 0 {
			return nil, 0, fmt.Errorf("%s: a count of %d", a.name, n)
		}
		if sum += min(n, most+1); sum > most {
			sum = most + 1
		}
	}
	return counts, sum, nil
}

// elements compares n elements, from element a of the export's array and element b of theirs. place returns
// the place of the i-th of them.
func (c *partComparison) elements(n, a, b int64, place func(i int64) validate.Place) error {
	c.result.Values += int(n)
	for first := int64(0); first < n; first += chunk {
		size := int(min(chunk, n-first))
		var err error
		if c.a, err = c.want.bytes(c.a, a+first, size); err != nil {
			return fmt.Errorf("the export: %w", err)
		}
		if c.b, err = c.got.bytes(c.b, b+first, size); err != nil {
			return fmt.Errorf("theirs: %w", err)
		}
		if c.want.element == c.got.element && bytes.Equal(c.a, c.b) {
			continue
		}
		at := func(i int) validate.Place { return place(first + int64(i)) }
		if c.want.kind == floating {
			c.floats(at)
		} else {
			c.ints(at)
		}
	}
	return nil
}

func (c *partComparison) ints(place func(i int) validate.Place) {
	c.xInts, c.yInts = c.want.ints(c.xInts[:0], c.a), c.got.ints(c.yInts[:0], c.b)
	for i, w := range c.xInts {
		if g := c.yInts[i]; g != w {
			c.differ(c.part.Value, place(i), fmt.Sprint(w), fmt.Sprint(g))
		}
	}
}

// floats compares floats by their bits as binary32; converting any format to binary32 is exact.
func (c *partComparison) floats(place func(i int) validate.Place) {
	c.x, c.y = c.want.floats(c.x[:0], c.a), c.got.floats(c.y[:0], c.b)
	tolerance := c.opt.Tolerance
	if c.part.stored() {
		tolerance = validate.Tolerance{}
	}
	for i, w := range c.x {
		g := c.y[i]
		if math.Float32bits(w) == math.Float32bits(g) {
			continue
		}
		if !tolerance.Exact() && tolerance.Allows(w, g) {
			c.result.Tolerated++
			c.result.MaxULPs = max(c.result.MaxULPs, validate.Distance(w, g))
			continue
		}
		d := c.differ(c.part.Value, place(i), "", "")
		if d == nil {
			continue
		}
		d.Golden, d.Theirs, d.ULPs = validate.Float32Text(w), validate.Float32Text(g), validate.Distance(w, g)
		if c.want.element == c.got.element {
			text, _, bitsA := validate.Element(c.want.format, c.a, i)
			other, _, bitsB := validate.Element(c.want.format, c.b, i)
			d.Golden, d.Theirs = text, other
			if w == w && g == g {
				d.ULPs = validate.StepsBetween(bitsA, bitsB, 8*c.want.size)
			}
		}
	}
}

// differ records a value that differs. It returns the departure if it is the part's first.
func (c *partComparison) differ(what string, at validate.Place, want, got string) *Departure {
	c.result.Differ++
	if c.result.Divergence != nil {
		return nil
	}
	c.result.Divergence = &Departure{
		File: c.part.File, Step: c.stage.Step, Stage: c.stage.Stage, Sequences: c.stage.Sequences, What: what, At: at, Golden: want, Theirs: got,
	}
	return c.result.Divergence
}

// placeOf returns the place of element i of an array with these dimensions; at is the place of the whole
// array.
func (c *partComparison) placeOf(i int64, dims []Dim, at validate.Place) validate.Place {
	for d := len(dims) - 1; d >= 0; d-- {
		n := max(1, dims[d].N)
		index := int(i % n)
		i /= n
		switch dims[d].Axis {
		case AxisLayer:
			at.Layer = index
		case AxisSequence:
			at.Sequence = c.stage.Sequences[index]
		case AxisHead, AxisQueryHead:
			at.Head = index
		case AxisElement:
			at.Element = index
		case AxisIndex, AxisToken:
			at.Index = index
		}
	}
	return at
}
