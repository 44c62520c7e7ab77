package validate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"

	"kvcompress/ref"
	"kvcompress/safetensors"
	"kvcompress/strictjson"
	"kvcompress/trace"
)

// Replayed is what an operation of a dump has shown.
type Replayed struct {
	Found      string      `json:"found"`     // what differed when it was dumped
	Operation  Operation   `json:"operation"` // that was carried out
	Values     int         `json:"values_compared"`
	Tolerated  int         `json:"values_tolerated,omitempty"`
	Divergence *Divergence `json:"divergence,omitempty"`
}

// Mismatches returns how many values differ.
func (r *Replayed) Mismatches() int {
	if r.Divergence == nil {
		return 0
	}
	return 1 + r.Divergence.More
}

// Replay carries out the operation of a dump again, on the reference engine and the
// engine under test. What memory holds that no head does is the reference's.
func Replay(dir fs.FS, run Run) (_ *Replayed, err error) {
	d, cache, open, err := readDump(dir)
	if err != nil {
		return nil, fmt.Errorf("dump: %w", err)
	}
	pair, err := NewPair(d.Config, open, nil, run.Engine, run.Tolerance)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, pair.Close()) }()
	if err := pair.Restore(cache); err != nil {
		return nil, err
	}
	r := &Replayed{Found: d.Found, Operation: d.Operation}
	_, err = pair.Do(d.Operation)
	r.Values, r.Tolerated = pair.Values()
	if r.Divergence = pair.Divergence(); r.Divergence != nil {
		return r, nil
	}
	return r, err
}

// maxDumpBytes bounds stage.json.
const maxDumpBytes = 64 << 20

// readDump reads what writeDump has written. A dump may come from anywhere: it is
// checked so far that the reference can go on from it.
func readDump(dir fs.FS) (*dump, *ref.Cache, func(ref.SeqID) (trace.Tensors, error), error) {
	fail := func(err error) (*dump, *ref.Cache, func(ref.SeqID) (trace.Tensors, error), error) {
		return nil, nil, nil, err
	}
	d, err := readStage(dir)
	if err != nil {
		return fail(fmt.Errorf("%s: %w", dumpFile, err))
	}
	f, err := dir.Open(tensorFile)
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return fail(err)
	}
	at, ok := f.(io.ReaderAt)
	if !ok || !stat.Mode().IsRegular() {
		return fail(fmt.Errorf("%s is no regular file", tensorFile))
	}
	file, err := safetensors.Open(at, stat.Size(), tensorFile)
	if err != nil {
		return fail(err)
	}
	r := tensorReader{file: file}
	cache, err := r.cache(d)
	if err != nil {
		return fail(err)
	}
	inputs := map[ref.SeqID]*dumpedTensors{}
	for _, s := range d.Sequences {
		in := &dumpedTensors{shape: d.Shape, sequence: s}
		if s.Entered > 0 {
			for _, t := range []trace.Tensor{trace.Q, trace.K, trace.V} {
				in.rows[t] = r.floats(inputName(t, s.ID), int64(s.Entered), int64(d.Shape.Layers), int64(d.Shape.Heads(t)), int64(d.Shape.HeadSize))
			}
		}
		inputs[s.ID] = in
	}
	if r.err != nil {
		return fail(r.err)
	}
	return d, cache, func(id ref.SeqID) (trace.Tensors, error) {
		if in := inputs[id]; in != nil {
			return in, nil
		}
		return nil, fmt.Errorf("dump: there is no sequence %d", id)
	}, nil
}

func readStage(dir fs.FS) (*dump, error) {
	f, err := dir.Open(dumpFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxDumpBytes+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxDumpBytes {
		return nil, fmt.Errorf("more than %d MiB", maxDumpBytes>>20)
	}
	d := new(dump)
	if err := strictjson.Unmarshal(text, d); err != nil {
		return nil, err
	}
	if d.Format != dumpFormat {
		return nil, fmt.Errorf("format %d, this program knows %d", d.Format, dumpFormat)
	}
	if err := d.Shape.Check(); err != nil {
		return nil, err
	}
	d.Config.Shape = d.Shape
	if err := d.Config.Validate(); err != nil {
		return nil, err
	}
	if err := d.Operation.check(); err != nil {
		return nil, err
	}
	for i, s := range d.Sequences {
		if s.ID < 0 || i > 0 && s.ID == d.Sequences[i-1].ID {
			return nil, fmt.Errorf("sequence %d is negative or there twice", s.ID)
		}
		const most = math.MaxInt32
		if s.Tokens < 0 || s.First < 0 || s.Entered < 0 || s.Tokens > most || s.First > most || s.Entered > most {
			return nil, fmt.Errorf("sequence %d has %d tokens and enters %d from token %d on", s.ID, s.Tokens, s.Entered, s.First)
		}
	}
	return d, nil
}

// tensorReader reads tensors of expected formats and shapes, until one fails.
type tensorReader struct {
	file *safetensors.File
	err  error
}

// bytes returns a tensor's bytes. They are in the file, so that they take no more
// memory than it has.
func (r *tensorReader) bytes(name string, format safetensors.DType, shape ...int64) []byte {
	if r.err != nil {
		return nil
	}
	t, ok := r.file.Tensor(name)
	if !ok || t.DType != format || !slices.Equal(t.Shape, shape) {
		r.err = fmt.Errorf("%s: tensor %q is not there as %s %v", tensorFile, name, format, shape)
		return nil
	}
	raw := make([]byte, t.Bytes())
	r.err = r.file.ReadBytes(raw, name, 0)
	return raw
}

func (r *tensorReader) floats(name string, shape ...int64) []float32 {
	raw := r.bytes(name, safetensors.F32, shape...)
	values := make([]float32, len(raw)/4)
	for i := range values {
		values[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return values
}

func (r *tensorReader) int32s(name string, shape ...int64) []int32 {
	raw := r.bytes(name, safetensors.I32, shape...)
	values := make([]int32, len(raw)/4)
	for i := range values {
		values[i] = int32(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return values
}

// cache reads a cache: see stateTensors.
func (r *tensorReader) cache(d *dump) (*ref.Cache, error) {
	cfg := &d.Config
	n, b, size := int64(cfg.Blocks), int64(cfg.BlockSize), int64(cfg.Shape.HeadSize)
	format := safetensors.FromFloat(cfg.DType)
	s := ref.Snapshot{
		Keys:      r.bytes("keys", format, n, b, size),
		Values:    r.bytes("values", format, n, b, size),
		Metrics:   r.floats("metrics", n, b),
		Positions: r.int32s("positions", n, b),
	}
	owners := r.int32s("owners", n, 4)
	for i := 0; i+3 < len(owners); i += 4 {
		s.Owners = append(s.Owners, ref.Owner{Seq: ref.SeqID(owners[i]), Layer: owners[i+1], Head: owners[i+2], Logical: owners[i+3]})
	}
	words := r.bytes("free", safetensors.U32, (n+31)/32)
	for i := 0; i+3 < len(words); i += 4 {
		s.Free = append(s.Free, binary.LittleEndian.Uint32(words[i:]))
	}
	var cached []dumpedSequence
	for _, q := range d.Sequences {
		if q.Cached {
			cached = append(cached, q)
		}
	}
	heads := cfg.Shape.Layers * cfg.Shape.KVHeads
	tables, ok := r.file.Tensor("tables")
	if r.err == nil && (!ok || len(tables.Shape) != 3) {
		r.err = fmt.Errorf("%s: no tables of three dimensions", tensorFile)
	}
	if r.err != nil {
		return nil, r.err
	}
	longest := int(min(tables.Shape[2], math.MaxInt32))
	lengths := r.int32s("lengths", int64(len(cached)), int64(heads))
	entries := r.int32s("tables", int64(len(cached)), int64(heads), int64(longest))
	if r.err != nil {
		return nil, r.err
	}
	for i, q := range cached {
		seq := &ref.Sequence{ID: q.ID, Len: q.Tokens, Heads: make([]ref.Head, heads)}
		for j := range seq.Heads {
			at := i*heads + j
			length := int(lengths[at])
			blocks := (length + cfg.BlockSize - 1) / cfg.BlockSize
			if length < 0 || blocks > longest {
				return nil, fmt.Errorf("%s: sequence %d, head %d of L·H: a context length of %d in %d blocks", tensorFile, q.ID, j, length, longest)
			}
			seq.Heads[j] = ref.Head{Len: length, Table: slices.Clone(entries[at*longest:][:blocks])}
		}
		s.Sequences = append(s.Sequences, seq)
	}
	cache, err := s.Cache(*cfg)
	if err != nil {
		return nil, err
	}
	return cache, consistent(cfg, cache)
}

// consistent returns an error if a cache is not one that the reference could have:
// if a head's block is not its own, or a KV's position not one of its sequence.
func consistent(cfg *ref.Config, c *ref.Cache) error {
	held := 0
	for _, id := range c.Sequences() {
		s := c.Sequence(id)
		for i := range s.Heads {
			h := &s.Heads[i]
			at := fmt.Sprintf("%s: sequence %d, head %d of L·H", tensorFile, id, i)
			if err := c.Holds(h); err != nil {
				return fmt.Errorf("%s: %w", at, err)
			}
			for logical, b := range h.Table {
				own := ref.Owner{Seq: id, Layer: int32(i / cfg.Shape.KVHeads), Head: int32(i % cfg.Shape.KVHeads), Logical: int32(logical)}
				if c.Owners[b] != own || c.IsFree(int(b)) {
					return fmt.Errorf("%s: block %d is not its own", at, b)
				}
			}
			for logical := range h.Len {
				if p := c.Positions[c.Slot(h, logical)]; p < 0 || int(p) >= s.Len {
					return fmt.Errorf("%s: KV %d has position %d of %d tokens", at, logical, p, s.Len)
				}
			}
			held += len(h.Table)
		}
	}
	if held+c.Free() != c.Blocks() {
		return fmt.Errorf("%s: of %d blocks %d are held and %d free", tensorFile, c.Blocks(), held, c.Free())
	}
	return nil
}

// dumpedTensors are the inputs of a sequence, of the tokens that are in the dump.
type dumpedTensors struct {
	shape    trace.Shape
	sequence dumpedSequence
	rows     [3][]float32 // [tokens, L, heads, D] by tensor
}

// Tokens returns the tokens up to the last that enters.
func (d *dumpedTensors) Tokens() int {
	return max(d.sequence.Tokens, d.sequence.First+d.sequence.Entered)
}

// Read gives rows of the tokens that are in the dump.
func (d *dumpedTensors) Read(dst []float32, t trace.Tensor, layer, from, n int) error {
	first, row := from-d.sequence.First, d.shape.Heads(t)*d.shape.HeadSize
	if first < 0 || n < 0 || first+n > d.sequence.Entered || len(dst) != n*row {
		return fmt.Errorf("dump: sequence %d has no tokens %d to %d", d.sequence.ID, from, from+n-1)
	}
	for i := range n {
		copy(dst[i*row:][:row], d.rows[t][((first+i)*d.shape.Layers+layer)*row:])
	}
	for _, v := range dst {
		if !(math.Abs(float64(v)) <= trace.MaxMagnitude) {
			return fmt.Errorf("dump: sequence %d: %v: %g is beyond ±2⁵⁶", d.sequence.ID, t, v)
		}
	}
	return nil
}

// Close does nothing.
func (d *dumpedTensors) Close() error { return nil }
