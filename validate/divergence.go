package validate

import (
	"fmt"
	"math"
	"strings"

	"kvcompress/dtype"
	"kvcompress/kv"
	"kvcompress/ref"
)

// Divergence is the first value in which two engines differ, and how many more do
// at the same stage. It is an error, so that a replay stops where it occurs.
type Divergence struct {
	Trace string     `json:"trace,omitempty"`
	Step  int        `json:"step"`
	Stage ref.Stage  `json:"stage,omitempty"`     // the one that is done; none if there is no telling
	Seqs  []kv.SeqID `json:"sequences,omitempty"` // of the stage
	Sides [2]string  `json:"sides"`               // who has Want, and who has Got

	What string `json:"what"` // "metric", "key", …
	Place

	Want string `json:"want"` // decimal, and the bits in hex where they are a number's
	Got  string `json:"got"`
	ULPs uint64 `json:"ulp,omitempty"` // how many floats of the format lie between them, and one; 0 where there is no telling

	// Decided is, where an evicted KV differs, which KVs it is about.
	Decided *Decided `json:"decided,omitempty"`

	More  int    `json:"more"`  // values that differ at this stage beside this one
	Parts []Part `json:"parts"` // all that differ, by what they are, in the order in which they depend on each other

	// Operation is what the engines were doing, and Number how many operations they
	// had done before it, from which a [Dump] is made; −1 where no operation is the
	// cause: where the reference differs from its own specification.
	Operation Operation `json:"operation"`
	Number    int       `json:"number"`
}

// Part says how many values of one kind differ.
type Part struct {
	What   string `json:"what"`
	Values int    `json:"values"`
}

// Place says where a value is; what a value does not have is −1.
type Place struct {
	Sequence kv.SeqID `json:"sequence"`
	Layer    int      `json:"layer"`
	Head     int      `json:"head"`    // KV head; of an output, query head
	Index    int      `json:"index"`   // of a KV in its head, of an entry in its list or table, of a block
	Element  int      `json:"element"` // of a key, value or output: 0 to D−1
	Slot     int      `json:"slot"`    // of a KV, in the reference's cache
}

// Nowhere is the place of what is not in the cache.
var Nowhere = Place{-1, -1, -1, -1, -1, -1}

// String names the parts of a place that a value has.
func (p Place) String() string {
	var parts []string
	for _, x := range []struct {
		name  string
		value int
	}{
		{"sequence", int(p.Sequence)}, {"layer", p.Layer}, {"head", p.Head}, {"index", p.Index}, {"element", p.Element}, {"slot", p.Slot},
	} {
		if x.value >= 0 {
			parts = append(parts, fmt.Sprint(x.name, " ", x.value))
		}
	}
	return strings.Join(parts, ", ")
}

// Where says in which trace, step and stage the engines differ, and in what.
func (d *Divergence) Where() string {
	var b strings.Builder
	if d.Trace != "" {
		fmt.Fprintf(&b, "%s, ", d.Trace)
	}
	if d.Step >= 0 {
		fmt.Fprintf(&b, "step %d, ", d.Step)
	}
	if d.Stage != "" {
		fmt.Fprintf(&b, "stage %s of %s: ", d.Stage, sequences(d.Seqs))
	} else if d.Operation.Kind != "" {
		fmt.Fprintf(&b, "%s: ", d.Operation)
	}
	return b.String() + d.What
}

// Error is the divergence in one line.
func (d *Divergence) Error() string {
	at := d.Place.String()
	if at != "" {
		at = " at " + at
	}
	more := ""
	if d.More > 0 {
		more = fmt.Sprintf(", and %d more", d.More)
	}
	return fmt.Sprintf("%s%s: %s by the %s, %s by the %s%s", d.Where(), at, d.Want, d.Sides[0], d.Got, d.Sides[1], more)
}

// String is the divergence in a few lines.
func (d *Divergence) String() string {
	var b strings.Builder
	fmt.Fprintln(&b, d.Where())
	width := max(len(d.Sides[0]), len(d.Sides[1]), len("at"))
	if at := d.Place.String(); at != "" {
		fmt.Fprintf(&b, "  %-*s  %s\n", width, "at", at)
	}
	fmt.Fprintf(&b, "  %-*s  %s\n", width, d.Sides[0], d.Want)
	fmt.Fprintf(&b, "  %-*s  %s", width, d.Sides[1], d.Got)
	if d.ULPs > 0 {
		fmt.Fprintf(&b, "  (%d ulp apart)", d.ULPs)
	}
	b.WriteByte('\n')
	if d.Decided != nil {
		b.WriteString(d.Decided.String())
	}
	if d.More > 0 {
		var parts []string
		for _, p := range d.Parts {
			parts = append(parts, fmt.Sprintf("%d × %s", p.Values, p.What))
		}
		fmt.Fprintf(&b, "  %d more differ at this stage; in all %s\n", d.More, strings.Join(parts, ", "))
	}
	return b.String()
}

// sequences names a stage's sequences, the first few of many.
func sequences(ids []kv.SeqID) string {
	const most = 8
	switch {
	case len(ids) == 1:
		return fmt.Sprint("sequence ", ids[0])
	case len(ids) > most:
		list := fmt.Sprint(ids[:most])
		return fmt.Sprintf("%d sequences %s …]", len(ids), strings.TrimSuffix(list, "]"))
	default:
		return fmt.Sprint("sequences ", ids)
	}
}

// Tolerance says how far the results of float arithmetic, outputs and metrics, may
// lie from the reference's: within ULPs floats, or within ATol + RTol·|reference's|, as
// numpy.allclose has it. The zero Tolerance is equality to the bit.
type Tolerance struct {
	ULPs uint64
	RTol float64
	ATol float64
}

// Exact reports whether nothing is tolerated.
func (t Tolerance) Exact() bool { return t == Tolerance{} }

// Allows reports whether two floats of different bits agree nevertheless. NaN
// agrees with nothing.
func (t Tolerance) Allows(want, got float32) bool {
	if want != want || got != got {
		return false
	}
	if n := Distance(want, got); n <= t.ULPs {
		return true
	}
	return math.Abs(float64(got)-float64(want)) <= t.ATol+float64(t.RTol*math.Abs(float64(want)))
}

// Distance returns how many steps from float to next float lie between two floats;
// +0 and −0 are one step apart. It is 0 if one is NaN.
func Distance(a, b float32) uint64 {
	if a != a || b != b {
		return 0
	}
	return StepsBetween(uint64(math.Float32bits(a)), uint64(math.Float32bits(b)), 32)
}

// StepsBetween is Distance for floats of any format of width bits: sign and
// magnitude.
func StepsBetween(a, b uint64, width int) uint64 {
	order := func(bits uint64) int64 {
		sign := uint64(1) << (width - 1)
		if bits&sign != 0 {
			return -1 - int64(bits&^sign)
		}
		return int64(bits)
	}
	x, y := order(a), order(b)
	return uint64(max(x, y) - min(x, y))
}

// Float32Text is a float in decimal, exactly enough to tell it from its neighbours,
// and its bits.
func Float32Text(f float32) string {
	return fmt.Sprintf("%.9g = 0x%08x", f, math.Float32bits(f))
}

// Element returns one element of a stored key or value, as text and as bits.
func Element(format dtype.DType, row []byte, i int) (text string, value float32, bits uint64) {
	size := format.Size()
	raw := row[i*size:][:size]
	for j, b := range raw {
		bits |= uint64(b) << (8 * j)
	}
	var decoded [1]float32
	format.Decode(decoded[:], raw)
	return fmt.Sprintf("%.9g = 0x%0*x", decoded[0], 2*size, bits), decoded[0], bits
}
