package ptx

// cuts is an immutable map from blocks to sets of accesses: a persistent tree with 16 children per node,
// indexed by the hexadecimal digits of the block's linear index, highest first. Maps derived from each other
// share most of their nodes, so their union visits only the nodes that differ.
type cuts struct {
	height uint       // height of the tree; its blocks are below 16^height
	kids   *[16]*cuts // nil at height 0
	cut    *cut       // at height 0
}

// only returns a map with the accesses of one block.
func only(block uint64, c *cut) *cuts {
	n := &cuts{cut: c}
	for ; block>>(4*n.height) != 0; n = n.above(block >> (4 * n.height) & 15) {
	}
	return n
}

// above returns a new parent of n, with n as its child at digit.
func (n *cuts) above(digit uint64) *cuts {
	up := &cuts{height: n.height + 1, kids: new([16]*cuts)}
	up.kids[digit] = n
	return up
}

// of returns the accesses of a block; nil if there are none.
func (n *cuts) of(block uint64) *cut {
	if n == nil || block>>(4*n.height) != 0 {
		return nil
	}
	for n.kids != nil {
		if n = n.kids[block>>(4*(n.height-1))&15]; n == nil {
			return nil
		}
	}
	return n.cut
}

// union returns the union of two maps. If one includes the other, that one is returned itself.
func union(a, b *cuts) *cuts {
	if a == nil || b == nil || a == b {
		if a == nil {
			return b
		}
		return a
	}
	for a.height < b.height {
		a = a.above(0)
	}
	for b.height < a.height {
		b = b.above(0)
	}
	if a.kids == nil {
		switch c := joined(*a.cut, *b.cut); {
		case a.cut.equal(c):
			return a
		case b.cut.equal(c):
			return b
		default:
			return &cuts{cut: &c}
		}
	}
	kids, isA, isB := [16]*cuts{}, true, true
	for i := range kids {
		kids[i] = union(a.kids[i], b.kids[i])
		isA = isA && kids[i] == a.kids[i]
		isB = isB && kids[i] == b.kids[i]
	}
	switch {
	case isA:
		return a
	case isB:
		return b
	}
	return &cuts{height: a.height, kids: &kids}
}
