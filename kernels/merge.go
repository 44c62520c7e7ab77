package kernels

import (
	"fmt"
	"slices"

	"kvcompress/kernels/device"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/ref/merge"
)

// heldOf and limitsOf return where a row's numbers of retained KVs, and its limits, begin.
func (s *state) heldOf(row int) device.Ptr { return s.packing.held + device.Ptr(8*row*s.heads()) }
func (s *state) limitsOf(row int) device.Ptr {
	return s.packing.limits + device.Ptr(8*row*s.heads())
}

// writeHeld writes how many KVs of each head of a sequence are retained.
func (e *Engine) writeHeld(s *sequence) error {
	z, of := e.state.packing, e.cfg.Shape.KVHeads
	if z == nil || z.merger == nil {
		return nil
	}
	held := make([]int32, 2*len(s.lengths))
	for i := range s.lengths {
		if merged, _ := z.merges(i / of); merged {
			for part := range 2 {
				held[2*i+part] = int32(s.retained[2*z.pairOf(i, of)+part])
			}
		}
	}
	return e.state.dev.Write(e.state.heldOf(s.row), encode(held))
}

// retained says which of the tokens being merged are retained, for each pair of heads, and for K and V
// separately.
type retained struct {
	from, n int        // the tokens: logical index of the first, and their number
	list    device.Ptr // [pairs, 2, n] logical indices, ascending; counts has their numbers
	counts  device.Ptr // [pairs, 2]
	kept    [][]int32  // [pairs·2] list on the host
	limits  []float32  // [L·H·2] set only if there is an observer
}

// merge is Compress for a method that merges.
func (e *Engine) merge(id kv.SeqID, s *sequence, m ref.Merger) (ref.Compressed, error) {
	r, err := e.retain(s, m)
	if err != nil {
		return ref.Compressed{}, e.fail(err)
	}
	heads := e.heads(s)
	plan := ref.PlanMerger(&e.cfg.Config, heads, m, func(pair int, part kv.Part, _, _ int) (kept []int32, limit float32) {
		i := part - kv.Keys
		if r.limits != nil {
			shallow := (m.Merging().First+pair/e.cfg.Shape.KVHeads*2)*e.cfg.Shape.KVHeads + pair%e.cfg.Shape.KVHeads
			limit = r.limits[2*shallow+int(i)]
		}
		return r.kept[2*pair+int(i)], limit
	})
	if need, free := plan.Need(e.nextTokens()), e.Free(); need > free {
		return ref.Compressed{}, &kv.ErrNoBlocks{Need: need, Free: free}
	}
	done := ref.Compressed{Asked: plan.Asked, Freed: plan.Freed(heads, e.cfg.BlockSize), Merged: plan.Merged()}
	if e.observe != nil {
		if err := e.report(ref.Event{Stage: ref.StageDecide, Seqs: []kv.SeqID{id}, Plan: &plan, Parts: plan.Parts(len(heads))}); err != nil {
			return ref.Compressed{}, err
		}
	}
	if plan.Asked > 0 {
		taken, freed := ref.MergerBlocks(&e.cfg.Config, heads, m, &plan)
		held := e.held - e.blocks(s)
		if _, err := ref.Rounds(taken, freed, e.Free(), func(first, last int) error {
			return e.state.mergePairs(s.row, id, m.Merging(), r, first, last, taken[first:last])
		}); err != nil {
			return ref.Compressed{}, e.fail(err)
		}
		for _, n := range taken {
			done.Taken += n
		}
		s.packed = [2]int{s.tokens, s.tokens}
		for i, kept := range r.kept {
			s.retained[i] += len(kept)
		}
		if err := e.writeHeld(s); err != nil {
			return ref.Compressed{}, e.fail(err)
		}
		e.held = held + e.blocks(s)
	}
	if e.observe == nil {
		return done, nil
	}
	return done, e.report(ref.Event{Stage: ref.StageMove, Seqs: []kv.SeqID{id}, Parts: []ref.Part{ref.MovesPart(nil)}})
}

// retain determines which of a sequence's tokens that are not merged yet are retained.
func (e *Engine) retain(seq *sequence, m ref.Merger) (*retained, error) {
	s, by, rule := e.state, m.Merging(), m.Retention()
	rows := 2 * by.Pairs * e.cfg.Shape.KVHeads
	r := &retained{from: seq.packed[0], n: seq.tokens - seq.packed[0], kept: make([][]int32, rows)}
	if rows == 0 || r.n == 0 {
		return r, nil
	}
	var err error
	if r.from > 0 && !rule.Later {
		r.counts, err = upload(s, "tokens retained", make([]int32, rows))
	} else {
		err = s.listRetained(seq.row, by, rule, r)
	}
	if err != nil || e.observe == nil {
		return r, err
	}
	r.limits, err = download[float32](s, s.limitsOf(seq.row), 2*s.heads())
	return r, err
}

// The rules of list_retained.
const (
	byRatio = iota
	byThreshold
	byLimit
)

// listRetained lists the tokens that a rule retains, on the device and on the host. It sets the sequence's
// limits for later tokens.
func (s *state) listRetained(row int, by ref.Merging, rule ref.Retention, r *retained) error {
	pairs := by.Pairs * s.cfg.Shape.KVHeads
	rows := 2 * pairs
	distances, err := s.buffer("distances", 4*rows*r.n)
	if err != nil {
		return err
	}
	if r.list, err = s.buffer("list of retained tokens", 4*rows*r.n); err != nil {
		return err
	}
	if r.counts, err = s.buffer("tokens retained", 4*rows); err != nil {
		return err
	}
	layers := []device.Arg{number(by.First), number(s.cfg.Shape.KVHeads), number(r.from), number(r.n)}
	block := threads(r.n*warpSize, 256)
	grid := blocks(r.n*warpSize, block)
	grid.Y, grid.Z = pairs, 2
	if err := s.launch("merged.ptx", s.typed("measure_pairs"), grid, block, 0, slices.Concat([]device.Arg{
		device.Pointer(s.keys), device.Pointer(s.values), device.Pointer(s.tablesOf(row)), device.Pointer(distances),
	}, layers, []device.Arg{number(s.cfg.Shape.HeadSize), s.shift(), number(s.maxBlocks)}, slerpArgs(by.Slerp))...); err != nil {
		return err
	}
	how, most := byRatio, merge.RatioCount(r.n, rule.Gamma)
	switch {
	case r.from > 0:
		how = byLimit
	case rule.Threshold:
		how = byThreshold
	}
	if err := s.launch("merged.ptx", "list_retained", device.Dim{X: pairs, Y: 2, Z: 1}, threads(r.n, 256), 0, slices.Concat([]device.Arg{
		device.Pointer(distances), device.Pointer(r.list), device.Pointer(r.counts), device.Pointer(s.limitsOf(row)),
	}, layers, []device.Arg{number(how), number(most), device.F32(float32(rule.Gamma))})...); err != nil {
		return err
	}
	counts, err := download[int32](s, r.counts, rows)
	if err != nil {
		return err
	}
	for i, n := range counts {
		if n < 0 || int(n) > r.n {
			return fmt.Errorf("kernels: compress: %d tokens, of which %d are retained", r.n, n)
		}
		if n == 0 {
			continue
		}
		if r.kept[i], err = download[int32](s, r.list+device.Ptr(4*i*r.n), int(n)); err != nil {
			return err
		}
	}
	return nil
}

// slerpArgs returns a Slerp as arguments of kernels.
func slerpArgs(by merge.Slerp) []device.Arg {
	return []device.Arg{
		device.F32(float32(by.T)), device.F32(float32(1 - by.T)),
		device.F32(float32(by.Eps)), device.F32(float32(-1 + by.Eps)), device.F32(float32(1 - by.Eps)),
	}
}

// mergePairs merges tokens of pairs of heads first to last−1 of a row, and frees the blocks whose KVs are
// then all merged. The blocks that the pairs take must be free.
func (s *state) mergePairs(row int, id kv.SeqID, by ref.Merging, r *retained, first, last int, taken []int) error {
	z, heads := s.packing, s.cfg.Shape.KVHeads
	merged, exact := z.formats[0][0], z.formats[0][1]
	offsets, total := make([]int32, len(taken)), 0
	for i, n := range taken {
		offsets[i] = int32(total)
		total += n
	}
	if total > 0 {
		on, err := upload(s, "offsets of pairs", offsets)
		if err != nil {
			return err
		}
		blocks, err := s.take(total)
		if err != nil {
			return err
		}
		have := s.cfg.Pages(merged, r.from)
		if err := s.launch("merged.ptx", "give_merged", device.Dim{X: last - first, Y: 1, Z: 1}, threads(slices.Max(taken), 256), 0,
			device.Pointer(blocks), device.Pointer(on), device.Pointer(s.listsOf(row)), device.Pointer(s.owners),
			device.Pointer(s.heldOf(row)), device.Pointer(r.counts), device.I32(int32(id)), number(first), number(by.First), number(heads),
			number(have), number(s.cfg.Pages(merged, r.from+r.n)-have), number(s.cfg.Capacity(exact)), number(z.pages)); err != nil {
			return err
		}
	}
	block := threads(r.n*warpSize, 256)
	grid := blocks(r.n*warpSize, block)
	grid.Y, grid.Z = last-first, 2
	if err := s.launch("merged.ptx", s.typed("merge_pairs"), grid, block, 0, append([]device.Arg{
		device.Pointer(s.keys), device.Pointer(s.values), device.Pointer(s.tablesOf(row)), device.Pointer(s.listsOf(row)),
		number(first), number(by.First), number(heads), number(r.from), number(r.n),
		number(s.cfg.Shape.HeadSize), s.shift(), number(s.maxBlocks), number(z.pages),
	}, slerpArgs(by.Slerp)...)...); err != nil {
		return err
	}
	most := 0
	for _, kept := range r.kept[2*first : 2*last] {
		most = max(most, len(kept))
	}
	if most > 0 {
		block := threads(most*warpSize, 256)
		grid := blocks(most*warpSize, block)
		grid.Y, grid.Z = last-first, 4
		if err := s.launch("merged.ptx", "retain_rows", grid, block, 0,
			device.Pointer(s.keys), device.Pointer(s.values), device.Pointer(s.tablesOf(row)), device.Pointer(s.listsOf(row)),
			device.Pointer(r.list), device.Pointer(r.counts), device.Pointer(s.heldOf(row)), number(first), number(by.First), number(heads),
			number(r.n), number(s.cfg.RowBytes()), s.shift(), number(s.maxBlocks), number(z.pages)); err != nil {
			return err
		}
	}
	from, to := r.from/s.cfg.BlockSize, (r.from+r.n)/s.cfg.BlockSize
	for first < last {
		n := min(last-first, heads-first%heads) // pairs of the same layers
		shallow := (by.First+first/heads*2)*heads + first%heads
		for _, head := range []int{shallow, shallow + heads} {
			if err := s.freeEntries(s.tablesOf(row), head, n, from, to, s.maxBlocks); err != nil {
				return err
			}
		}
		first += n
	}
	return nil
}

// mergedArgs returns the arguments that attend_partitions_merged takes in addition to those of
// attend_partitions.
func (s *state) mergedArgs(b batch, layer int, deep bool) []device.Arg {
	return []device.Arg{
		device.Pointer(b.packed), device.Pointer(s.layerLists(layer)),
		device.Pointer(s.packing.held + device.Ptr(8*layer*s.cfg.Shape.KVHeads)), number(s.packing.pages), flag(deep),
	}
}
