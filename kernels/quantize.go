package kernels

import (
	"fmt"
	"slices"

	"kvcompress/kernels/device"
	"kvcompress/kv"
	"kvcompress/ref"
)

// quantizing is what the kernels of a method that quantizes work with.
type quantizing struct {
	method  ref.Quantizer
	formats [2]kv.Format // of keys, of values
	pages   int          // that a list has room for
	lists   device.Ptr   // [rows, L·H, 2, pages] blocks of quantized keys and of values
}

// quantizingOf returns what a method has of it; nil if it does not quantize.
func quantizingOf(m ref.Method) *quantizing {
	q, ok := m.(ref.Quantizer)
	if !ok {
		return nil
	}
	z := &quantizing{method: q}
	z.formats[0], z.formats[1] = q.Formats()
	return z
}

// room returns how many pages a list can hold for a sequence of at most tokens tokens.
func (z *quantizing) room(cfg *kv.Config, tokens int) int {
	n := max(cfg.Pages(z.formats[0], tokens), cfg.Pages(z.formats[1], tokens))
	return max(1, min(n, cfg.Blocks))
}

// listBytes returns the bytes of all lists.
func (s *state) listBytes(rows, pages int) int64 {
	return 8 * int64(rows) * int64(s.heads()) * int64(pages)
}

// reserveLists grows the page lists to rows rows, each for a sequence of at most tokens tokens.
func (s *state) reserveLists(rows, tokens int) error {
	z := s.quantizing
	if z == nil {
		return nil
	}
	pages := max(z.pages, z.room(&s.cfg.Config, tokens))
	had := 0
	if z.lists != 0 {
		had = s.rows
	}
	rows = max(rows, s.rows)
	if z.lists != 0 && rows == s.rows && pages == z.pages {
		return nil
	}
	lists, err := s.dev.Alloc("quantized pages", s.listBytes(rows, pages))
	if err != nil {
		return err
	}
	if err := s.dev.Fill(lists, 0xff, s.listBytes(rows, pages)); err != nil {
		return err
	}
	for i := range 2 * had * s.heads() {
		if err := s.dev.Copy(lists+device.Ptr(4*i*pages), z.lists+device.Ptr(4*i*z.pages), 4*int64(z.pages)); err != nil {
			return err
		}
	}
	if z.lists != 0 {
		if err := s.dev.Free(z.lists); err != nil {
			return err
		}
	}
	z.lists, z.pages = lists, pages
	return nil
}

// listsOf is where the lists of a row begin.
func (s *state) listsOf(row int) device.Ptr {
	return s.quantizing.lists + device.Ptr(8*row*s.heads()*s.quantizing.pages)
}

// pages returns the blocks of a head's quantized keys and values.
func (e *Engine) pages(q [2]int) (keys, values int) {
	z := e.state.quantizing
	if q == [2]int{} {
		return 0, 0
	}
	return e.cfg.Pages(z.formats[0], q[0]), e.cfg.Pages(z.formats[1], q[1])
}

// host returns what the host knows of a sequence's heads: lengths, and no tables.
func (e *Engine) host(id kv.SeqID, s *sequence) *kv.Sequence {
	seq := &kv.Sequence{ID: id, Prompt: s.prompt, Len: s.tokens, Heads: make([]kv.Head, len(s.lengths))}
	for i, n := range s.lengths {
		h := &seq.Heads[i]
		first := min(s.quantized[0], s.quantized[1])
		h.Segment = kv.Segment{First: first, Len: n - first, Offset: first % e.cfg.BlockSize}
		if z := e.state.quantizing; z != nil {
			if n := s.quantized[0]; n > 0 {
				h.Keys = []kv.Segment{{Format: z.formats[0], Len: n}}
			}
			if n := s.quantized[1]; n > 0 {
				h.Values = []kv.Segment{{Format: z.formats[1], Len: n}}
			}
		}
	}
	return seq
}

// quantize is Compress by a method that quantizes.
func (e *Engine) quantize(id kv.SeqID, s *sequence, q ref.Quantizer) (ref.Compressed, error) {
	seq := e.host(id, s)
	plan := ref.PlanQuantizer(&e.cfg.Config, seq, q)
	if free := e.Free(); plan.Needs > free {
		return ref.Compressed{}, &kv.ErrNoBlocks{Need: plan.Needs, Free: free}
	}
	done := ref.Compressed{Asked: plan.Asked, Freed: plan.Freed(seq.Heads, e.cfg.BlockSize), Quantized: plan.Quantized()}
	if e.observe != nil {
		if err := e.report(ref.Event{Stage: ref.StageDecide, Seqs: []kv.SeqID{id}, Plan: &plan, Parts: plan.Parts(len(s.lengths))}); err != nil {
			return ref.Compressed{}, err
		}
	}
	keys, values := q.Quantizes(s.tokens)
	was, now := s.quantized, [2]int{max(s.quantized[0], keys), max(s.quantized[1], values)}
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
		s.quantized = now
		e.held = held + e.blocks(s)
	}
	if e.observe == nil {
		return done, nil
	}
	return done, e.report(ref.Event{Stage: ref.StageMove, Seqs: []kv.SeqID{id}, Parts: []ref.Part{ref.MovesPart(nil)}})
}

// quantizeHeads quantizes the oldest keys and values of heads first to last−1 of a row, from
// was[0] keys and was[1] values to now[0] and now[1], and frees the blocks whose KVs are then all
// quantized. There must be enough free blocks for the new pages.
func (s *state) quantizeHeads(row int, id kv.SeqID, first, last int, was, now [2]int) error {
	z, heads := s.quantizing, last-first
	var have, more [2]int
	for i, f := range z.formats {
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
	for part, f := range z.formats {
		if n := now[part] - was[part]; n > 0 {
			if err := s.quantizePart(row, part, first, heads, was[part], n, f); err != nil {
				return err
			}
		}
	}
	from, to := min(was[0], was[1])/s.cfg.BlockSize, min(now[0], now[1])/s.cfg.BlockSize
	return s.freeEntries(s.tablesOf(row), first, heads, from, to, s.maxBlocks)
}

// quantizePart quantizes n keys (part 0) or values (1) of heads of a row, from logical index from on.
func (s *state) quantizePart(row, part, first, heads, from, n int, f kv.Format) error {
	d := s.cfg.Shape.HeadSize
	kernel, work := "quantize_channels", n/f.Unit()*d
	var piece []device.Arg
	if f.Kind == kv.PerToken {
		channels := max(8, f.Group) // whole groups, and whole bytes
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
		number(part), number(first), number(from), number(n), number(d), s.shift(), number(s.maxBlocks), number(s.quantizing.pages),
		number(f.Bits), number(f.Group),
	}, piece...)...)
}

// freeEntries frees the blocks of entries from to to−1 of heads' tables, which lie stride entries apart.
func (s *state) freeEntries(tables device.Ptr, first, heads, from, to, stride int) error {
	if from >= to {
		return nil
	}
	return s.launch("quantized.ptx", "free_entries", device.Dim{X: heads, Y: 1, Z: 1}, threads(to-from, 256), 0,
		device.Pointer(tables), device.Pointer(s.free), device.Pointer(s.owners), number(first), number(from), number(to), number(stride))
}

// releaseQuantized is release for a method that quantizes. Every head of the row holds n KVs, of
// which quantized[0] keys and quantized[1] values are quantized.
func (s *state) releaseQuantized(row, n int, quantized [2]int) error {
	z := s.quantizing
	if err := s.freeEntries(s.tablesOf(row), 0, s.heads(), min(quantized[0], quantized[1])/s.cfg.BlockSize, ceilDiv(n, s.cfg.BlockSize), s.maxBlocks); err != nil {
		return err
	}
	for part, f := range z.formats {
		if err := s.freeEntries(s.listsOf(row)+device.Ptr(4*part*z.pages), 0, s.heads(), 0, s.cfg.Pages(f, quantized[part]), 2*z.pages); err != nil {
			return err
		}
	}
	return s.dev.Fill(s.lengthsOf(row), 0, 4*int64(s.heads()))
}

// quantizedArgs returns what attend_partitions_quantized takes beside the arguments of
// attend_partitions.
func (s *state) quantizedArgs(b batch, layer int) []device.Arg {
	z := s.quantizing
	keys, values := z.formats[0], z.formats[1]
	return []device.Arg{
		device.Pointer(b.quantized), device.Pointer(s.listsOf(0) + device.Ptr(8*layer*s.cfg.Shape.KVHeads*z.pages)), number(z.pages),
		flag(keys.Kind == kv.PerChannel), number(keys.Bits), number(values.Bits), number(keys.Group),
	}
}

// supportsQuantizer returns an error if the kernels cannot quantize as a method does.
func supportsQuantizer(q ref.Quantizer) error {
	keys, values := q.Formats()
	if values.Kind != kv.PerToken || keys.Kind != kv.PerChannel && keys.Kind != kv.PerToken || keys.Group != values.Group || keys.Bits > 4 || values.Bits > 4 {
		return fmt.Errorf("quantizes keys %+v and values %+v", keys, values)
	}
	return nil
}

// readLists completes the heads of a sequence as they are read back: what is quantized, in which
// pages, and where the plain segment begins.
func (e *Engine) readLists(known *sequence, heads []kv.Head) error {
	s, z := e.state, e.state.quantizing
	lists, err := download[int32](s, s.listsOf(known.row), 2*len(heads)*z.pages)
	if err != nil {
		return err
	}
	s.hostBlocks(lists)
	first := min(known.quantized[0], known.quantized[1])
	for i := range heads {
		h := &heads[i]
		n := h.Len
		left := min(first/e.cfg.BlockSize, len(h.Table))
		h.Segment = kv.Segment{Table: h.Table[left:], First: first, Len: n - first, Offset: first % e.cfg.BlockSize}
		for part, f := range z.formats {
			held := known.quantized[part]
			if held == 0 {
				continue
			}
			list := lists[(2*i+part)*z.pages:][:min(e.cfg.Pages(f, held), z.pages)]
			g := []kv.Segment{{Format: f, Len: held, Table: slices.Clone(list)}}
			if part == 0 {
				h.Keys = g
			} else {
				h.Values = g
			}
		}
	}
	return nil
}

// restoreLists takes over what is quantized of a sequence, whose heads are all alike.
func (e *Engine) restoreLists(known *sequence, seq *kv.Sequence) error {
	z := e.state.quantizing
	for i := range seq.Heads {
		h := &seq.Heads[i]
		if len(h.Keys)+len(h.Values) > 0 && z == nil {
			return fmt.Errorf("kernels: restore: sequence %d, head %d of L·H has quantized pages, and the method does not quantize", seq.ID, i)
		}
		q := [2]int{h.End(kv.Keys), h.End(kv.Values)}
		if i == 0 {
			known.quantized = q
		}
		if q != known.quantized || h.First != min(q[0], q[1]) || len(h.Keys) > 1 || len(h.Values) > 1 {
			return fmt.Errorf("kernels: restore: sequence %d, head %d of L·H: %d keys and %d values are quantized, in %d and %d segments, and the plain one begins with %d: the kernels have all heads alike, and a segment for each part",
				seq.ID, i, q[0], q[1], len(h.Keys), len(h.Values), h.First)
		}
		for part, list := range [][]kv.Segment{h.Keys, h.Values} {
			for _, g := range list {
				if g.Format != z.formats[part] || g.Index != nil || g.First != 0 {
					return fmt.Errorf("kernels: restore: sequence %d, head %d of L·H has a segment of format %+v", seq.ID, i, g.Format)
				}
			}
		}
	}
	return nil
}

// writeLists writes the lists of a sequence, and −1 past the end of each.
func (e *Engine) writeLists(seq *kv.Sequence) error {
	s, z := e.state, e.state.quantizing
	lists := slices.Repeat([]int32{-1}, 2*len(seq.Heads)*z.pages)
	for i := range seq.Heads {
		for part, list := range [][]kv.Segment{seq.Heads[i].Keys, seq.Heads[i].Values} {
			for _, g := range list {
				copy(lists[(2*i+part)*z.pages:][:z.pages], g.Table)
			}
		}
	}
	s.deviceBlocks(lists)
	return s.dev.Write(s.listsOf(e.seqs[seq.ID].row), encode(lists))
}

// plainOf returns sequences without what is quantized of them.
func plainOf(seqs []*kv.Sequence) []*kv.Sequence {
	plain := make([]*kv.Sequence, len(seqs))
	for i, s := range seqs {
		p := *s
		p.Heads = slices.Clone(s.Heads)
		for j := range p.Heads {
			p.Heads[j].Keys, p.Heads[j].Values = nil, nil
		}
		plain[i] = &p
	}
	return plain
}

// eachPage calls f for each quantized page of sequences, as far as there is such a block, with the
// bytes of it that units are in.
func (e *Engine) eachPage(seqs []*kv.Sequence, f func(block, used int) error) error {
	for _, s := range seqs {
		for i := range s.Heads {
			for _, g := range slices.Concat(s.Heads[i].Keys, s.Heads[i].Values) {
				each, units := e.cfg.Capacity(g.Format)/g.Format.Unit(), g.Len/g.Format.Unit()
				for j, block := range g.Table {
					if block < 0 || int(block) >= e.cfg.Blocks {
						continue
					}
					if err := f(int(block), min(each, units-j*each)*e.cfg.UnitBytes(g.Format)); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// readPages reads the quantized pages of a snapshot's sequences, as far as units are in them.
func (e *Engine) readPages(snap *kv.Snapshot) error {
	half := e.cfg.PageBytes() / 2
	return e.eachPage(snap.Sequences, func(block, used int) error {
		at := device.Ptr((e.state.first + block) * half)
		if err := e.state.dev.Read(snap.Keys[block*half:][:min(used, half)], e.state.keys+at); err != nil || used <= half {
			return err
		}
		return e.state.dev.Read(snap.Values[block*half:][:used-half], e.state.values+at)
	})
}

// poisonPages overwrites the bytes of quantized pages that no unit is in.
func (e *Engine) poisonPages(seqs []*kv.Sequence) error {
	half := e.cfg.PageBytes() / 2
	fill := func(of device.Ptr, block, used int) error {
		if used >= half {
			return nil
		}
		return e.state.dev.Fill(of+device.Ptr((e.state.first+block)*half+used), 0xff, int64(half-used))
	}
	return e.eachPage(seqs, func(block, used int) error {
		if err := fill(e.state.keys, block, used); err != nil {
			return err
		}
		return fill(e.state.values, block, max(0, used-half))
	})
}
