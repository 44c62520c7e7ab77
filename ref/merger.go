package ref

import (
	"fmt"

	"kvcompress/kv"
	"kvcompress/ref/merge"
)

// Merging says which layers are merged, and how: layers First + 2i and First + 2i + 1, i below Pairs.
type Merging struct {
	First, Pairs int
	Slerp        merge.Slerp
}

// MergedFormat and RetainedFormat return how merged and retained keys, and values, lie in pages.
func MergedFormat() kv.Format   { return kv.Format{Kind: kv.Merged} }
func RetainedFormat() kv.Format { return kv.Format{Kind: kv.Exact} }

// pairs returns the heads of every pair, the shallower layer's first: numbers of L·H, where a layer has
// so many heads.
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

// checkMerger returns an error if a configuration's cache cannot hold what the method merges, with
// what would do.
func checkMerger(cfg *kv.Config, m Merger) error {
	for _, x := range []struct {
		of     string
		format kv.Format
	}{{"merged", MergedFormat()}, {"retained", RetainedFormat()}} {
		if err := cfg.Check(x.format); err != nil {
			return fmt.Errorf("%s: %w", x.of, err)
		}
	}
	return m.Merging().Slerp.Check()
}

// merge carries out the Merge edits of a plan, for which the pages are there.
func (e *Engine) merge(s *kv.Sequence, m Method, edits []Edit) error {
	merger, ok := m.(Merger)
	if !ok {
		return nil
	}
	by := merger.Merging().Slerp
	for i := range edits {
		edit := &edits[i]
		if edit.Op != Merge {
			continue
		}
		if edit.Head < edit.With {
			if err := e.cache.Merge(s, edit.Head, edit.With, edit.Part, MergedFormat(), by, len(edit.KVs), edit.Limit); err != nil {
				return fmt.Errorf("ref: compress: %w", err)
			}
		}
		if len(edit.Retained) > 0 {
			if err := e.cache.Retain(s, edit.Head, edit.Part, edit.Retained); err != nil {
				return fmt.Errorf("ref: compress: %w", err)
			}
		}
	}
	for i := range s.Heads {
		e.cache.Leave(&s.Heads[i])
	}
	return nil
}
