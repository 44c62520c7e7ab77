package kernels

import (
	"fmt"

	"kvcompress/kernels/device"
	"kvcompress/kv"
	"kvcompress/ref"
)

// quantize carries out what a plan quantizes, and returns how many blocks it takes.
func (e *Engine) quantize(id kv.SeqID, s *sequence, q ref.Quantizer, plan *ref.Plan) (int, error) {
	keys, values := q.Quantizes(s.tokens)
	was, now := s.quantized, [2]int{max(s.quantized[0], keys), max(s.quantized[1], values)}
	taken, freed := ref.QuantizerBlocks(&e.cfg.Config, e.heads(s), q, plan)
	return e.rounds(s, taken, freed, func(first, last int) error {
		return e.state.quantizeHeads(s.row, id, first, last, was, now)
	}, func() { s.quantized = now })
}

// quantizeHeads quantizes the oldest keys and values of heads first to last−1 of a row, except merged heads, from
// was[0] keys and was[1] values to now[0] and now[1], and frees the blocks whose KVs are then all quantized.
// Enough blocks must be free for the new pages.
func (s *state) quantizeHeads(row int, id kv.SeqID, first, last int, was, now [2]int) error {
	runs := s.quantizedRuns(first, last)
	for _, run := range runs {
		if err := s.givePages(row, id, run.first, run.heads, was, now); err != nil {
			return err
		}
		for part, formats := range s.packing.quantized {
			if n := now[part] - was[part]; n > 0 {
				if err := s.quantizePart(row, part, run.first, run.heads, was[part], n, formats[0]); err != nil {
					return err
				}
			}
		}
	}
	from, to := min(was[0], was[1])/s.cfg.BlockSize, min(now[0], now[1])/s.cfg.BlockSize
	for _, run := range runs {
		if err := s.freeEntries(s.tablesOf(row), run.first, run.heads, from, to, s.maxBlocks); err != nil {
			return err
		}
	}
	return nil
}

// headRun is heads first to first + heads − 1 of L·H.
type headRun struct{ first, heads int }

// quantizedRuns returns the heads first to last−1 without the merged ones, which are consecutive: at most two runs.
func (s *state) quantizedRuns(first, last int) []headRun {
	begin, end := last, last // of merged heads
	if s.packing.mergesAny() {
		by, of := s.packing.merger.Merging(), s.cfg.Shape.KVHeads
		begin, end = by.First*of, (by.First+2*by.Pairs)*of
	}
	var runs []headRun
	if to := min(begin, last); first < to {
		runs = append(runs, headRun{first, to - first})
	}
	if from := max(end, first); from < last {
		runs = append(runs, headRun{from, last - from})
	}
	return runs
}

// givePages gives heads of a row the pages for their quantized keys and values to grow from was to now.
func (s *state) givePages(row int, id kv.SeqID, first, heads int, was, now [2]int) error {
	var have, more [2]int
	for i, formats := range s.packing.quantized {
		have[i] = s.cfg.Pages(formats[0], was[i])
		more[i] = s.cfg.Pages(formats[0], now[i]) - have[i]
	}
	n := heads * (more[0] + more[1])
	if n == 0 {
		return nil
	}
	taken, err := s.take(n)
	if err != nil {
		return err
	}
	block := threads(n, 256)
	return s.launch("quantized.ptx", "give_quantized", blocks(n, block), block, 0,
		device.Pointer(taken), device.Pointer(s.listsOf(row)), device.Pointer(s.owners),
		device.I32(int32(id)), number(first), number(heads), number(s.cfg.Shape.KVHeads),
		number(have[0]), number(have[1]), number(more[0]), number(more[1]), number(s.packing.partStride()))
}

// quantizePart quantizes n keys (part 0) or values (part 1) of heads of a row, starting at logical index
// from.
func (s *state) quantizePart(row, part, first, heads, from, n int, f kv.Format) error {
	d := s.cfg.Shape.HeadSize
	kernel, work := "quantize_channels", n/f.Unit()*d
	var more []device.Arg
	if f.Kind == kv.PerToken {
		kernel, work, more = "quantize_tokens", n*d/piece(f), []device.Arg{number(piece(f))}
	}
	block := threads(work, 256)
	grid := blocks(work, block)
	grid.Y = heads
	return s.launch("quantized.ptx", s.typed(kernel), grid, block, 0, append([]device.Arg{
		device.Pointer(s.keys), device.Pointer(s.values), device.Pointer(s.tablesOf(row)), device.Pointer(s.listsOf(row)),
		number(part), number(first), number(from), number(n), number(d), s.shift(), number(s.maxBlocks), number(s.packing.partStride()),
		number(f.Bits), number(f.Group),
	}, more...)...)
}

// piece returns how many channels of a token one thread quantizes: whole groups, and codes that fill whole bytes.
func piece(f kv.Format) int {
	channels := max(8, f.Group)
	for channels%8 != 0 || channels%f.Group != 0 {
		channels++
	}
	return channels
}

// attendQuantized returns the kernel that attends to quantized KVs, its module, and the arguments that it takes in addition
// to those of attend_partitions.
func (s *state) attendQuantized(b batch, layer int) (file, kernel string, args []device.Arg) {
	z := s.packing
	keys, values := z.quantized[0][0], z.quantized[1][0]
	return "quantized.ptx", "attend_partitions_quantized", []device.Arg{
		device.Pointer(b.quantized), device.Pointer(s.layerLists(layer)), number(z.partStride()),
		flag(keys.Kind == kv.PerChannel), number(keys.Bits), number(values.Bits), number(keys.Group),
	}
}

// maxBits is the largest number of bits of a code that the kernels read: they read four codes from two bytes.
const maxBits = 4

// supportsQuantizer returns an error if the kernels do not support a method's formats, or its number of heads.
func supportsQuantizer(q ref.Quantizer, heads int) error {
	keys, values := q.Formats()
	if values.Kind != kv.PerToken || keys.Kind != kv.PerChannel && keys.Kind != kv.PerToken || keys.Group != values.Group || keys.Bits > maxBits || values.Bits > maxBits {
		return fmt.Errorf("quantizes keys %+v and values %+v", keys, values)
	}
	if heads > maxGridY {
		return fmt.Errorf("quantizes %d heads, of which a grid has at most %d", heads, maxGridY)
	}
	return nil
}
