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
	if !z.mergesAny() {
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

	// Set only if there is an observer.
	limits    []float32 // [L·H·2]
	distances []float32 // [pairs, 2, n]; nil if no distance decides what is retained
}

// planMerger returns the plan of a Merger for a sequence's heads. r has the tokens that the device chose to retain.
func (e *Engine) planMerger(heads []kv.Head, m ref.Merger, r *retained) ref.Plan {
	by, of := m.Merging(), e.cfg.Shape.KVHeads
	return ref.PlanMerger(&e.cfg.Config, heads, m, func(pair int, part kv.Part, _, n int) ref.Retained {
		i := int(part - kv.Keys)
		kept := ref.Retained{KVs: r.kept[2*pair+i]}
		if r.limits != nil {
			shallow := (by.First+pair/of*2)*of + pair%of
			kept.Limit = r.limits[2*shallow+i]
		}
		if r.distances != nil {
			kept.Distances = r.distances[(2*pair+i)*n:][:n]
		}
		return kept
	})
}

// merge carries out what a plan merges, and returns how many blocks it takes.
func (e *Engine) merge(id kv.SeqID, s *sequence, m ref.Merger, plan *ref.Plan, r *retained) (int, error) {
	taken, freed := ref.MergerBlocks(&e.cfg.Config, e.heads(s), m, plan)
	total, err := e.rounds(s, taken, freed, func(first, last int) error {
		return e.state.mergePairs(s.row, id, m.Merging(), r, first, last, taken[first:last])
	}, func() {
		s.merged = s.tokens
		for i, kept := range r.kept {
			s.retained[i] += len(kept)
		}
	})
	if err != nil {
		return 0, err
	}
	return total, e.writeHeld(s)
}

// retain determines which of a sequence's tokens that are not merged yet are retained.
func (e *Engine) retain(seq *sequence, m ref.Merger) (*retained, error) {
	s, by, rule := e.state, m.Merging(), m.Retention()
	rows := 2 * by.Pairs * e.cfg.Shape.KVHeads
	r := &retained{from: seq.merged, n: seq.tokens - seq.merged, kept: make([][]int32, rows)}
	if rows == 0 || r.n == 0 {
		return r, nil
	}
	var err error
	var distances device.Ptr
	if r.from > 0 && !rule.Later {
		r.counts, err = upload(s, "tokens retained", make([]int32, rows))
	} else {
		distances, err = s.listRetained(seq.row, by, rule, r)
	}
	if err != nil || e.observe == nil {
		return r, err
	}
	if distances != 0 {
		if r.distances, err = download[float32](s, distances, rows*r.n); err != nil {
			return r, err
		}
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
// limits for later tokens, and returns the tokens' distances, on the device.
func (s *state) listRetained(row int, by ref.Merging, rule ref.Retention, r *retained) (distances device.Ptr, err error) {
	pairs := by.Pairs * s.cfg.Shape.KVHeads
	rows := 2 * pairs
	if distances, err = s.buffer("distances", 4*rows*r.n); err != nil {
		return 0, err
	}
	if r.list, err = s.buffer("list of retained tokens", 4*rows*r.n); err != nil {
		return 0, err
	}
	if r.counts, err = s.buffer("tokens retained", 4*rows); err != nil {
		return 0, err
	}
	layers := []device.Arg{number(by.First), number(s.cfg.Shape.KVHeads), number(r.from), number(r.n)}
	block := threads(r.n*warpSize, 256)
	grid := blocks(r.n*warpSize, block)
	grid.Y, grid.Z = pairs, 2
	if err := s.launch("merged.ptx", s.typed("measure_pairs"), grid, block, 0, slices.Concat([]device.Arg{
		device.Pointer(s.keys), device.Pointer(s.values), device.Pointer(s.tablesOf(row)), device.Pointer(distances),
	}, layers, []device.Arg{number(s.cfg.Shape.HeadSize), s.shift(), number(s.maxBlocks)}, slerpArgs(by.Slerp))...); err != nil {
		return 0, err
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
		return 0, err
	}
	counts, err := download[int32](s, r.counts, rows)
	if err != nil {
		return 0, err
	}
	for i, n := range counts {
		if n < 0 || int(n) > r.n {
			return 0, fmt.Errorf("kernels: compress: %d tokens, of which %d are retained", r.n, n)
		}
		if n == 0 {
			continue
		}
		if r.kept[i], err = download[int32](s, r.list+device.Ptr(4*i*r.n), int(n)); err != nil {
			return 0, err
		}
	}
	return distances, nil
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
	merged, exact := z.merged[0][0], z.merged[0][1]
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
	file, kernel := "merged.ptx", "merge_pairs"
	args := slices.Concat([]device.Arg{
		device.Pointer(s.keys), device.Pointer(s.values), device.Pointer(s.tablesOf(row)), device.Pointer(s.listsOf(row)),
		number(first), number(by.First), number(heads), number(r.from), number(r.n),
		number(s.cfg.Shape.HeadSize), s.shift(), number(s.maxBlocks), number(z.pages),
	}, slerpArgs(by.Slerp))
	if merged.Bits > 0 {
		file, kernel = "merged_quantized.ptx", "merge_pairs_quantized"
		args = append(args, number(merged.Bits), number(merged.Group), number(piece(merged)))
	}
	if err := s.launch(file, s.typed(kernel), grid, block, 0, args...); err != nil {
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

// attendMerged returns the kernel that attends in a merged layer, its module, and the arguments that it takes in addition
// to those of attend_partitions.
func (s *state) attendMerged(b batch, layer int, deep bool) (file, kernel string, args []device.Arg) {
	args = []device.Arg{
		device.Pointer(b.merged), device.Pointer(s.layerLists(layer)),
		device.Pointer(s.packing.held + device.Ptr(8*layer*s.cfg.Shape.KVHeads)), number(s.packing.pages), flag(deep),
	}
	if f := s.packing.merged[0][0]; f.Bits > 0 {
		return "merged_quantized.ptx", "attend_partitions_merged_quantized", append(args, number(f.Bits), number(f.Group))
	}
	return "merged.ptx", "attend_partitions_merged", args
}

// supportsMerger returns an error if the kernels cannot merge as a method does.
func supportsMerger(m ref.Merger, shape kv.Shape) error {
	if pairs := m.Merging().Pairs * shape.KVHeads; pairs > maxGridY {
		return fmt.Errorf("merges %d pairs of heads, of which a grid has at most %d", pairs, maxGridY)
	}
	if f := m.Directions(); f.Bits > maxBits {
		return fmt.Errorf("has directions of %d bits, of at most %d", f.Bits, maxBits)
	}
	return nil
}
