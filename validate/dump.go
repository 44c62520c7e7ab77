package validate

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"

	"kvcompress/internal/output"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/safetensors"
	"kvcompress/sim"
	"kvcompress/trace"
)

// The files of a dump: the first two of a stage, the third of a random pipeline.
const (
	dumpFile     = "stage.json"
	tensorFile   = "state.safetensors"
	pipelineFile = "pipeline.json"
)

// dumpFormat is the version of the dump's format.
const dumpFormat = 2

// dump is stage.json: an operation of an engine, and everything it depends on except the tensors.
type dump struct {
	Format    int              `json:"format"`
	Found     string           `json:"found"` // what differed
	Shape     kv.Shape         `json:"shape"`
	Rope      *trace.Rope      `json:"rope,omitempty"`
	Config    ref.Config       `json:"config"`
	Operation Operation        `json:"operation"`
	Sequences []dumpedSequence `json:"sequences"` // sequences in the cache, and those that the operation enters
}

// dumpedSequence is a sequence of a dump. Its inputs are included only for the tokens that the operation
// enters.
type dumpedSequence struct {
	ID      kv.SeqID `json:"id"`
	Cached  bool     `json:"cached"` // in the cache before the operation
	Prompt  int      `json:"prompt"` // tokens of the prompt
	Tokens  int      `json:"tokens"` // tokens before the operation, evicted ones included
	First   int      `json:"first"`  // first token of the included inputs
	Entered int      `json:"entered"`

	Compression *trace.Compression `json:"compression,omitempty"` // its own options
}

// errDumped ends a replay after the dump is written.
var errDumped = errors.New("dumped")

// Dump replays a trace on the reference engine up to the operation in which an engine differed from it. It
// then writes the state before that operation to the folder dir: the cache and the inputs as
// state.safetensors, everything else as stage.json. [Replay] repeats the operation. The folder is created if
// necessary; files in it are overwritten.
func Dump(ctx context.Context, dir string, t *trace.Trace, opt sim.Options, d *Divergence) error {
	if d.Number < 0 {
		return errors.New("dump: the difference was not caused by an operation")
	}
	opt.Fill(t.Meta, t.Requests())
	counted := &upTo{left: d.Number, own: map[kv.SeqID]*trace.Compression{}}
	_, err := sim.ReplayOn(ctx, t, opt, sim.Hooks{}, func(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (sim.Engine, error) {
		engine, err := ref.NewEngine(cfg, open, observe)
		if err != nil {
			return nil, err
		}
		counted.Engine = engine
		counted.then = func(op Operation) error {
			return writeDump(dir, d.Error(), cfg, op, engine.Cache(), counted.own, open)
		}
		return counted, nil
	})
	switch {
	case errors.Is(err, errDumped):
		return nil
	case err == nil:
		return fmt.Errorf("dump: the replay has no operation %d", d.Number)
	default:
		return err
	}
}

// Dump writes the shrunk pipeline to the folder dir, as pipeline.json, for [Replay].
func (f *Failed) Dump(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("dump: %w", err)
	}
	if err := output.WriteBytes(filepath.Join(dir, pipelineFile), []byte(f.Pipeline.String()+"\n")); err != nil {
		return fmt.Errorf("dump: %w", err)
	}
	return nil
}

// upTo is the reference engine up to one operation, which it passes to a function instead.
type upTo struct {
	*ref.Engine
	left int
	own  map[kv.SeqID]*trace.Compression // options of sequences that have their own
	then func(Operation) error
}

func (u *upTo) Configure(id kv.SeqID, own *trace.Compression) error {
	u.own[id] = own
	return u.Engine.Configure(id, own)
}

func (u *upTo) do(op Operation) (ref.Compressed, error) {
	if u.left--; u.left < 0 {
		return ref.Compressed{}, cmp.Or(u.then(op), errDumped)
	}
	return op.run(u.Engine)
}

func (u *upTo) Prefill(id kv.SeqID, n int) error {
	_, err := u.do(Operation{Kind: OpPrefill, Sequences: []kv.SeqID{id}, Tokens: n})
	return err
}

func (u *upTo) Decode(batch []kv.SeqID) error {
	_, err := u.do(Operation{Kind: OpDecode, Sequences: batch})
	return err
}

func (u *upTo) Compress(id kv.SeqID) (ref.Compressed, error) {
	return u.do(Operation{Kind: OpCompress, Sequences: []kv.SeqID{id}})
}

func (u *upTo) Release(id kv.SeqID) error {
	_, err := u.do(Operation{Kind: OpRelease, Sequences: []kv.SeqID{id}})
	delete(u.own, id)
	return err
}

// writeDump writes the files of a dump.
func writeDump(dir, found string, cfg ref.Config, op Operation, cache *kv.Cache, own map[kv.SeqID]*trace.Compression, open func(kv.SeqID) (trace.Tensors, error)) error {
	d := dump{Format: dumpFormat, Found: found, Shape: cfg.Shape, Rope: cfg.Rope, Config: cfg, Operation: op}
	for _, id := range cache.Sequences() {
		s := dumpedSequence{ID: id, Cached: true, Prompt: cache.Sequence(id).Prompt, Tokens: cache.Sequence(id).Len, Compression: own[id]}
		s.First = s.Tokens
		if op.Kind == OpDecode && slices.Contains(op.Sequences, id) {
			s.Entered = 1
		}
		d.Sequences = append(d.Sequences, s)
	}
	if op.Kind == OpPrefill {
		d.Sequences = append(d.Sequences, dumpedSequence{ID: op.Sequences[0], Entered: op.Tokens, Compression: own[op.Sequences[0]]})
	}
	tensors := stateTensors(&cfg, cache)
	for _, s := range d.Sequences {
		if s.Entered > 0 {
			inputs, err := inputTensors(cfg.Shape, s, open)
			if err != nil {
				return err
			}
			tensors = append(tensors, inputs...)
		}
	}
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return fmt.Errorf("dump: %w", err)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("dump: %w", err)
	}
	if err := os.Remove(filepath.Join(dir, pipelineFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("dump: %w", err) // otherwise the pipeline of an earlier dump would be replayed
	}
	if err := output.Write(filepath.Join(dir, tensorFile), func(w io.Writer) error { return writeTensors(w, tensors) }); err != nil {
		return fmt.Errorf("dump: %w", err)
	}
	if err := output.WriteBytes(filepath.Join(dir, dumpFile), append(text, '\n')); err != nil {
		return fmt.Errorf("dump: %w", err)
	}
	return nil
}

// content is a tensor and its bytes.
type content struct {
	safetensors.Info
	bytes []byte
}

// stateTensors returns a cache as tensors, with N blocks of B slots, and S sequences in ascending order.
//
//	keys, values  [N, B, D] in the cache's format
//	metrics …     [N, B], or [N, B, width] if the width is not 1, F32: each column by its name
//	positions     [N, B] I32
//	owners        [N, 4] I32: sequence, or −1 for a free block; layer, head, logical block
//	free          [⌈N/32⌉] U32: bit b%32 of word b/32 is set if block b is free
//	lengths       [S, L·H] I32: context lengths
//	tables        [S, L·H, blocks of the longest] I32: block tables, padded with −1
//	quantized, merged, limits, pages  for methods that quantize or merge: see pageTensors
func stateTensors(cfg *ref.Config, cache *kv.Cache) []content {
	s := cache.Snapshot()
	n, b, d := int64(cfg.Blocks), int64(cfg.BlockSize), int64(cfg.Shape.HeadSize)
	heads := cfg.Shape.Layers * cfg.Shape.KVHeads

	owners := make([]int32, 0, 4*len(s.Owners))
	for _, o := range s.Owners {
		n := o.Ints()
		owners = append(owners, n[:]...)
	}
	longest := 0
	for _, seq := range s.Sequences {
		for i := range seq.Heads {
			longest = max(longest, (seq.Heads[i].KVs()+cfg.BlockSize-1)/cfg.BlockSize)
		}
	}
	lengths := make([]int32, 0, len(s.Sequences)*heads)
	tables := make([]int32, 0, len(s.Sequences)*heads*longest)
	for _, seq := range s.Sequences {
		for i := range seq.Heads {
			h := &seq.Heads[i]
			lengths = append(lengths, int32(h.KVs()))
			tables = append(tables, h.Table...)
			for range longest - len(h.Table) {
				tables = append(tables, -1)
			}
		}
	}
	sequences := int64(len(s.Sequences))
	format := safetensors.FromFloat(cfg.DType)
	tensors := []content{
		{info("keys", format, n, b, d), s.Keys},
		{info("values", format, n, b, d), s.Values},
	}
	for i, column := range cache.Columns() {
		tensors = append(tensors, content{info(column.Name, safetensors.F32, columnDims(cfg, column)...), floatBytes(s.Data[i])})
	}
	tensors = append(tensors, pageTensors(cfg, s)...)
	return append(tensors, []content{
		{info("positions", safetensors.I32, n, b), intBytes(s.Positions)},
		{info("owners", safetensors.I32, n, 4), intBytes(owners)},
		{info("free", safetensors.U32, int64(len(s.Free))), intBytes(s.Free)},
		{info("lengths", safetensors.I32, sequences, int64(heads)), intBytes(lengths)},
		{info("tables", safetensors.I32, sequences, int64(heads), int64(longest)), intBytes(tables)},
	}...)
}

// columnDims returns the shape of a column's tensor.
func columnDims(cfg *ref.Config, column kv.Column) []int64 {
	dims := []int64{int64(cfg.Blocks), int64(cfg.BlockSize)}
	if column.Width > 1 {
		dims = append(dims, int64(column.Width))
	}
	return dims
}

// inputTensors returns the inputs of the tokens that a sequence enters: q.ID is [tokens, L, H·G, D], k.ID and
// v.ID are [tokens, L, H, D], all F32.
func inputTensors(shape kv.Shape, s dumpedSequence, open func(kv.SeqID) (trace.Tensors, error)) (_ []content, err error) {
	source, err := open(s.ID)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	var out []content
	for _, t := range []trace.Tensor{trace.Q, trace.K, trace.V} {
		row := t.Heads(shape) * shape.HeadSize
		layer := make([]float32, s.Entered*row)
		all := make([]float32, s.Entered*shape.Layers*row)
		for l := range shape.Layers {
			if err := source.Read(layer, t, l, s.First, s.Entered); err != nil {
				return nil, err
			}
			for i := range s.Entered {
				copy(all[(i*shape.Layers+l)*row:][:row], layer[i*row:])
			}
		}
		out = append(out, content{
			info(inputName(t, s.ID), safetensors.F32, int64(s.Entered), int64(shape.Layers), int64(t.Heads(shape)), int64(shape.HeadSize)),
			floatBytes(all),
		})
	}
	return out, nil
}

func inputName(t trace.Tensor, id kv.SeqID) string { return fmt.Sprintf("%c.%d", "qkv"[t], id) }

func info(name string, format safetensors.DType, shape ...int64) safetensors.Info {
	return safetensors.Info{Name: name, DType: format, Shape: shape}
}

func floatBytes(values []float32) []byte {
	raw := make([]byte, 0, 4*len(values))
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	return raw
}

func intBytes[T int32 | uint32](values []T) []byte {
	raw := make([]byte, 0, 4*len(values))
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint32(raw, uint32(v))
	}
	return raw
}

func writeTensors(w io.Writer, tensors []content) error {
	infos := make([]safetensors.Info, len(tensors))
	for i, t := range tensors {
		infos[i] = t.Info
	}
	header, err := safetensors.AppendHeader(nil, infos, 0)
	if err != nil {
		return err
	}
	if _, err := w.Write(header); err != nil {
		return err
	}
	for _, t := range tensors {
		if _, err := w.Write(t.bytes); err != nil {
			return err
		}
	}
	return nil
}
