package ptx

import "slices"

// cut is an immutable set of accesses of one block: of each of its threads, those before a time.
type cut struct {
	below stamp              // includes what all threads of the block did before this
	rows  []*[warpSize]stamp // by warp: includes what each lane did before this; nil adds nothing
}

// has reports whether the set includes an access of its block.
func (c *cut) has(e stamp) bool {
	if e < c.below {
		return true
	}
	w := e.warp()
	return w < len(c.rows) && c.rows[w] != nil && e < c.rows[w][e.lane()]
}

// view is an immutable set of accesses: some of one block, which are stored separately since most operations
// change only them, and some of other blocks.
type view struct {
	block  uint64 // its linear index in the grid
	cut           // of that block
	others *cuts  // of other blocks, and perhaps more of that one
	whole  *cuts  // union of others and cut; made on first use
}

// has reports whether the set includes an access of a block.
func (v *view) has(e stamp, block uint64) bool {
	if v.block == block && v.cut.has(e) {
		return true
	}
	c := v.others.of(block)
	return c != nil && c.has(e)
}

// all returns the whole set.
func (v *view) all() *cuts {
	if v.whole == nil {
		v.whole = v.others
		if v.below > 0 || v.rows != nil {
			c := v.cut
			v.whole = union(v.others, only(v.block, &c))
		}
	}
	return v.whole
}

// known returns the accesses of the block that are ordered before what a thread does now.
func (r *races) known(warp, lane int) *view {
	w := &r.warps[warp]
	v := &view{block: r.number, cut: cut{r.barrier, make([]*[warpSize]stamp, len(r.warps))}}
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
	var own, foreign []*view
	for _, v := range views {
		switch {
		case v == nil:
		case v.block != r.number:
			foreign = another(foreign, v)
		case !slices.Contains(own, v):
			own = append(own, v)
		}
	}
	if len(own) > 0 {
		return merge(own, foreign)
	}
	if len(foreign) < 2 {
		return append(foreign, nil)[0]
	}
	v := &view{block: r.number}
	for _, u := range foreign {
		v.others = union(v.others, u.all())
	}
	for _, u := range foreign {
		if u.all() == v.others {
			return u
		}
	}
	return v
}

// merge returns the union of views of one block and views of other blocks; it returns one of them if that
// includes all others.
func merge(own, foreign []*view) *view {
	v := &view{block: own[0].block, cut: own[0].cut, others: own[0].others}
	for _, u := range own[1:] {
		v.cut = joined(v.cut, u.cut)
		v.others = union(v.others, u.others)
	}
	for _, u := range foreign {
		v.others = union(v.others, u.all())
	}
	for _, u := range own {
		if u.others == v.others && u.cut.equal(v.cut) {
			return u
		}
	}
	return v
}

func (c *cut) equal(d cut) bool { return c.below == d.below && slices.Equal(c.rows, d.rows) }

// joined returns the union of two sets of accesses of one block. Its rows are those of one of them if
// possible.
func joined(a, b cut) cut {
	c := cut{max(a.below, b.below), a.rows}
	if len(a.rows) == 0 {
		c.rows = b.rows
		return c
	}
	same := true // rows is still that of a
	for w, row := range b.rows {
		if j := higher(a.rows[w], row); j != a.rows[w] {
			if same {
				c.rows, same = slices.Clone(a.rows), false
			}
			c.rows[w] = j
		}
	}
	if slices.Equal(c.rows, b.rows) {
		c.rows = b.rows
	}
	return c
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
	if v == nil || v.block != r.number {
		return v
	}
	least := lastEpoch
	for t := range r.threads {
		if len(v.rows) == 0 || v.rows[t/warpSize] == nil {
			return v
		}
		row := v.rows[t/warpSize]
		least = min(least, row[t%warpSize])
	}
	c := view{block: v.block, cut: cut{max(v.below, least), slices.Clone(v.rows)}, others: v.others}
	for w, row := range c.rows {
		if row != nil && slices.Max(row[:]) <= c.below {
			c.rows[w] = nil
		}
	}
	return &c
}
