package ptx

import "slices"

// view is an immutable set of accesses: some of one block, and those of its parents, which belong to other
// blocks.
type view struct {
	first   stamp              // start of the block; 0 if there are only parents
	below   stamp              // includes what all threads of the block did before this
	rows    []*[warpSize]stamp // by warp: includes what each lane did before this; nil adds nothing
	parents []*view
}

// has reports whether the view itself, without its parents, includes an access.
func (v *view) has(e stamp) bool {
	if e < v.first {
		return false
	}
	if e < v.below {
		return true
	}
	w := e.warp()
	return w < len(v.rows) && v.rows[w] != nil && e < v.rows[w][e.lane()]
}

// known returns the accesses of the block that are ordered before what a thread does now.
func (r *races) known(warp, lane int) *view {
	w := &r.warps[warp]
	v := &view{first: r.block, below: r.barrier, rows: make([]*[warpSize]stamp, len(r.warps))}
	for other, until := range w.others {
		if until > r.barrier {
			v.rows[other] = new([warpSize]stamp)
			for m := range v.rows[other] {
				v.rows[other][m] = until
			}
		}
	}
	row := new([warpSize]stamp)
	for m := range row {
		row[m] = w.sync
		if w.lanes != nil {
			row[m] = max(row[m], w.lanes[lane][m])
		}
	}
	row[lane] = r.now
	v.rows[warp] = row
	return v
}

// join returns the union of some views, any of which may be nil. Those of the running block are merged into
// one.
func (r *races) join(views ...*view) *view {
	var own, parents []*view
	for _, v := range views {
		switch {
		case v == nil:
		case v.first != r.block:
			parents = another(parents, v)
		case !slices.Contains(own, v):
			own = append(own, v)
		}
	}
	if len(own) > 0 {
		return merge(own, parents)
	}
	if len(parents) == 2 && parents[0].descendsFrom(parents[1]) {
		return parents[0]
	}
	if len(parents) == 2 && parents[1].descendsFrom(parents[0]) {
		return parents[1]
	}
	return family(parents)
}

// descendsFrom reports whether up is a parent of v.
func (v *view) descendsFrom(up *view) bool { return slices.Contains(v.parents, up) }

// family returns the union of some views of other blocks.
func family(parents []*view) *view {
	switch len(parents) {
	case 0:
		return nil
	case 1:
		return parents[0]
	}
	return &view{parents: parents}
}

// maxParents is the number of parents after which they are combined in one view.
const maxParents = 16

// merge returns the union of views of one block and views of other blocks; it returns one of them if that
// includes all others.
func merge(own, others []*view) *view {
	v := *own[0]
	shared := true // rows is still that of own[0]
	for _, u := range own[1:] {
		v.below = max(v.below, u.below)
		for w, row := range u.rows {
			if joined := higher(v.rows[w], row); joined != v.rows[w] {
				if shared {
					v.rows, shared = slices.Clone(v.rows), false
				}
				v.rows[w] = joined
			}
		}
	}
	v.parents = slices.Clip(v.parents)
	for _, u := range own[1:] {
		for _, up := range u.parents {
			if !v.descendsFrom(up) {
				v.parents = append(v.parents, up)
			}
		}
	}
	for _, up := range others {
		if !v.descendsFrom(up) {
			v.parents = append(v.parents, up)
		}
	}
	for _, u := range own {
		if u.below == v.below && len(u.parents) == len(v.parents) && slices.Equal(u.rows, v.rows) {
			return u // its parents are among those of v, which adds nothing
		}
	}
	if len(v.parents) > maxParents {
		v.parents = []*view{family(v.parents)}
	}
	return &v
}

// higher returns a row with the later of each lane's times; one of the two rows if possible.
func higher(a, b *[warpSize]stamp) *[warpSize]stamp {
	switch {
	case a == b || b == nil:
		return a
	case a == nil:
		return b
	}
	aHas, bHas := true, true
	for l := range a {
		aHas = aHas && a[l] >= b[l]
		bHas = bHas && b[l] >= a[l]
	}
	switch {
	case aHas:
		return a
	case bHas:
		return b
	}
	row := new([warpSize]stamp)
	for l := range row {
		row[l] = max(a[l], b[l])
	}
	return row
}

// compact moves into below what a view includes of all threads of the block.
func (r *races) compact(v *view) *view {
	if v == nil || v.first != r.block {
		return v
	}
	least := lastEpoch
	for t := range r.threads {
		row := v.rows[t/warpSize]
		if row == nil {
			return v
		}
		least = min(least, row[t%warpSize])
	}
	c := *v
	c.below = max(c.below, least)
	c.rows = slices.Clone(v.rows)
	for w, row := range c.rows {
		if slices.Max(row[:]) <= c.below {
			c.rows[w] = nil
		}
	}
	return &c
}
