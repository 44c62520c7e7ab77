package kit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/bits"
	"path"
	"slices"
	"strconv"

	"kvcompress/internal/jsonlines"
	"kvcompress/internal/words"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/strictjson"
	"kvcompress/trace"
	"kvcompress/trace/regular"
)

// ManifestFile is the name of an export's manifest.
const ManifestFile = "manifest.json"

// ManifestFormat is the version of the manifest's format.
const ManifestFormat = 1

// Format is how the arrays of an export are stored.
type Format string

// The formats.
const (
	NPY         Format = "npy"         // one file for each array
	Safetensors Format = "safetensors" // one file for each stage, and for each sequence's inputs
)

// Formats returns the formats.
func Formats() []Format { return []Format{NPY, Safetensors} }

// Manifest lists the contents of an export. Stages are in the order in which the engine executed them.
type Manifest struct {
	Format  int         `json:"format"`
	Trace   string      `json:"trace"`
	Arrays  Format      `json:"arrays"`
	Shape   kv.Shape    `json:"shape"` // of the cache
	Rope    *trace.Rope `json:"rope,omitempty"`
	Options sim.Options `json:"options"` // complete, including the number of blocks
	Inputs  []Inputs    `json:"inputs"`
	Stages  []Stage     `json:"stages"`
}

// Inputs are Q, K and V of a sequence, for the tokens that enter the cache.
type Inputs struct {
	Sequence    kv.SeqID           `json:"sequence"`
	Request     string             `json:"request"` // its ID in the trace
	Tokens      int                `json:"tokens"`
	Compression *trace.Compression `json:"compression,omitempty"` // its own options
	Path        string             `json:"path"`
	Parts       []Part             `json:"parts"`
}

// Stage is one stage of the engine in a step of the scheduler.
type Stage struct {
	Step      int        `json:"step"`
	Stage     ref.Stage  `json:"stage"`
	Sequences []kv.SeqID `json:"sequences"`
	Tokens    []int      `json:"tokens"` // tokens of each sequence in the cache; 0 once it is released
	Path      string     `json:"path"`
	Parts     []Part     `json:"parts"` // in order of dependency; none if the stage's parts were not requested
}

// Part is one array, row-major.
type Part struct {
	Name  string `json:"name"`
	Value string `json:"value"` // name of one element, in messages
	DType string `json:"dtype"` // i32, or a format of package dtype
	Dims  []Dim  `json:"dims"`

	// Counts names an earlier part of the same stage, which says how many entries of the first dimension each
	// head has, head after head. It is empty if all heads have the same number.
	Counts string `json:"counts,omitempty"`
	File   string `json:"file"`
}

// Dim is one dimension of a part.
type Dim struct {
	Axis Axis  `json:"axis"`
	N    int64 `json:"n"`
}

// Axis says what an index counts.
type Axis string

// The axes.
const (
	AxisIndex     Axis = "index"      // KVs, blocks or moves: the position in a list
	AxisLayer     Axis = "layer"      // L
	AxisSequence  Axis = "sequence"   // the stage's sequences
	AxisHead      Axis = "head"       // H
	AxisQueryHead Axis = "query_head" // H·G
	AxisElement   Axis = "element"    // D, or the fields of one entry
	AxisToken     Axis = "token"      // of a sequence
)

// axes maps the axes of an event's parts.
var axes = map[ref.Axis]Axis{
	ref.AxisIndex: AxisIndex, ref.AxisLayer: AxisLayer, ref.AxisSequence: AxisSequence, ref.AxisQueryHead: AxisQueryHead, ref.AxisElement: AxisElement,
}

// Elements returns the number of elements of a part; false if a dimension is negative or the product of the
// nonzero ones exceeds maxElements.
func (p *Part) Elements() (int64, bool) {
	n, empty := uint64(1), false
	for _, d := range p.Dims {
		hi, lo := bits.Mul64(n, uint64(max(1, d.N)))
		if d.N < 0 || hi != 0 || lo > maxElements {
			return 0, false
		}
		n, empty = lo, empty || d.N == 0
	}
	if empty {
		return 0, true
	}
	return int64(n), true
}

// row returns the number of elements in one entry of the first dimension.
func (p *Part) row() int64 {
	n := int64(1)
	for _, d := range p.Dims[min(1, len(p.Dims)):] {
		n *= d.N
	}
	return n
}

// shape returns the sizes of the dimensions.
func (p *Part) shape() []int64 {
	shape := make([]int64, len(p.Dims))
	for i, d := range p.Dims {
		shape[i] = d.N
	}
	return shape
}

// stored reports whether a part has stored keys or values. These are rounded inputs, not results of
// arithmetic, so no tolerance applies to them.
func (p *Part) stored() bool { return p.Name == keysPart || p.Name == valuesPart }

// Bounds on a manifest. Arrays are read in chunks, whatever their size.
const (
	maxManifestBytes = 256 << 20
	maxElements      = 1 << 40 // of a part
	maxDims          = 8
	maxNameBytes     = 64
)

// inputsDir is the folder of the inputs.
const inputsDir = "inputs"

// inputsPath returns the path of a sequence's inputs.
func inputsPath(id kv.SeqID) string { return inputsDir + "/" + strconv.Itoa(int(id)) }

// stagePath returns the path of stage number n of a step.
func stagePath(step, n int, stage ref.Stage) string { return fmt.Sprintf("%04d-%d-%s", step, n, stage) }

// fileOf returns the file of a part at a path.
func (f Format) fileOf(at, name string) string {
	if f == Safetensors {
		return at + ".safetensors"
	}
	return at + "/" + name + ".npy"
}

// Write writes the manifest as JSON, one line for each stage.
func (m *Manifest) Write(w io.Writer) error {
	out := bufio.NewWriter(w)
	head, err := json.Marshal(struct {
		Format  int         `json:"format"`
		Trace   string      `json:"trace"`
		Arrays  Format      `json:"arrays"`
		Shape   kv.Shape    `json:"shape"`
		Rope    *trace.Rope `json:"rope,omitempty"`
		Options sim.Options `json:"options"`
	}{m.Format, m.Trace, m.Arrays, m.Shape, m.Rope, m.Options})
	if err != nil {
		return err
	}
	out.Write(head[:len(head)-1])
	out.WriteString(",\n\"inputs\":")
	if err := jsonlines.WriteArray(out, m.Inputs); err != nil {
		return err
	}
	out.WriteString(",\n\"stages\":")
	if err := jsonlines.WriteArray(out, m.Stages); err != nil {
		return err
	}
	out.WriteString("}\n")
	return out.Flush()
}

// ReadManifest reads and checks the manifest of an export. An unknown or duplicate name, a file at another
// place than Write puts it, and a part that is inconsistent with others are errors that say where.
func ReadManifest(export fs.FS) (*Manifest, error) {
	text, err := regular.Read(export, ManifestFile, maxManifestBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no %s: the folder is not one of `kvc golden export`", ManifestFile)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ManifestFile, err)
	}
	m := new(Manifest)
	if err := strictjson.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("%s: %w", ManifestFile, err)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", ManifestFile, err)
	}
	return m, nil
}

func (m *Manifest) check() error {
	if m.Format != ManifestFormat {
		return fmt.Errorf("format is %d, this program knows %d: export again", m.Format, ManifestFormat)
	}
	if !slices.Contains(Formats(), m.Arrays) {
		return fmt.Errorf("arrays: %q is neither %q nor %q", strictjson.Excerpt(string(m.Arrays)), NPY, Safetensors)
	}
	if err := m.Shape.Check(); err != nil {
		return err
	}
	known := map[kv.SeqID]bool{}
	for i := range m.Inputs {
		in := &m.Inputs[i]
		at := fmt.Sprintf("inputs[%d]", i)
		if in.Sequence < 0 || known[in.Sequence] {
			return fmt.Errorf("%s: sequence %d is negative or listed twice", at, in.Sequence)
		}
		known[in.Sequence] = true
		if want := inputsPath(in.Sequence); in.Path != want {
			return fmt.Errorf("%s: path is %q, want %q", at, strictjson.Excerpt(in.Path), want)
		}
		if err := m.checkParts(in.Path, in.Parts, 1); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
	}
	step, number := 0, 0
	for i := range m.Stages {
		s := &m.Stages[i]
		at := fmt.Sprintf("stages[%d]", i)
		if s.Step < step {
			return fmt.Errorf("%s: step %d after step %d", at, s.Step, step)
		}
		if s.Step > step {
			step, number = s.Step, 0
		}
		if !slices.Contains(ref.Stages(), s.Stage) {
			return fmt.Errorf("%s: stage %q is none of %v", at, strictjson.Excerpt(string(s.Stage)), ref.Stages())
		}
		if want := stagePath(step, number, s.Stage); s.Path != want {
			return fmt.Errorf("%s: path is %q, want %q", at, strictjson.Excerpt(s.Path), want)
		}
		number++
		if len(s.Sequences) == 0 || len(s.Tokens) != len(s.Sequences) {
			return fmt.Errorf("%s: %s and %s of tokens", at, words.Count(len(s.Sequences), "sequence"), words.Count(len(s.Tokens), "count"))
		}
		if err := m.checkParts(s.Path, s.Parts, len(s.Sequences)); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
	}
	return nil
}

// checkParts checks the parts at a path, for a stage with the given number of sequences.
func (m *Manifest) checkParts(below string, parts []Part, sequences int) error {
	before := map[string]*Part{}
	for i := range parts {
		p := &parts[i]
		if err := m.checkPart(p, below, sequences, before); err != nil {
			return fmt.Errorf("parts[%d]: %w", i, err)
		}
		before[p.Name] = p
	}
	return nil
}

func (m *Manifest) checkPart(p *Part, below string, sequences int, before map[string]*Part) error {
	if !isName(p.Name) || before[p.Name] != nil {
		return fmt.Errorf("name %q: want letters, digits and _, and each name once", strictjson.Excerpt(p.Name))
	}
	if want := m.Arrays.fileOf(below, p.Name); p.File != path.Clean(want) {
		return fmt.Errorf("%s: file is %q, want %q", p.Name, strictjson.Excerpt(p.File), want)
	}
	if _, ok := elementOf(p.DType); !ok {
		return fmt.Errorf("%s: dtype %q is unknown", p.Name, strictjson.Excerpt(p.DType))
	}
	if len(p.Dims) > maxDims {
		return fmt.Errorf("%s: %s, more than %d", p.Name, words.Count(len(p.Dims), "dim"), maxDims)
	}
	for _, d := range p.Dims {
		if !slices.Contains([]Axis{AxisIndex, AxisLayer, AxisSequence, AxisHead, AxisQueryHead, AxisElement, AxisToken}, d.Axis) {
			return fmt.Errorf("%s: axis %q is unknown", p.Name, strictjson.Excerpt(string(d.Axis)))
		}
		if d.Axis == AxisSequence && d.N != int64(sequences) {
			return fmt.Errorf("%s: %s, and the stage has %d", p.Name, words.Count(d.N, "sequence"), sequences)
		}
	}
	if _, ok := p.Elements(); !ok {
		return fmt.Errorf("%s: dims %v are negative, or have more than 2^40 elements", p.Name, p.shape())
	}
	if p.Counts == "" {
		return nil
	}
	counts := before[p.Counts]
	if counts == nil || counts.DType != i32 || counts.Counts != "" {
		return fmt.Errorf("%s: counts: %q is not an earlier part with integers for all heads", p.Name, strictjson.Excerpt(p.Counts))
	}
	if n, _ := counts.Elements(); n != int64(sequences*m.Shape.Heads()) {
		return fmt.Errorf("%s: counts: %s has %s, and there are %s", p.Name, p.Counts, words.Count(n, "element"), words.Count(sequences*m.Shape.Heads(), "head"))
	}
	if len(p.Dims) == 0 || p.Dims[0].Axis != AxisIndex {
		return fmt.Errorf("%s: a part with counts needs a first dimension with axis %q", p.Name, AxisIndex)
	}
	return nil
}

// isName reports whether a string is a valid name of a part, and so of a file.
func isName(name string) bool {
	if name == "" || len(name) > maxNameBytes {
		return false
	}
	for _, c := range []byte(name) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_') {
			return false
		}
	}
	return true
}
