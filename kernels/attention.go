package kernels

import (
	"math"

	"kvcompress/dtype"
	"kvcompress/internal/ceil"
	"kvcompress/kernels/device"
	"kvcompress/ref"
)

// Constants of the kernels in attention.cu and prefill.cu.
const (
	warpSize    = 32
	mostQueries = 8 // per warp
)

// attend computes paged decode attention of one layer for the batch's new tokens, and updates the column that
// the method observes. q and out are [batch, H·G, D] float32 on the device; longest is the largest context
// length of the batch's heads in this layer.
func (s *state) attend(b batch, layer, longest int, q, out device.Ptr) error {
	part, err := s.read(b, layer, longest, q, out)
	if err != nil || s.watched == nil || !s.watched.Decode {
		return err
	}
	return s.record(b, layer, ceil.Div(longest, ref.Partition), part)
}

// read is attend without updating the column. It returns where the attention weights are.
func (s *state) read(b batch, layer, longest int, q, out device.Ptr) (partials, error) {
	shape := s.cfg.Shape
	h, group, d := shape.KVHeads, shape.Group, shape.HeadSize
	rows := b.n * h * group
	partitions := ceil.Div(longest, ref.Partition)
	part, err := s.partials(rows, partitions)
	if err != nil {
		return part, err
	}
	o, err := s.buffer("partial outputs", rows*partitions*d*4)
	if err != nil {
		return part, err
	}
	tables, lengths := device.Pointer(s.layerTables(0, layer)), device.Pointer(s.layerLengths(layer))
	sequences := device.Pointer(b.rows)

	args := []device.Arg{
		device.Pointer(q), device.Pointer(s.keys), device.Pointer(s.values), sequences, tables, lengths,
		device.Pointer(part.weights), device.Pointer(part.maxima), device.Pointer(part.sums), device.Pointer(o),
		number(h), number(s.heads()), number(group), number(d), s.shift(), number(s.maxBlocks),
		number(partitions), device.F32(attentionScale(d)),
	}
	file, kernel, format := "attention.ptx", "attend_partitions", s.cfg.DType
	if s.reads.adjusts() {
		adjusted, err := s.adjust(b, layer, partitions)
		if err != nil {
			return part, err
		}
		file, kernel, args = "adjusted.ptx", "attend_partitions_adjusted", append(args, adjusted...)
		if s.reads.turns != nil {
			format = dtype.F32 // type of the tile in shared memory
		}
	}
	if s.packing.has(layer) {
		var own []device.Arg
		if merged, deep := s.packing.merges(layer); merged {
			file, kernel, own = s.attendMerged(b, layer, deep)
		} else {
			file, kernel, own = s.attendQuantized(b, layer)
		}
		args, format = append(args, own...), dtype.F32 // type of the tile in shared memory
	}
	if err := s.launch(file, s.typed(kernel),
		device.Dim{X: b.n * h * ceil.Div(group, mostQueries), Y: partitions, Z: 1}, device.Dim{X: warpSize, Y: 1, Z: 1},
		attendShared(format, group, d), append(args, s.scales(layer)...)...); err != nil {
		return part, err
	}
	width := factorLanes(partitions)
	each := threads(rows*width, 128)
	if err := s.launch("attention.ptx", "attend_factors",
		blocks(rows*width, each), each, 0,
		sequences, lengths, device.Pointer(part.maxima), device.Pointer(part.sums), device.Pointer(part.factors),
		number(rows), number(h), number(s.heads()), number(group), number(partitions), number(width)); err != nil {
		return part, err
	}
	each = threads(rows*d/4, 128)
	return part, s.launch("attention.ptx", "attend_combine", blocks(rows*d/4, each), each, 0,
		sequences, lengths, device.Pointer(o), device.Pointer(part.factors), device.Pointer(out),
		number(rows), number(h), number(s.heads()), number(group), number(d/4), number(partitions))
}

// record adds what the batch's queries give to each KV to the column that the method observes.
func (s *state) record(b batch, layer, partitions int, part partials) error {
	shape := s.cfg.Shape
	record := "attend_record"
	if s.width > 1 {
		record = "attend_record_each"
	}
	return s.launch("attention.ptx", record,
		device.Dim{X: b.n * shape.KVHeads, Y: partitions, Z: 1}, device.Dim{X: warpSize, Y: 1, Z: 1}, 0,
		device.Pointer(b.rows), device.Pointer(b.times), device.Pointer(s.layerTables(0, layer)), device.Pointer(s.layerLengths(layer)),
		device.Pointer(part.weights), device.Pointer(part.factors), device.Pointer(s.positions), device.Pointer(s.metrics),
		number(shape.KVHeads), number(s.heads()), number(shape.Group), s.shift(), number(s.maxBlocks), number(partitions),
		number(s.watched.Buffer), flag(s.watched.Norm == ref.L2))
}

// partials has the intermediate results of attention for each row of queries and each partition of 128 KVs:
// float32 [rows, partitions].
type partials struct {
	weights device.Ptr // [rows, partitions, 128] e_i
	maxima  device.Ptr // m_p
	sums    device.Ptr // z_p
	factors device.Ptr // f_p
}

func (s *state) partials(rows, partitions int) (p partials, err error) {
	n := rows * partitions * 4
	for _, x := range []struct {
		to   *device.Ptr
		name string
		size int
	}{
		{&p.weights, "attention weights", n * ref.Partition},
		{&p.maxima, "partition maxima", n},
		{&p.sums, "partition sums", n},
		{&p.factors, "partition factors", n},
	} {
		if *x.to, err = s.buffer(x.name, x.size); err != nil {
			return p, err
		}
	}
	return p, nil
}

// partitionShared returns the bytes of shared memory that partition.cuh uses.
func partitionShared(format dtype.DType, queries, d int) int {
	piece := min(16, 8*format.Size())
	stride := (d*format.Size()/piece | 1) * piece
	tile := warpSize * stride
	if queries*d <= warpSize {
		tile = max(tile, queries*d*(warpSize+4)*4)
	}
	return 4*(ref.Partition+2*mostQueries+queries*(ref.Partition+d)) + tile
}

// attendShared returns the bytes of shared memory of attend_partitions: the most that any thread block of a
// group needs. The last one may have fewer queries and still need more.
func attendShared(format dtype.DType, group, d int) int {
	most := partitionShared(format, min(group, mostQueries), d)
	if last := group % mostQueries; group > mostQueries && last > 0 {
		most = max(most, partitionShared(format, last, d))
	}
	return most
}

// factorLanes returns how many lanes compute a row's factors: a power of two, at most the number of
// partitions and 32.
func factorLanes(partitions int) int {
	width := 1
	for width < min(partitions, warpSize) {
		width *= 2
	}
	return width
}

// attentionScale returns 1/√D: the quotient of 1 and the square root, each rounded to binary32.
func attentionScale(d int) float32 { return 1 / float32(math.Sqrt(float64(d))) }
