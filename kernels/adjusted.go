package kernels

import (
	"kvcompress/internal/ceil"
	"kvcompress/kernels/device"
	"kvcompress/ref"
	"kvcompress/trace"
)

// reading describes how queries read KVs, for a method whose queries do not read them as they are stored.
type reading struct {
	standIns ref.StandIns // columns of the stand-ins
	hidden   int          // column of the hidden KVs, or None
	turns    *turns       // nil if keys are read at their own positions
}

// readingOf returns a method's reading.
func readingOf(method ref.Method, rope *trace.Rope) reading {
	r := reading{standIns: ref.StandIns{Weight: ref.None, Keys: ref.None, Values: ref.None}, hidden: ref.None}
	if f, ok := method.(ref.Folder); ok {
		r.standIns = f.StandIns()
	}
	if m, ok := method.(ref.Masker); ok {
		r.hidden = m.Hidden()
	}
	if m, ok := method.(ref.Rerotator); ok && m.ByCachePosition() {
		r.turns = newTurns(rope)
	}
	return r
}

// adjusts reports whether KVs are adjusted when they are read.
func (r *reading) adjusts() bool {
	return r.standIns.Weight != ref.None || r.hidden != ref.None || r.turns != nil
}

// adjust returns the arguments that attend_partitions_adjusted takes in addition to those of
// attend_partitions.
func (s *state) adjust(b batch, layer, partitions int) ([]device.Arg, error) {
	args := []device.Arg{s.column(s.reads.standIns.Weight), s.column(s.reads.hidden)}
	t := s.reads.turns
	if t == nil {
		return append(args, device.Pointer(0), device.Pointer(0), number(0), number(0), number(0)), nil
	}
	by, err := s.countTurns(b, layer, partitions)
	if err != nil {
		return nil, err
	}
	directions, err := s.directions(b.longest)
	return append(args, device.Pointer(by), device.Pointer(directions), number(len(t.inverse)), number(t.step), number(t.partner)), err
}

// column returns a column as an argument; 0 for None.
func (s *state) column(i int) device.Arg {
	if i == ref.None {
		return device.Pointer(0)
	}
	return device.Pointer(s.data[i])
}

// turns is the rotation of keys, with the part of its table that is on the device.
type turns struct {
	inverse       []float32 // inverse frequency of each pair: radians per position
	step, partner int       // pair i is elements i·step and i·step + partner
	table         []float32 // [positions, pairs, 2] sine and cosine
	on            device.Ptr
}

func newTurns(r *trace.Rope) *turns {
	t := &turns{inverse: r.InverseFrequencies()}
	t.step, t.partner = r.Strides()
	return t
}

// countTurns returns by how many positions each key of the batch's heads in a layer is rotated: int32
// [batch·H, partitions, 128].
func (s *state) countTurns(b batch, layer, partitions int) (device.Ptr, error) {
	heads := b.n * s.cfg.Shape.KVHeads
	words := ceil.Div(b.longest, 32)
	held, err := s.buffer("positions held", 4*heads*words)
	if err != nil {
		return 0, err
	}
	before, err := s.buffer("positions held before", 4*heads*words)
	if err != nil {
		return 0, err
	}
	by, err := s.buffer("turns", 4*heads*partitions*ref.Partition)
	if err != nil {
		return 0, err
	}
	return by, s.launch("adjusted.ptx", "count_turns", device.Dim{X: heads, Y: 1, Z: 1}, device.Dim{X: 256, Y: 1, Z: 1}, 0,
		device.Pointer(b.rows), device.Pointer(b.positions), device.Pointer(s.layerTables(0, layer)), device.Pointer(s.layerLengths(layer)),
		device.Pointer(s.positions), device.Pointer(held), device.Pointer(before), device.Pointer(by),
		number(s.cfg.Shape.KVHeads), number(s.heads()), s.shift(), number(s.maxBlocks), number(words), number(partitions))
}

// directions returns the table of sines and cosines of rotations by 0 to tokens−1 positions. A table that is
// too short is extended to at least twice its length.
func (s *state) directions(tokens int) (device.Ptr, error) {
	t := s.reads.turns
	pairs := len(t.inverse)
	have := len(t.table) / (2 * pairs)
	if have >= tokens {
		return t.on, nil
	}
	for by := have; by < max(tokens, min(2*have, trace.MaxTokens)); by++ {
		for _, f := range t.inverse {
			sin, cos := trace.Sincos(float64(by) * float64(f))
			t.table = append(t.table, float32(sin), float32(cos))
		}
	}
	var err error
	t.on, err = upload(s, "directions", t.table)
	return t.on, err
}
