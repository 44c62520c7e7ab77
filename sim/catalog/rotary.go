package catalog

import (
	"cmp"
	"math"
	"slices"
)

// RotaryTable is a table that a server computes when it loads a model: a cosine and a sine in 16 bits
// for each position and each pair of rotated elements.
type RotaryTable struct {
	Positions int
	Elements  int // of a head's key that are rotated
}

// Bytes returns the bytes of the table.
func (t RotaryTable) Bytes() int64 { return 2 * int64(t.Positions) * int64(t.Elements) }

// RotaryBytes returns the bytes of the model's tables of rotary embeddings. Layers with the same
// embedding share a table.
func (m *Model) RotaryBytes() int64 {
	bytes := int64(0)
	for _, t := range m.Rotary {
		bytes += t.Bytes()
	}
	return bytes
}

// rotary is a rotary embedding. Equal ones share a table.
type rotary struct {
	theta    float64
	scaling  string
	factor   float64 // of the scaling
	original int     // positions before the scaling
	head     int     // elements of a head, if they are not those of the model's other layers
	part     float64 // of a head's elements that are rotated
	images   bool    // positions are of time, height and width
	halves   bool    // an element is rotated with one of the other half of the head, and not with its neighbour
}

// maxScaling bounds the factor of a rotary embedding's scaling.
const maxScaling = 1 << 20

// proportional is a scaling whose table has all of a head's elements: those without positions are rotated by an angle of
// 0.
const proportional = "proportional"

// rotary reads the rotary embedding of the layers: entries of the file, or of its rope_parameters or
// rope_scaling. positions is its max_position_embeddings, part the default for partial_rotary_factor.
func (b *builder) rotary(positions int, part float64) rotary {
	r := rotary{theta: b.c.real("rope_theta", 10000), factor: 1, original: b.c.sizeOr("original_max_position_embeddings", positions, Unbounded)}
	r.part = b.c.real("partial_rotary_factor", part)
	r.checkPart(b.c)
	for _, name := range []string{"rope_scaling", "rope_parameters"} {
		if of := b.c.object(name); of != nil {
			if whole := of.object("full_attention"); whole != nil { // each kind of layer has its own
				of = whole
			}
			r.read(of)
			b.c.errs = append(b.c.errs, of.errs...)
		}
	}
	return r
}

// checkPart reports a part that is none.
func (r *rotary) checkPart(of *config) {
	if !(r.part > 0 && r.part <= 1) {
		of.fail("%spartial_rotary_factor is %v, want a fraction in (0, 1]", of.at, r.part)
		r.part = 1
	}
}

// read sets what an object's entries say.
func (r *rotary) read(of *config) {
	r.theta, r.part = of.real("rope_theta", r.theta), of.real("partial_rotary_factor", r.part)
	r.checkPart(of)
	r.original = of.sizeOr("original_max_position_embeddings", r.original, Unbounded)
	r.scaling = of.str("rope_type", of.str("type", r.scaling))
	if r.factor = of.real("factor", r.factor); !(r.factor > 0 && r.factor <= maxScaling) {
		of.fail("%sfactor is %v, want above 0 and at most %d", of.at, r.factor, maxScaling)
		r.factor = 1
	}
	r.images = r.images || len(of.nums("mrope_section")) > 0
	switch r.scaling {
	case "", "default", "llama3", "linear", "dynamic", "ntk", "yarn", "longrope", "su", "mrope", proportional:
	default:
		of.fail("%srope_type is %.40q, want default, llama3, linear, dynamic, ntk, yarn, longrope or proportional", of.at, r.scaling)
	}
}

// scaled returns the positions that the scaling makes of the trained ones.
func (r *rotary) scaled(positions int) int {
	switch r.scaling {
	case "yarn":
		positions = r.original
	case "linear", "dynamic", "ntk":
	default: // of the others, max_position_embeddings is after the scaling
		return positions
	}
	return int(min(math.Ceil(float64(positions)*r.factor), Unbounded+1))
}

// table returns the embedding's table.
func (r *rotary) table(positions, headSize int) RotaryTable {
	headSize = cmp.Or(r.head, headSize)
	t := RotaryTable{Positions: r.scaled(positions), Elements: int(float64(headSize) * r.part)}
	if r.scaling == proportional {
		t.Elements = headSize
	}
	if r.scaling == "longrope" || r.scaling == "su" { // one table for short contexts and one for long ones
		t.Positions += r.original
	}
	if r.images { // vLLM makes room for the frames of long videos
		t.Positions *= 4
	}
	return t
}

// tables returns the tables of rotary embeddings.
func tables(embeddings []rotary, positions, headSize int) []RotaryTable {
	var all []RotaryTable
	for i := range embeddings {
		if !slices.Contains(embeddings[:i], embeddings[i]) {
			all = append(all, embeddings[i].table(positions, headSize))
		}
	}
	return all
}
