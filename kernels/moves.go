package kernels

import (
	"math/bits"
	"slices"

	"kvcompress/internal/ceil"
	"kvcompress/kernels/device"
	"kvcompress/kv"
)

// moves are the moves of a decision, on the device. Their memory belongs to the state: the next moves
// overwrite it.
type moves struct {
	pairs device.Ptr // [n, 2] destination and source slots
	n     int
}

// schedule computes the moves of a decision for all heads, in (layer, head) order, as kv.Moves does.
func (s *state) schedule(row int, d decision) (moves, error) {
	firsts := make([]int32, len(d.heads))
	n, most := 0, 0
	for i, h := range d.heads {
		firsts[i] = int32(n)
		n += h.holes
		most = max(most, h.holes)
	}
	if n == 0 {
		return moves{}, nil
	}
	pairs, err := s.buffer("moves", 8*n)
	if err != nil {
		return moves{}, err
	}
	first, err := upload(s, "first moves", firsts)
	if err != nil {
		return moves{}, err
	}
	block := threads(most, 256)
	grid := device.Dim{X: len(d.heads), Y: ceil.Div(most, block.X), Z: 1}
	return moves{pairs, n}, s.launch("moves.ptx", "pair_moves", grid, block, 0,
		device.Pointer(d.list), device.Pointer(d.offsets), device.Pointer(d.kvs), device.Pointer(d.holes),
		device.Pointer(s.lengthsOf(row)), device.Pointer(s.tablesOf(row)), device.Pointer(first), device.Pointer(pairs),
		s.shift(), number(s.maxBlocks))
}

// move carries out moves of keys, values, positions and columns.
func (s *state) move(m moves) error {
	if m.n == 0 {
		return nil
	}
	entry, piece := "move_kvs_16", 16
	row := s.cfg.Shape.HeadSize * s.cfg.DType.Size()
	if row%piece != 0 {
		entry, piece = "move_kvs_8", 8
	}
	pieces := row / piece
	shift := min(bits.Len(uint(2*pieces-1)), 5) // log2 of the lanes that copy one key and value: at most a warp
	lanes := (m.n + 3) / 4 << shift
	block := threads(lanes, 256)
	single := slices.IndexFunc(s.columns, func(c kv.Column) bool { return c.Width == 1 })
	var metrics device.Ptr
	if single >= 0 {
		metrics = s.data[single]
	}
	if err := s.launch("moves.ptx", entry, blocks(lanes, block), block, 0,
		device.Pointer(m.pairs), device.Pointer(s.keys), device.Pointer(s.values),
		device.Pointer(metrics), device.Pointer(s.positions),
		number(m.n), number(pieces), number(shift)); err != nil {
		return err
	}
	each := threads(m.n, 256)
	for i, c := range s.columns {
		if i == single {
			continue
		}
		if err := s.launch("moves.ptx", "move_numbers", blocks(m.n, each), each, 0,
			device.Pointer(m.pairs), device.Pointer(s.data[i]), number(m.n), number(c.Width)); err != nil {
			return err
		}
	}
	return nil
}

// readMoves reads the moves from the device.
func (s *state) readMoves(m moves) ([]kv.Move, error) {
	if m.n == 0 {
		return nil, nil
	}
	slots, err := download[int32](s, m.pairs, 2*m.n)
	if err != nil {
		return nil, err
	}
	list := make([]kv.Move, m.n)
	for i := range list {
		before := int32(s.first * s.cfg.BlockSize)
		list[i] = kv.Move{Destination: slots[2*i] - before, Source: slots[2*i+1] - before}
	}
	return list, nil
}
