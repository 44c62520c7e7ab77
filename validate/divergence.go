package validate

import (
	"fmt"
	"math"
	"strings"

	"kvcompress/dtype"
	"kvcompress/internal/words"
	"kvcompress/kv"
	"kvcompress/ref"
)

// Divergence is the first value in which two engines differ at a stage, and the number of others. It is an
// error, so that a replay stops there.
type Divergence struct {
	Trace string     `json:"trace,omitempty"`
	Step  int        `json:"step"`
	Stage ref.Stage  `json:"stage,omitempty"`     // the stage just done; empty if unknown
	Seqs  []kv.SeqID `json:"sequences,omitempty"` // of the stage
	Sides [2]string  `json:"sides"`               // names of the sides of Want and Got

	What string `json:"what"` // "metric", "key", …
	Place

	Want string `json:"want"` // decimal, and the bits in hex if it is a number
	Got  string `json:"got"`
	ULPs uint64 `json:"ulp,omitempty"` // distance in floats of the format; 0 if not applicable

	// Decided, if an evicted KV differs, says which KVs differ and why.
	Decided *Decided `json:"decided,omitempty"`

	More  int    `json:"more"`  // further values that differ at this stage
	Parts []Part `json:"parts"` // all values that differ, counted by kind, in order of dependency

	// Operation is what the engines were doing, and Number how many operations preceded it; a [Dump] needs
	// both. Number is −1 if no operation is the cause: the reference differs from its own specification.
	Operation Operation `json:"operation"`
	Number    int       `json:"number"`
}

// Part counts the values of one kind that differ.
type Part struct {
	What   string `json:"what"`
	Values int    `json:"values"`
}

// Place says where a value is; fields that do not apply are −1.
type Place struct {
	Sequence kv.SeqID `json:"sequence"`
	Layer    int      `json:"layer"`
	Head     int      `json:"head"`    // KV head; for an output, query head
	Index    int      `json:"index"`   // of a KV in its head, of an entry in its list or table, or of a block
	Element  int      `json:"element"` // of a key, value or output: 0 to D−1
	Slot     int      `json:"slot"`    // of a KV, in the reference's cache
}

// Nowhere is the place of a value that is not in the cache.
var Nowhere = Place{-1, -1, -1, -1, -1, -1}

// String lists the fields of a place that apply.
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

// Where says in which trace, step and stage the engines differ, and in which kind of value.
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

// Error returns the divergence as one line.
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

// String returns the divergence as a few lines.
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
		fmt.Fprintf(&b, "  (%s ulp apart)", words.Number(d.ULPs))
	}
	b.WriteByte('\n')
	if d.Decided != nil {
		b.WriteString(d.Decided.String())
	}
	if d.More > 0 {
		var parts []string
		for _, p := range d.Parts {
			parts = append(parts, words.Number(p.Values)+" × "+p.What)
		}
		fmt.Fprintf(&b, "  this stage differs in %s: %s\n", words.Count(d.More+1, "value"), strings.Join(parts, ", "))
	}
	return b.String()
}

// sequences formats a stage's sequences, at most the first few.
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

// Tolerance says how far computed floats, outputs and metrics, may be from the reference's: within ULPs
// floats, or within ATol + RTol·|reference|, as in numpy.allclose. The zero Tolerance requires equal bits.
type Tolerance struct {
	ULPs uint64
	RTol float64
	ATol float64
}

// Exact reports whether the tolerance requires equal bits.
func (t Tolerance) Exact() bool { return t == Tolerance{} }

// Allows reports whether two floats with different bits are within the tolerance. NaN never is.
func (t Tolerance) Allows(want, got float32) bool {
	if want != want || got != got {
		return false
	}
	if n := Distance(want, got); n <= t.ULPs {
		return true
	}
	return math.Abs(float64(got)-float64(want)) <= t.ATol+float64(t.RTol*math.Abs(float64(want)))
}

// Distance returns the number of steps from float to next float between two floats; +0 and −0 are one step
// apart. It is 0 if one is NaN.
func Distance(a, b float32) uint64 {
	if a != a || b != b {
		return 0
	}
	return StepsBetween(uint64(math.Float32bits(a)), uint64(math.Float32bits(b)), 32)
}

// StepsBetween is Distance for bits of any sign-magnitude float format of the given width.
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

// Float32Text returns a float in decimal, with enough digits to identify it, and its bits.
func Float32Text(f float32) string {
	return fmt.Sprintf("%.9g = 0x%08x", f, math.Float32bits(f))
}

// Element returns one element of a stored key or value as text, float and bits.
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
