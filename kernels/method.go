package kernels

import (
	"errors"
	"fmt"

	"kvcompress/kv"
	"kvcompress/ref"
)

// supported returns a *ref.UnsupportedError if the kernels cannot run the method. They run a method that
// quantizes the same number of the oldest keys and values in every head; one that merges pairs of layers; one
// that quantizes some layers and merges others; and one that evicts, folds or hides KVs by a ranking, has at
// most one observed column with a number for each KV or for each query head, and uses no Scorer other than
// those with a kernel.
func supported(method ref.Method, shape kv.Shape) error {
	refuse := func(format string, args ...any) error {
		return &ref.UnsupportedError{Err: fmt.Errorf("kernels: method %s "+format+": it runs on the reference engine", append([]any{method.Name()}, args...)...)}
	}
	heads := shape.Heads() // that are not merged
	switch m := method.(type) {
	case ref.Dropper, ref.Folder, ref.Masker:
	case ref.Merger:
		if err := supportsMerger(m, shape); err != nil {
			return refuse("has no kernels, as it %w", err)
		}
		heads -= 2 * m.Merging().Pairs * shape.KVHeads
	case ref.Quantizer:
	default:
		return refuse("has no kernels, as it does more than drop KVs, fold, hide, quantize or merge them")
	}
	if q, ok := method.(ref.Quantizer); ok {
		if err := supportsQuantizer(q, heads); err != nil {
			return refuse("has no kernels, as it %w", err)
		}
	}
	columns, o := method.Columns(), method.Observe()
	if o == nil {
		return nil
	}
	width := 0
	if o.Column >= 0 && o.Column < len(columns) {
		width = columns[o.Column].Width
	}
	switch {
	case o.Chunk > 0:
		return refuse("pools a window's queries in chunks of %d", o.Chunk)
	case o.Scorer != nil && !scores(o.Scorer):
		return refuse("has a score of its own, %T, which is no kernel", o.Scorer)
	case width == 0:
		return refuse("watches attention into column %d of %d", o.Column, len(columns))
	case o.Scorer != nil && width != 1:
		return refuse("has a score for a column of %d numbers", width)
	case o.Group == ref.GroupEach && o.GroupFirst:
		return refuse("reduces the group before pooling, to a number for each query head")
	case o.Group == ref.GroupEach && width != shape.Group:
		return refuse("watches %d query heads into a column of %d numbers", shape.Group, width)
	case o.Group != ref.GroupEach && width != 1:
		return refuse("watches attention of the group as a whole into a column of %d numbers", width)
	}
	return nil
}

// change is what a compression does with the KVs of a ranking: evict, fold or hide them.
type change struct {
	ref.Ranking
	folding *ref.Folding // nil if none are folded
	hiding  *ref.Hiding  // nil if none are hidden
	asked   int          // KVs to hide, if any are hidden
}

// changeOf returns what a compression does to a sequence with these lengths, under a supported method.
func changeOf(method ref.Method, counts ref.Counts) change {
	switch m := method.(type) {
	case ref.Folder:
		f := m.Folding(counts)
		return change{Ranking: f.Ranking, folding: &f}
	case ref.Masker:
		h := m.Hiding(counts)
		return change{Ranking: h.Ranking, hiding: &h, asked: m.Asks(counts)}
	case ref.Dropper:
		return change{Ranking: m.Rank(counts)}
	}
	return change{}
}

// hides reports whether KVs are hidden, so that nothing is freed.
func (c *change) hides() bool { return c.hiding != nil && c.asked > 0 }

// edit returns the edit of a head that holds held KVs, given the KVs that the ranking has chosen.
func (c *change) edit(head, held int, kvs []int32) ref.Edit {
	switch {
	case c.folding != nil:
		return c.folding.Edit(head, kvs)
	case c.hiding != nil:
		return c.hiding.Edit(head, held, kvs)
	default:
		return ref.Edit{Op: ref.Drop, Head: head, KVs: kvs}
	}
}

// check returns an error if the kernels do not support a ranking.
func (s *state) check(c *change) error {
	r := &c.Ranking
	switch {
	case r.Unit < 1 || r.Unit&(r.Unit-1) != 0:
		return fmt.Errorf("kernels: decide: units of %d KVs: the kernels count in powers of two", r.Unit)
	case r.Share != nil && (r.Key != ref.ByScore || len(r.Share) != s.heads()):
		return fmt.Errorf("kernels: decide: %d shares for %d heads, with key %d", len(r.Share), s.heads(), r.Key)
	case r.Key > ref.ByHash:
		return fmt.Errorf("kernels: decide: key %d is unknown", r.Key)
	case r.Key != ref.ByScore:
	case r.Column < 0 || r.Column >= len(s.columns):
		return fmt.Errorf("kernels: decide: scores are in column %d of %d", r.Column, len(s.columns))
	case max(1, r.Width) != s.columns[r.Column].Width:
		return fmt.Errorf("kernels: decide: scores have %d numbers in column %d, which has %d", max(1, r.Width), r.Column, s.columns[r.Column].Width)
	case c.hiding != nil && (r.Share != nil || r.Average || r.Bias != nil || s.columns[r.Column].Width != 1):
		return errors.New("kernels: decide: a ranking that hides KVs has one number for each, and no shares, reduction or bias")
	case c.hides() && r.Asks() == 0:
		return errors.New("kernels: decide: a compression that hides only KVs of its window is not supported")
	}
	return nil
}
