package kernels

import (
	"fmt"

	"kvcompress/kv"
	"kvcompress/ref"
)

// dropper returns the method as one that the kernels can run: one that does nothing but
// drop KVs, with at most one column, of a number for each KV or for each query head, and
// that watches attention, or has a score that the kernels compute, if anything. Of another
// the error is a *ref.UnsupportedError.
func dropper(method ref.Method, shape kv.Shape) (ref.Dropper, error) {
	refuse := func(format string, args ...any) error {
		return &ref.UnsupportedError{Err: fmt.Errorf("kernels: method %s "+format+": it runs on the reference engine", append([]any{method.Name()}, args...)...)}
	}
	d, ok := method.(ref.Dropper)
	if !ok {
		return nil, refuse("has no kernels, as it does more than drop KVs")
	}
	if _, hides := method.(ref.Masker); hides {
		return nil, refuse("hides KVs, which the kernels attend to")
	}
	if _, folds := method.(ref.Folder); folds {
		return nil, refuse("keeps KVs that stand for others, whose weights the kernels do not know")
	}
	if m, ok := method.(ref.Rerotator); ok && m.ByCachePosition() {
		return nil, refuse("reads keys at their positions in the cache, the kernels where they are")
	}
	columns := method.Columns()
	if len(columns) > 1 {
		return nil, refuse("keeps %d columns of each KV, the kernels have one", len(columns))
	}
	width := widthOf(columns)
	o := method.Observe()
	switch {
	case o == nil:
	case o.Scorer != nil && !scores(o.Scorer):
		return nil, refuse("has a score of its own, %T, which is no kernel", o.Scorer)
	case o.Column != 0 || width == 0:
		return nil, refuse("watches attention into column %d of %d", o.Column, len(columns))
	case o.Scorer != nil && width != 1:
		return nil, refuse("has a score for a column of %d numbers", width)
	case o.Group == ref.GroupEach && o.GroupFirst:
		return nil, refuse("reduces the group before pooling, to a number for each query head")
	case o.Group == ref.GroupEach && width != shape.Group:
		return nil, refuse("watches %d query heads into a column of %d numbers", shape.Group, width)
	case o.Group != ref.GroupEach && width != 1:
		return nil, refuse("watches attention of the group as a whole into a column of %d numbers", width)
	}
	return d, nil
}

// widthOf returns how many numbers a method keeps of each KV.
func widthOf(columns []kv.Column) int {
	width := 0
	for _, c := range columns {
		width += c.Width
	}
	return width
}

// initialOf returns what each of them is when a KV enters.
func initialOf(columns []kv.Column) float32 {
	for _, c := range columns {
		return c.Initial
	}
	return 0
}

// check returns an error if the kernels cannot decide by a ranking.
func (s *state) check(r *ref.Ranking) error {
	switch {
	case r.Unit < 1 || r.Unit&(r.Unit-1) != 0:
		return fmt.Errorf("kernels: decide: units of %d KVs: the kernels count in powers of two", r.Unit)
	case r.Share != nil && (r.Key != ref.ByScore || len(r.Share) != s.heads()):
		return fmt.Errorf("kernels: decide: %d shares of %d heads' scores, by key %d", len(r.Share), s.heads(), r.Key)
	case r.Key > ref.ByHash:
		return fmt.Errorf("kernels: decide: key %d is unknown", r.Key)
	case r.Key == ref.ByScore && (r.Column != 0 || max(1, r.Width) != s.width):
		return fmt.Errorf("kernels: decide: scores are %d numbers of column %d: there is column 0, of %d", max(1, r.Width), r.Column, s.width)
	}
	return nil
}
