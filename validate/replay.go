package validate

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"

	"kvcompress/internal/ceil"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/safetensors"
	"kvcompress/strictjson"
	"kvcompress/trace"
	"kvcompress/trace/regular"
)

// Replayed is the result of replaying a dump.
type Replayed struct {
	What  string `json:"what"`            // the operation or pipeline that was run
	Found string `json:"found,omitempty"` // the difference found when it was dumped
	Tally
	Divergence *Divergence `json:"divergence,omitempty"`
}

// Mismatches returns how many values differ.
func (r *Replayed) Mismatches() int {
	if r.Divergence == nil {
		return 0
	}
	return 1 + r.Divergence.More
}

// Replay runs again what [Dump] or [Failed.Dump] has written to a folder: one operation, or a random
// pipeline. For an operation, unused slots initially have the reference's contents in both engines.
func Replay(ctx context.Context, dir fs.FS, run Run) (*Replayed, error) {
	if _, err := fs.Stat(dir, pipelineFile); err == nil {
		return replayPipeline(ctx, dir, run)
	}
	return replayOperation(dir, run)
}

func replayPipeline(ctx context.Context, dir fs.FS, run Run) (*Replayed, error) {
	var p Pipeline
	if err := readJSON(dir, pipelineFile, &p); err != nil {
		return nil, err
	}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("dump: %s: %w", pipelineFile, err)
	}
	o, err := p.Run(ctx, run.Engine, run.Tolerance)
	if err != nil {
		return nil, err
	}
	return &Replayed{fmt.Sprintf("pipeline of %d operations", o.Operations), "", o.Tally, o.Divergence}, nil
}

func replayOperation(dir fs.FS, run Run) (_ *Replayed, err error) {
	d, cache, open, err := readDump(dir)
	if err != nil {
		return nil, err
	}
	pair, err := NewPair(d.Config, open, nil, run.Engine, run.Tolerance)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, pair.Close()) }()
	if err := pair.Restore(cache); err != nil {
		return nil, err
	}
	for _, s := range d.Sequences {
		if s.Compression == nil {
			continue
		}
		if err := pair.Configure(s.ID, s.Compression); err != nil {
			return nil, err
		}
	}
	r := &Replayed{What: d.Operation.String(), Found: d.Found}
	_, err = pair.Do(d.Operation)
	pair.interview()
	r.Tally = pair.Tally()
	if r.Divergence = pair.Divergence(); r.Divergence != nil {
		return r, nil
	}
	return r, err
}

// maxDumpBytes bounds a dump's JSON.
const maxDumpBytes = 64 << 20

// readDump reads what writeDump has written. A dump may come from anywhere, so it is checked as far as the
// reference engine depends on it.
func readDump(dir fs.FS) (*dump, *kv.Cache, func(kv.SeqID) (trace.Tensors, error), error) {
	fail := func(err error) (*dump, *kv.Cache, func(kv.SeqID) (trace.Tensors, error), error) {
		return nil, nil, nil, err
	}
	d := new(dump)
	if err := readJSON(dir, dumpFile, d); err != nil {
		return fail(err)
	}
	if err := d.check(); err != nil {
		return fail(fmt.Errorf("dump: %s: %w", dumpFile, err))
	}
	f, err := regular.Open(dir, tensorFile)
	if err != nil {
		return fail(fmt.Errorf("dump: %s: %w", tensorFile, err))
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return fail(fmt.Errorf("dump: %w", err))
	}
	at, ok := f.(io.ReaderAt)
	if !ok {
		return fail(fmt.Errorf("dump: %s cannot be read at an offset", tensorFile))
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
	inputs := map[kv.SeqID]*dumpedTensors{}
	for _, s := range d.Sequences {
		in := &dumpedTensors{shape: d.Shape, sequence: s}
		if s.Entered > 0 {
			for _, t := range []trace.Tensor{trace.Q, trace.K, trace.V} {
				in.rows[t] = r.floats(inputName(t, s.ID), int64(s.Entered), int64(d.Shape.Layers), int64(t.Heads(d.Shape)), int64(d.Shape.HeadSize))
			}
		}
		inputs[s.ID] = in
	}
	if r.err != nil {
		return fail(r.err)
	}
	return d, cache, func(id kv.SeqID) (trace.Tensors, error) {
		if in := inputs[id]; in != nil {
			return in, nil
		}
		return nil, fmt.Errorf("dump: there is no sequence %d", id)
	}, nil
}

// readJSON reads a JSON file as strictly as options are read.
func readJSON(dir fs.FS, name string, v any) error {
	text, err := regular.Read(dir, name, maxDumpBytes)
	if err == nil {
		err = strictjson.Unmarshal(text, v)
	}
	if err != nil {
		return fmt.Errorf("dump: %s: %w", name, err)
	}
	return nil
}

// check returns an error if stage.json is inconsistent. It sets the configuration's shape.
func (d *dump) check() error {
	if d.Format != dumpFormat {
		return fmt.Errorf("format %d, this program knows %d", d.Format, dumpFormat)
	}
	if err := d.Shape.Check(); err != nil {
		return err
	}
	if d.Rope != nil {
		if err := d.Rope.Check(); err != nil {
			return err
		}
	}
	d.Config.Shape, d.Config.Rope = d.Shape, d.Rope
	if err := d.Config.Validate(); err != nil {
		return err
	}
	if err := d.Operation.check(); err != nil {
		return err
	}
	for i, s := range d.Sequences {
		if s.ID < 0 || i > 0 && s.ID == d.Sequences[i-1].ID {
			return fmt.Errorf("sequence %d is negative or listed twice", s.ID)
		}
		const most = trace.MaxTokens
		if s.Prompt < 0 || s.Tokens < 0 || s.First < 0 || s.Entered < 0 || s.Prompt > most || s.Tokens > most || s.First > most || s.Entered > most {
			return fmt.Errorf("sequence %d has %d tokens and enters %d from token %d on", s.ID, s.Tokens, s.Entered, s.First)
		}
		if _, err := d.Config.With(s.Compression); err != nil {
			return fmt.Errorf("sequence %d: %w", s.ID, err)
		}
	}
	return nil
}

// tensorReader reads tensors with expected formats and shapes until one fails.
type tensorReader struct {
	file *safetensors.File
	err  error
}

// bytes returns a tensor's bytes. The file contains them, so its size bounds the memory.
func (r *tensorReader) bytes(name string, format safetensors.DType, shape ...int64) []byte {
	if r.err != nil {
		return nil
	}
	t, ok := r.file.Tensor(name)
	if !ok || t.DType != format || !slices.Equal(t.Shape, shape) {
		r.err = fmt.Errorf("dump: %s: there is no tensor %q of type %s and shape %v", tensorFile, name, format, shape)
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

// cache reads a cache written by stateTensors.
func (r *tensorReader) cache(d *dump) (*kv.Cache, error) {
	cfg := &d.Config
	n, b, size := int64(cfg.Blocks), int64(cfg.BlockSize), int64(cfg.Shape.HeadSize)
	format := safetensors.FromFloat(cfg.DType)
	s := kv.Snapshot{
		Keys:      r.bytes("keys", format, n, b, size),
		Values:    r.bytes("values", format, n, b, size),
		Positions: r.int32s("positions", n, b),
	}
	columns := cfg.Columns()
	for _, column := range columns {
		s.Data = append(s.Data, r.floats(column.Name, columnDims(cfg, column)...))
	}
	owners := r.int32s("owners", n, 4)
	for i := 0; i+3 < len(owners); i += 4 {
		s.Owners = append(s.Owners, kv.OwnerOf([4]int32(owners[i:])))
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
		r.err = fmt.Errorf("dump: %s: tables does not have three dimensions", tensorFile)
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
		seq := &kv.Sequence{ID: q.ID, Prompt: q.Prompt, Len: q.Tokens, Heads: make([]kv.Head, heads)}
		for j := range seq.Heads {
			at := i*heads + j
			length := int(lengths[at])
			blocks := ceil.Div(length, cfg.BlockSize)
			if length < 0 || blocks > longest {
				return nil, fmt.Errorf("dump: %s: sequence %d, head %d of L·H: a context length of %d in %d blocks", tensorFile, q.ID, j, length, longest)
			}
			seq.Heads[j] = kv.Head{Segment: kv.Segment{Len: length, Table: slices.Clone(entries[at*longest:][:blocks])}}
		}
		s.Sequences = append(s.Sequences, seq)
	}
	if err := r.readPages(cfg, &s); err != nil {
		return nil, err
	}
	cache, err := s.Cache(cfg.Config, columns)
	if err != nil {
		return nil, err
	}
	return cache, consistent(cfg, cache)
}

// consistent returns an error if the reference could not have such a cache: a head holds a block that it does
// not own, a KV's position is not one of its sequence, or a held value is not finite.
func consistent(cfg *ref.Config, c *kv.Cache) error {
	method, err := cfg.NewMethod()
	if err != nil {
		return fmt.Errorf("dump: %w", err)
	}
	held := 0
	values := make([]float32, cfg.Shape.HeadSize)
	for _, id := range c.Sequences() {
		s := c.Sequence(id)
		for i := range s.Heads {
			h := &s.Heads[i]
			at := fmt.Sprintf("dump: %s: sequence %d, head %d of L·H", tensorFile, id, i)
			if err := c.CheckHead(h); err != nil {
				return fmt.Errorf("%s: %w", at, err)
			}
			if h.KVs() > s.Len || h.KVs() < s.Len && ref.KeepsAll(method) {
				return fmt.Errorf("%s: %d KVs of %d tokens", at, h.KVs(), s.Len)
			}
			for logical, b := range h.Table {
				own := kv.Owner{Seq: id, Layer: int32(i / cfg.Shape.KVHeads), Head: int32(i % cfg.Shape.KVHeads), Logical: int32(h.First/cfg.BlockSize + logical)}
				if c.Owners[b] != own || c.IsFree(int(b)) {
					return fmt.Errorf("%s: block %d has another owner", at, b)
				}
			}
			for logical := h.First; logical < h.KVs(); logical++ {
				slot := c.Slot(h, logical)
				if p := c.Positions[slot]; p < 0 || int(p) >= s.Len {
					return fmt.Errorf("%s: KV %d has position %d of %d tokens", at, logical, p, s.Len)
				}
				for _, row := range [][]byte{c.Key(slot), c.Value(slot)} {
					cfg.DType.Decode(values, row)
					if i := slices.IndexFunc(values, beyond); i >= 0 {
						return fmt.Errorf("%s: KV %d has an element %g, beyond ±2⁵⁶", at, logical, values[i])
					}
				}
				for i, column := range c.Columns() {
					row := c.Data[i][slot*column.Width:][:column.Width]
					if j := slices.IndexFunc(row, beyond); j >= 0 {
						return fmt.Errorf("%s: KV %d has a %s of %g, beyond ±2⁵⁶", at, logical, column.Value, row[j])
					}
				}
			}
			pages, err := consistentPages(cfg, c, id, i)
			if err != nil {
				return fmt.Errorf("%s: %w", at, err)
			}
			held += len(h.Table) + pages
		}
		if s.Prompt > s.Len {
			return fmt.Errorf("dump: %s: sequence %d has a prompt of %d tokens and %d tokens", dumpFile, id, s.Prompt, s.Len)
		}
	}
	if held+c.Free() != c.Blocks() {
		return fmt.Errorf("dump: %s: %d blocks, of which %d are held and %d free", tensorFile, c.Blocks(), held, c.Free())
	}
	return nil
}

// beyond reports whether a value is NaN or exceeds trace.MaxMagnitude.
func beyond(v float32) bool { return !(math.Abs(float64(v)) <= trace.MaxMagnitude) }

// dumpedTensors are the inputs of a sequence for the tokens included in the dump.
type dumpedTensors struct {
	shape    kv.Shape
	sequence dumpedSequence
	rows     [3][]float32 // [tokens, L, heads, D] by tensor
}

// Tokens returns the number of tokens after the operation.
func (d *dumpedTensors) Tokens() int {
	return max(d.sequence.Tokens, d.sequence.First+d.sequence.Entered)
}

// Read returns rows of tokens included in the dump.
func (d *dumpedTensors) Read(dst []float32, t trace.Tensor, layer, from, n int) error {
	first, row := from-d.sequence.First, t.Heads(d.shape)*d.shape.HeadSize
	if first < 0 || n < 0 || first+n > d.sequence.Entered || len(dst) != n*row {
		return fmt.Errorf("dump: sequence %d has no tokens %d to %d", d.sequence.ID, from, from+n-1)
	}
	for i := range n {
		copy(dst[i*row:][:row], d.rows[t][((first+i)*d.shape.Layers+layer)*row:])
	}
	if i := slices.IndexFunc(dst, beyond); i >= 0 {
		return fmt.Errorf("dump: sequence %d: %v: %g is beyond ±2⁵⁶", d.sequence.ID, t, dst[i])
	}
	return nil
}

// Close does nothing.
func (d *dumpedTensors) Close() error { return nil }
