package ref

import (
	"fmt"

	"kvcompress/kv"
	"kvcompress/ref/merge"
)

// Merging says which layers are merged, and how: layers First + 2i and First + 2i + 1, for 0 ≤ i < Pairs.
type Merging struct {
	First, Pairs int
	Slerp        merge.Slerp
}

// RetainedFormat returns the page format of retained keys and values.
func RetainedFormat() kv.Format { return kv.Format{Kind: kv.Exact} }

// pairs returns the heads of every pair as indices into L·H, the shallower layer's first. A layer has heads
// heads.
func (m Merging) pairs(heads int) [][2]int {
	var all [][2]int
	for i := range m.Pairs {
		for h := range heads {
			shallow := (m.First+2*i)*heads + h
			all = append(all, [2]int{shallow, shallow + heads})
		}
	}
	return all
}

// Merges reports whether a layer is merged with another, and whether it is the deeper of the two.
func (m Merging) Merges(layer int) (merged, deep bool) {
	i := layer - m.First
	return i >= 0 && i < 2*m.Pairs, i%2 == 1
}

// checkMerger returns an error if the configuration's cache cannot hold the method's pages; the error says
// what would work.
func checkMerger(cfg *kv.Config, m Merger) error {
	for _, x := range []struct {
		of     string
		format kv.Format
	}{{"merged", m.Directions()}, {"retained", RetainedFormat()}} {
		if err := cfg.Check(x.format); err != nil {
			return fmt.Errorf("%s: %w", x.of, err)
		}
	}
	return m.Merging().Slerp.Check()
}

// MergerBlocks returns the blocks that each pair of heads takes in a Merger's plan, and those that it then
// frees, in the order of the pairs.
func MergerBlocks(cfg *kv.Config, heads []kv.Head, m Merger, p *Plan) (taken, freed []int) {
	more := p.packed(len(heads))
	if more == nil {
		return nil, nil
	}
	retained := make([][3]int, len(heads))
	for i := range p.Edits {
		e := &p.Edits[i]
		retained[e.Head][e.Part] += len(e.Retained)
	}
	for _, pair := range m.Merging().pairs(cfg.Shape.KVHeads) {
		takes, leave := 0, 0
		for _, part := range []kv.Part{kv.Keys, kv.Values} {
			from := heads[pair[0]].End(part)
			takes += cfg.Pages(m.Directions(), from+more[pair[0]][part]) - cfg.Pages(m.Directions(), from)
			for _, head := range pair {
				held := 0
				if list := heads[head].List(part); len(list) > 1 {
					held = list[1].Len
				}
				takes += cfg.Pages(RetainedFormat(), held+retained[head][part]) - cfg.Pages(RetainedFormat(), held)
			}
		}
		for _, head := range pair {
			leave += leaves(&heads[head], more[head], cfg.BlockSize)
		}
		taken, freed = append(taken, takes), append(freed, leave)
	}
	return taken, freed
}

// merge carries out the Merge edits of a plan, pair by pair. The blocks are known to be free; packed holds what
// each edit puts into pages. It returns how many blocks it takes.
func (e *Engine) merge(s *kv.Sequence, m Merger, p *Plan, packed []*kv.Packed) (int, error) {
	edits := make([][]int, len(s.Heads)) // of each head
	for i := range p.Edits {
		edits[p.Edits[i].Head] = append(edits[p.Edits[i].Head], i)
	}
	pairs, total := m.Merging().pairs(e.cfg.Shape.KVHeads), 0
	taken, freed := MergerBlocks(&e.cfg.Config, s.Heads, m, p)
	fits, err := Rounds(taken, freed, e.cache.Free(), func(first, last int) error {
		for i := first; i < last; i++ {
			for _, head := range pairs[i] {
				for _, k := range edits[head] { // all are Merge
					if err := e.mergeOne(s, &p.Edits[k], packed[k]); err != nil {
						return fmt.Errorf("ref: compress: %w", err)
					}
				}
			}
			total += taken[i]
		}
		for i := first; i < last; i++ {
			for _, head := range pairs[i] {
				e.cache.TrimPlain(&s.Heads[head])
			}
		}
		return nil
	})
	if err == nil && !fits {
		err = fmt.Errorf("ref: compress: %d blocks are free, and a plan that needs %d takes more", e.cache.Free(), p.Needs)
	}
	return total, err
}

// mergeOne carries out the edit of one head. The edit of the shallower layer merges both layers; each layer's
// edit retains its own tokens.
func (e *Engine) mergeOne(s *kv.Sequence, edit *Edit, packed *kv.Packed) error {
	if packed != nil {
		if err := e.cache.Put(s, packed); err != nil {
			return err
		}
	}
	if len(edit.Retained) == 0 {
		return nil
	}
	return e.cache.Retain(s, edit.Head, edit.Part, edit.Retained)
}
