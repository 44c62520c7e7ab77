package kernels

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"kvcompress/internal/ceil"
	"kvcompress/kernels/device"
	"kvcompress/kv"
	"kvcompress/ref"
)

// state is the cache in a device's memory. Arrays are dense and row-major; integers are little-endian int32
// unless stated otherwise.
//
// A sequence in the cache has a row, an index into tables and lengths that the host assigns. Its block tables
// have room for maxBlocks blocks per head.
type state struct {
	cfg     ref.Config
	dev     device.Device
	ctx     context.Context  // of the launches
	columns []kv.Column      // of the method
	width   int              // numbers of each KV in metrics; 0 if there are none
	watched *ref.Observation // nil if the method observes no attention
	reads   reading          // how attention reads KVs

	packing *packing // nil if all pages are plain

	first     int // number of blocks before the cache's own: see [Engine.Place]
	firstRow  int // number of rows before those of sequences
	rows      int // number of rows, including those before firstRow
	maxBlocks int // number of blocks that a head's table has room for

	keys, values device.Ptr   // [N·B, D] in the cache's format
	data         []device.Ptr // [N·B, Width] float32, by column
	metrics      device.Ptr   // the column that the method observes, or else the first; 0 if there is none
	positions    device.Ptr   // [N·B]
	owners       device.Ptr   // [N, 4]: sequence (−1: free), layer, head, logical block
	free         device.Ptr   // [⌈N/32⌉] uint32: bit b%32 of word b/32 is set while block b is free
	tables       device.Ptr   // [rows, L·H, maxBlocks] physical blocks; −1 past a head's last one
	lengths      device.Ptr   // [rows, L·H] context lengths

	loaded  map[string]device.Module
	kernels map[string]device.Kernel
	buffers map[string]*buffer
	biased  bias // the head bias that is on the device
	turned  int  // number of positions whose rotations are on the device

	mostWeights int  // see maxPrefillWeights
	fresh       bool // see [Options.FreshBuffers]
}

// buffer is device memory that is reused between launches and grows as needed.
type buffer struct {
	ptr  device.Ptr
	size int64
}

// newState allocates an empty cache for rows sequences of at most tokens tokens. The configuration is valid,
// and the method supported.
func newState(dev device.Device, cfg ref.Config, method ref.Method, rows, tokens int) (*state, error) {
	columns := method.Columns()
	s := &state{
		cfg:     cfg,
		dev:     dev,
		ctx:     context.Background(),
		columns: columns,
		data:    make([]device.Ptr, len(columns)),
		watched: method.Observe(),
		reads:   readingOf(method, cfg.Rope),

		packing: packingOf(method),

		mostWeights: maxPrefillWeights,

		rows:    rows,
		loaded:  map[string]device.Module{},
		kernels: map[string]device.Kernel{},
		buffers: map[string]*buffer{},
	}
	s.maxBlocks = max(1, s.tableBlocks(tokens))
	if err := s.allocate(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if err := errors.Join(
		s.clearTables(),
		s.reserveLists(rows, s.maxBlocks*cfg.BlockSize),
	); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// allocate allocates the cache, tables and lengths. All blocks but those before the cache's own are free.
func (s *state) allocate() error {
	blocks := s.first + s.cfg.Blocks
	slots := int64(blocks) * int64(s.cfg.BlockSize)
	words := freeWords(blocks)
	type array struct {
		name string
		to   *device.Ptr
		size int64
	}
	arrays := []array{
		{"owners", &s.owners, int64(blocks) * 16},
		{"free", &s.free, int64(words) * 4},
		{"tables", &s.tables, s.tableBytes()},
		{"lengths", &s.lengths, int64(s.rows) * int64(s.heads()) * 4},
	}
	for _, a := range s.slotArrays() {
		arrays = append(arrays, array{a.name, a.at, slots * int64(a.size)})
	}
	for _, a := range arrays {
		var err error
		if *a.to, err = s.dev.Alloc(a.name, a.size); err != nil {
			return fmt.Errorf("kernels: %w", err)
		}
	}
	if main := s.main(); main < len(s.columns) {
		s.metrics, s.width = s.data[main], s.columns[main].Width
	}
	free := make([]byte, words*4)
	for b := s.first; b < blocks; b++ {
		free[b/8] |= 1 << (b % 8)
	}
	return errors.Join(
		s.dev.Write(s.free, free),
		s.dev.Fill(s.owners+device.Ptr(16*s.first), 0xff, int64(s.cfg.Blocks)*16),
	)
}

// close frees the device memory. The device stays open.
func (s *state) close() error {
	var errs []error
	for _, p := range slices.Concat([]device.Ptr{s.keys, s.values, s.positions, s.owners, s.free, s.tables, s.lengths}, s.data, s.packing.memory()) {
		if p != 0 {
			errs = append(errs, s.dev.Free(p))
		}
	}
	for _, b := range s.buffers {
		errs = append(errs, s.dev.Free(b.ptr))
	}
	s.buffers = map[string]*buffer{}
	return errors.Join(errs...)
}

// slotArray is an array with size bytes for each slot.
type slotArray struct {
	name string
	at   *device.Ptr
	size int
}

// own returns where the cache's own blocks begin in an array with size bytes for each block.
func (s *state) own(array device.Ptr, size int) device.Ptr { return array + device.Ptr(s.first*size) }

// hostBlocks converts block numbers of kernels to the cache's, deviceBlocks the reverse. Negative numbers
// stay unchanged.
func (s *state) hostBlocks(blocks []int32) { s.shiftBlocks(blocks, -int32(s.first)) }

func (s *state) deviceBlocks(blocks []int32) { s.shiftBlocks(blocks, int32(s.first)) }

func (s *state) shiftBlocks(blocks []int32, by int32) {
	for i, b := range blocks {
		if b >= 0 {
			blocks[i] += by
		}
	}
}

// main returns the index of the column that the method observes, or else the first.
func (s *state) main() int {
	if s.watched != nil {
		return s.watched.Column
	}
	return 0
}

// slotArrays returns the arrays indexed by slot: keys, values, positions and columns.
func (s *state) slotArrays() []slotArray {
	row := s.cfg.RowBytes()
	arrays := []slotArray{{"keys", &s.keys, row}, {"values", &s.values, row}, {"positions", &s.positions, 4}}
	for i, c := range s.columns {
		arrays = append(arrays, slotArray{c.Name, &s.data[i], c.Bytes()})
	}
	return arrays
}

// tableBlocks returns how many blocks a head's table needs room for if the sequence has at most tokens
// tokens. That is at most the number of blocks in the cache, except for methods that quantize or merge: a
// table is indexed by logical block, and quantized or merged KVs have left their blocks.
func (s *state) tableBlocks(tokens int) int {
	n := ceil.Div(tokens, s.cfg.BlockSize)
	if s.packing == nil {
		n = min(n, s.cfg.Blocks)
	}
	return n
}

// freeWords returns the number of words in the free list of n blocks.
func freeWords(n int) int { return ceil.Div(n, 32) }

// reserve grows to rows rows, each for a sequence of at most tokens tokens. On error nothing changes.
func (s *state) reserve(rows, tokens int) error {
	blocks := max(s.maxBlocks, s.tableBlocks(tokens))
	// A sequence may grow to the end of its table before reserve is called again.
	if err := s.reserveLists(rows, max(tokens, blocks*s.cfg.BlockSize)); err != nil {
		return err
	}
	if rows <= s.rows && blocks == s.maxBlocks {
		return nil
	}
	larger := &state{cfg: s.cfg, dev: s.dev, firstRow: s.firstRow, rows: max(rows, s.rows), maxBlocks: blocks}
	if err := larger.takeTables(s); err != nil {
		return errors.Join(err, larger.close())
	}
	s.tables, larger.tables = larger.tables, s.tables
	s.lengths, larger.lengths = larger.lengths, s.lengths
	s.rows, s.maxBlocks = larger.rows, larger.maxBlocks
	return larger.close()
}

// takeTables allocates tables and lengths, and copies those of a smaller state.
func (s *state) takeTables(from *state) error {
	heads := s.heads()
	var err error
	if s.tables, err = s.dev.Alloc("tables", s.tableBytes()); err != nil {
		return err
	}
	if s.lengths, err = s.dev.Alloc("lengths", 4*int64(s.rows)*int64(heads)); err != nil {
		return err
	}
	if err := s.clearTables(); err != nil {
		return err
	}
	if err := s.dev.Copy(s.lengthsOf(s.firstRow), from.lengthsOf(s.firstRow), 4*int64(from.rows-s.firstRow)*int64(heads)); err != nil {
		return err
	}
	for head := s.firstRow * heads; head < from.rows*heads; head++ {
		to, old := device.Ptr(4*head*s.maxBlocks), device.Ptr(4*head*from.maxBlocks)
		if err := s.dev.Copy(s.tables+to, from.tables+old, 4*int64(from.maxBlocks)); err != nil {
			return err
		}
	}
	return nil
}

// clearTables fills the block tables that sequences get with −1.
func (s *state) clearTables() error {
	return s.dev.Fill(s.tablesOf(s.firstRow), 0xff, s.tableBytes()-4*int64(s.firstRow)*int64(s.heads())*int64(s.maxBlocks))
}

// tableBytes returns the bytes of all block tables.
func (s *state) tableBytes() int64 {
	return 4 * int64(s.rows) * int64(s.heads()) * int64(s.maxBlocks)
}

// heads returns L·H.
func (s *state) heads() int { return s.cfg.Shape.Layers * s.cfg.Shape.KVHeads }

// buffer returns a named buffer of at least size bytes, with undefined contents. It returns the same memory
// at each call until it has to grow; then the memory returned before is freed.
func (s *state) buffer(name string, size int) (device.Ptr, error) {
	b := s.buffers[name]
	if b != nil && b.size >= int64(size) && !s.fresh {
		return b.ptr, nil
	}
	if b != nil {
		delete(s.buffers, name)
		if err := s.dev.Free(b.ptr); err != nil {
			return 0, err
		}
		if !s.fresh {
			size += size / 2
		}
	}
	b = &buffer{size: int64(max(size, 1))}
	if !s.fresh {
		b.size = max(b.size, 256)
	}
	var err error
	if b.ptr, err = s.dev.Alloc(name, b.size); err != nil {
		return 0, err
	}
	s.buffers[name] = b
	return b.ptr, nil
}

// upload writes values to a named buffer.
func upload[T int32 | uint32 | float32](s *state, name string, values []T) (device.Ptr, error) {
	p, err := s.buffer(name, 4*len(values))
	if err != nil {
		return 0, err
	}
	return p, s.dev.Write(p, encode(values))
}

// download reads n values from the device.
func download[T int32 | uint32 | float32](s *state, from device.Ptr, n int) ([]T, error) {
	raw := make([]byte, 4*n)
	if err := s.dev.Read(raw, from); err != nil {
		return nil, err
	}
	return decode[T](raw), nil
}

func encode[T int32 | uint32 | float32](values []T) []byte {
	raw := make([]byte, 4*len(values))
	for i, v := range values {
		var bits uint32
		switch v := any(v).(type) {
		case int32:
			bits = uint32(v)
		case uint32:
			bits = v
		case float32:
			bits = math.Float32bits(v)
		}
		binary.LittleEndian.PutUint32(raw[4*i:], bits)
	}
	return raw
}

func decode[T int32 | uint32 | float32](raw []byte) []T {
	values := make([]T, len(raw)/4)
	for i := range values {
		bits := binary.LittleEndian.Uint32(raw[4*i:])
		switch v := any(&values[i]).(type) {
		case *int32:
			*v = int32(bits)
		case *uint32:
			*v = bits
		case *float32:
			*v = math.Float32frombits(bits)
		}
	}
	return values
}
