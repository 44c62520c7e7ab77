package ref

import (
	"fmt"

	"kvcompress/kv"
)

// packed returns what each edit of a plan puts into pages of another format; nil for an edit that puts nothing
// there. It changes nothing. A restored cache may hold any keys and values: if one cannot be quantized or merged,
// packed returns an error.
func (e *Engine) packed(s *kv.Sequence, m Method, p *Plan) ([]*kv.Packed, error) {
	var formats [3]kv.Format
	if q, ok := m.(Quantizer); ok {
		formats[kv.Keys], formats[kv.Values] = q.Formats()
	}
	merger, _ := m.(Merger)
	all := make([]*kv.Packed, len(p.Edits))
	for i := range p.Edits {
		edit := &p.Edits[i]
		var err error
		switch {
		case edit.Op == Quantize:
			all[i], err = e.cache.Quantized(s, edit.Head, edit.Part, formats[edit.Part], len(edit.KVs))
		case edit.Op == Merge && edit.Head < edit.With: // for both
			all[i], err = e.cache.Merged(s, edit.Head, edit.With, edit.Part, merger.Directions(), merger.Merging().Slerp, len(edit.KVs), edit.Limit)
		}
		if err != nil {
			return nil, fmt.Errorf("ref: compress: %w", err)
		}
	}
	return all, nil
}

// pack carries out the edits of a plan that move keys and values into pages of other formats. The blocks are
// known to be free; packed holds what each edit puts there. It returns how many blocks it takes.
func (e *Engine) pack(s *kv.Sequence, m Method, p *Plan, packed []*kv.Packed) (int, error) {
	total := 0
	if q, ok := m.(Quantizer); ok && p.Quantized() > 0 {
		taken, err := e.quantize(s, q, p, packed)
		if err != nil {
			return total, err
		}
		total += taken
	}
	if merger, ok := m.(Merger); ok && p.Merged() > 0 {
		taken, err := e.merge(s, merger, p, packed)
		if err != nil {
			return total, err
		}
		total += taken
	}
	return total, nil
}
