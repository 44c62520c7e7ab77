package kernels

import (
	"fmt"

	"kvcompress/kernels/device"
	"kvcompress/kv"
	"kvcompress/ref"
)

// quantize is Compress for a method that quantizes.
func (e *Engine) quantize(id kv.SeqID, s *sequence, q ref.Quantizer) (ref.Compressed, error) {
	seq := &kv.Sequence{ID: id, Prompt: s.prompt, Len: s.tokens, Heads: e.heads(s)}
	plan := ref.PlanQuantizer(&e.cfg.Config, seq, q)
	if need, free := plan.Need(e.nextTokens()), e.Free(); need > free {
		return ref.Compressed{}, &kv.ErrNoBlocks{Need: need, Free: free}
	}
	done := ref.Compressed{Asked: plan.Asked, Freed: plan.Freed(seq.Heads, e.cfg.BlockSize), Quantized: plan.Quantized()}
	if e.observe != nil {
		if err := e.report(ref.Event{Stage: ref.StageDecide, Seqs: []kv.SeqID{id}, Plan: &plan, Parts: plan.Parts(len(s.lengths))}); err != nil {
			return ref.Compressed{}, err
		}
	}
	keys, values := q.Quantizes(s.tokens)
	was, now := s.packed, [2]int{max(s.packed[0], keys), max(s.packed[1], values)}
	if plan.Asked > 0 {
		taken, freed := ref.QuantizerBlocks(&e.cfg.Config, seq.Heads, q, &plan)
		held := e.held - e.blocks(s)
		_, err := ref.Rounds(taken, freed, e.Free(), func(first, last int) error {
			return e.state.quantizeHeads(s.row, id, first, last, was, now)
		})
		if err != nil {
			return ref.Compressed{}, e.fail(err)
		}
		for _, n := range taken {
			done.Taken += n
		}
		s.packed = now
		e.held = held + e.blocks(s)
	}
	if e.observe == nil {
		return done, nil
	}
	return done, e.report(ref.Event{Stage: ref.StageMove, Seqs: []kv.SeqID{id}, Parts: []ref.Part{ref.MovesPart(nil)}})
}

// quantizeHeads quantizes the oldest keys and values of heads first to last−1 of a row, from was[0] keys and
// was[1] values to now[0] and now[1], and frees the blocks whose KVs are then all quantized. Enough blocks
// must be free for the new pages.
func (s *state) quantizeHeads(row int, id kv.SeqID, first, last int, was, now [2]int) error {
	z, heads := s.packing, last-first
	var have, more [2]int
	for i := range have {
		f := z.formats[i][0]
		have[i] = s.cfg.Pages(f, was[i])
		more[i] = s.cfg.Pages(f, now[i]) - have[i]
	}
	if n := heads * (more[0] + more[1]); n > 0 {
		taken, err := s.take(n)
		if err != nil {
			return err
		}
		block := threads(n, 256)
		if err := s.launch("quantized.ptx", "give_quantized", blocks(n, block), block, 0,
			device.Pointer(taken), device.Pointer(s.listsOf(row)), device.Pointer(s.owners),
			device.I32(int32(id)), number(first), number(heads), number(s.cfg.Shape.KVHeads),
			number(have[0]), number(have[1]), number(more[0]), number(more[1]), number(z.pages)); err != nil {
			return err
		}
	}
	for part := range z.formats {
		if n := now[part] - was[part]; n > 0 {
			if err := s.quantizePart(row, part, first, heads, was[part], n, z.formats[part][0]); err != nil {
				return err
			}
		}
	}
	from, to := min(was[0], was[1])/s.cfg.BlockSize, min(now[0], now[1])/s.cfg.BlockSize
	return s.freeEntries(s.tablesOf(row), first, heads, from, to, s.maxBlocks)
}

// quantizePart quantizes n keys (part 0) or values (part 1) of heads of a row, starting at logical index
// from.
func (s *state) quantizePart(row, part, first, heads, from, n int, f kv.Format) error {
	d := s.cfg.Shape.HeadSize
	kernel, work := "quantize_channels", n/f.Unit()*d
	var piece []device.Arg
	if f.Kind == kv.PerToken {
		channels := max(8, f.Group) // at least whole groups and whole bytes
		for channels%8 != 0 || channels%f.Group != 0 {
			channels++
		}
		kernel, work, piece = "quantize_tokens", n*d/channels, []device.Arg{number(channels)}
	}
	block := threads(work, 256)
	grid := blocks(work, block)
	grid.Y = heads
	return s.launch("quantized.ptx", s.typed(kernel), grid, block, 0, append([]device.Arg{
		device.Pointer(s.keys), device.Pointer(s.values), device.Pointer(s.tablesOf(row)), device.Pointer(s.listsOf(row)),
		number(part), number(first), number(from), number(n), number(d), s.shift(), number(s.maxBlocks), number(s.packing.pages),
		number(f.Bits), number(f.Group),
	}, piece...)...)
}

// quantizedArgs returns the arguments that attend_partitions_quantized takes in addition to those of
// attend_partitions.
func (s *state) quantizedArgs(b batch, layer int) []device.Arg {
	z := s.packing
	keys, values := z.formats[0][0], z.formats[1][0]
	return []device.Arg{
		device.Pointer(b.packed), device.Pointer(s.layerLists(layer)), number(z.pages),
		flag(keys.Kind == kv.PerChannel), number(keys.Bits), number(values.Bits), number(keys.Group),
	}
}

// supportsQuantizer returns an error if the kernels do not support a method's formats.
func supportsQuantizer(q ref.Quantizer) error {
	keys, values := q.Formats()
	if values.Kind != kv.PerToken || keys.Kind != kv.PerChannel && keys.Kind != kv.PerToken || keys.Group != values.Group || keys.Bits > 4 || values.Bits > 4 {
		return fmt.Errorf("quantizes keys %+v and values %+v", keys, values)
	}
	return nil
}
