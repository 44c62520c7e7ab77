package sim

import "slices"

// blockPool is the block pool of vLLM's V1 engine, with automatic prefix caching or without. A block of B tokens
// of a group of layers is used by sequences or is free. With prefix caching a full block is registered under the
// hash of its tokens and of all tokens before them, so that other sequences find it. Free blocks keep their
// content until they are taken; the block that has been free for the longest time is taken first.
//
// Blocks that only one sequence can ever find (those of its prompt after its prefix hashes, and of its
// output) are counted together if no group has a window. In the plain form each block is an object of its own.
type blockPool struct {
	blockSize
	tokens   int      // of a block, B
	prefix   int      // tokens of a prefix hash: a multiple of B, or a divisor of it
	groups   []*group // in V1's order
	full     []*group // groups without a window, which hold every token
	windowed []*group // groups with a window, all of the same size
	free     block    // sentinel of a ring of free blocks; free.next is taken first
	n        int      // number of free blocks
	spare    []*block // unused objects
}

// group is a group of layers. It has a separate block table for each sequence.
type group struct {
	window int               // tokens that a token's attention reads; 0: all
	found  map[uint64]*block // registered blocks by hash: of several, the first
	hits   []*block          // result of the latest find
}

// block is one block or, while free, several consecutive ones that only their owner can find.
type block struct {
	users      int
	group      *group
	hash       uint64
	registered bool
	first      bool      // it is the first registered under its hash, which others find
	same       *block    // the next one registered under the same hash
	after      *block    // a guess: the block that was last found after this one
	blocks     int       // number of blocks that it represents
	owner      *sequence // a waiting sequence that finds these blocks as its own; nil if there is none
	prev, next *block    // in the ring of free blocks
}

// blockTable has the block tables of a sequence in a blockPool.
type blockTable struct {
	sharable int         // number of its first blocks that can be found: these are objects
	held     []heldTable // by group
	chain    []uint64    // hashes of the sharable blocks, as far as they are known
	hashed   int         // number of its first blocks that prefix hashes identify
	hashes   []uint64    // the prefix hashes
	own      uint64      // identifies the blocks after them; if 0,
	content  Content     // this does
	saved    *block      // its blocks after the sharable ones that are free and full
}

// heldTable has the blocks of a sequence in one group.
type heldTable struct {
	first  int      // its first block that is not outside the window
	blocks []*block // the sharable blocks from first on
	full   int      // the first block that is not registered
}

// newBlockPool returns a pool for groups with these windows.
func newBlockPool(blocks, tokens, prefix int, windows []int) *blockPool {
	p := &blockPool{blockSize: blockSizeOf(tokens), tokens: tokens, prefix: prefix}
	for _, window := range windows {
		g := &group{window: window, found: map[uint64]*block{}}
		p.groups = append(p.groups, g)
		if window == 0 {
			p.full = append(p.full, g)
		} else {
			p.windowed = append(p.windowed, g)
		}
	}
	p.free.prev, p.free.next = &p.free, &p.free
	p.leave(blocks)
	return p
}

// reset makes the tables, which are empty, those of another sequence.
func (p *blockPool) reset(t *blockTable) {
	held := t.held
	if held == nil {
		held = make([]heldTable, len(p.groups))
	}
	*t = blockTable{held: held, chain: t.chain[:0]}
}

// first returns the first block that a group holds when a token after this many is computed.
func (p *blockPool) first(g *group, computed int) int {
	if g.window == 0 {
		return 0
	}
	return max(0, computed-g.window+1) >> p.shift
}

// find returns the number of the sequence's first blocks that are cached, at most most, and how many of the
// blocks that it would hold of them are free. hold may follow if nothing has changed.
func (p *blockPool) find(q *sequence, most int) (cached, free int) {
	t := &q.table
	reach := min(most, t.sharable)
	p.hashTo(q, reach)
	cached = p.findFirst(t.chain[:reach])
	cached = p.findLast(t.chain[:cached])
	for _, g := range p.full {
		g.hits = g.hits[:cached]
	}
	for _, g := range p.groups {
		for _, b := range g.hits {
			if b.users == 0 {
				free++
			}
		}
	}
	if cached == reach && t.saved != nil {
		n := min(most-cached, t.saved.blocks)
		cached, free = cached+n, free+n
	}
	return cached, free
}

// findFirst finds the first blocks in the groups that hold every token, and returns their number.
func (p *blockPool) findFirst(chain []uint64) int {
	for _, g := range p.full {
		g.hits = g.hits[:0]
		var before *block
		for _, hash := range chain {
			if before = g.lookup(before, hash); before == nil {
				break
			}
			g.hits = append(g.hits, before)
		}
		chain = chain[:len(g.hits)]
	}
	return len(chain)
}

// findLast finds the largest number of blocks of which the groups with windows have the last ones, as far as
// a window reaches back from the next token.
func (p *blockPool) findLast(chain []uint64) int {
	if len(p.windowed) == 0 {
		return len(chain)
	}
	window := p.windowed[0].window
	for _, g := range p.windowed {
		g.hits = g.hits[:0]
	}
	reach := max(1, p.blocksOf(window-1))
	for end := len(chain); end > 0; {
		first := max(0, end-reach)
		if !p.windowsHave(chain[first]) { // then no end after first is possible
			end = first
			continue
		}
		at := end
		for at > first && p.windowsHave(chain[at-1]) {
			at--
		}
		if at > first {
			end = at - 1
			continue
		}
		for _, g := range p.windowed {
			for _, hash := range chain[p.first(g, end*p.tokens):end] {
				g.hits = append(g.hits, g.found[hash])
			}
		}
		return end
	}
	return 0
}

// windowsHave reports whether every group with a window has a block.
func (p *blockPool) windowsHave(hash uint64) bool {
	for _, g := range p.windowed {
		if g.found[hash] == nil {
			return false
		}
	}
	return true
}

// lookup returns the block with a hash, nil if there is none. It first tries the block that was last found after
// the same block.
func (g *group) lookup(before *block, hash uint64) *block {
	if before == nil {
		return g.found[hash]
	}
	if b := before.after; b == nil || !b.first || b.hash != hash || b.group != g {
		before.after = g.found[hash]
	}
	return before.after
}

// hold makes a sequence use its first n blocks, which find has just returned.
func (p *blockPool) hold(q *sequence, n int) {
	t := &q.table
	for i, g := range p.groups {
		h := &t.held[i]
		h.first = p.first(g, n*p.tokens)
		h.full = h.first + len(g.hits)
		for _, b := range g.hits {
			if b.users == 0 {
				p.unlink(b)
			}
			b.users++
			h.blocks = append(h.blocks, b)
		}
	}
	if own := n - t.sharable; own > 0 {
		t.saved.blocks -= own
		p.n -= own
	}
	p.disown(q)
}

// need returns the number of blocks that sequences take to have to instead of from tokens.
func (p *blockPool) need(from, to int) int {
	return len(p.groups) * (p.blocksOf(to) - p.blocksOf(from))
}

// grow takes free blocks for a sequence that has from blocks, until it has n.
func (p *blockPool) grow(q *sequence, from, n int) {
	t := &q.table
	for i, g := range p.groups {
		h, at := &t.held[i], from
		for ; at < min(n, t.sharable); at++ {
			p.take(1)
			b := p.new()
			b.users, b.group = 1, g
			h.blocks = append(h.blocks, b)
		}
		p.take(max(0, n-at))
	}
}

// register registers the first n blocks of a sequence, which are full, so that others find them.
func (p *blockPool) register(q *sequence, n int) {
	t := &q.table
	for i, g := range p.groups {
		h := &t.held[i]
		n := min(n, h.first+len(h.blocks))
		if h.full >= n {
			continue
		}
		p.hashTo(q, n)
		for ; h.full < n; h.full++ {
			b := h.blocks[h.full-h.first]
			b.registered, b.hash = true, t.chain[h.full]
			at := g.found[b.hash]
			if at == nil {
				g.found[b.hash], b.first = b, true
				continue
			}
			for at.same != nil {
				at = at.same
			}
			at.same = b
		}
	}
}

// slide frees the blocks of a sequence that are outside the windows when a token after the computed ones is
// computed: in each group the last first, as V1 does.
func (p *blockPool) slide(q *sequence, computed int) {
	for i, g := range p.groups {
		h := &q.table.held[i]
		n := p.first(g, computed) - h.first
		if n <= 0 {
			continue
		}
		sharable := min(n, len(h.blocks))
		p.leave(n - sharable)
		p.drop(h.blocks[:sharable])
		h.blocks = slices.Delete(h.blocks, 0, sharable)
		h.first += n
		h.full = max(h.full, h.first)
	}
}

// decode takes the block for a sequence's next token after the computed ones.
func (p *blockPool) decode(q *sequence, computed int) {
	p.slide(q, computed)
	if computed%p.tokens == 0 {
		p.grow(q, computed/p.tokens, computed/p.tokens+1)
	}
	if (computed+1)%p.tokens == 0 {
		p.register(q, (computed+1)/p.tokens)
	}
}

// release frees those of the first n blocks of a sequence that no other uses: group by group, the last first. If
// back is set, the sequence will come back and can find its first full blocks again.
func (p *blockPool) release(q *sequence, n, full int, back bool) {
	t := &q.table
	for i := range p.groups {
		h := &t.held[i]
		own, saved := n-h.first-len(h.blocks), 0
		if back {
			saved = min(max(0, full-t.sharable), own)
		}
		p.leave(own - saved)
		if saved > 0 {
			b := p.new()
			b.blocks, b.owner = saved, q
			t.saved = b
			p.link(b)
		}
		p.drop(h.blocks)
		*h = heldTable{blocks: h.blocks[:0]}
	}
}

// drop removes a user of each of these blocks, the last first. Those without another are free.
func (p *blockPool) drop(blocks []*block) {
	for _, b := range slices.Backward(blocks) {
		if b.users--; b.users > 0 {
			continue
		}
		if !b.registered {
			p.spare = append(p.spare, b)
			p.leave(1)
			continue
		}
		p.link(b)
	}
}

// disown makes the saved blocks of a sequence ordinary free blocks.
func (p *blockPool) disown(q *sequence) {
	b := q.table.saved
	if b == nil {
		return
	}
	q.table.saved, b.owner = nil, nil
	if b.blocks == 0 {
		p.unlink(b)
		p.spare = append(p.spare, b)
	}
}

// take takes n free blocks, of which there must be enough. Their content is lost.
func (p *blockPool) take(n int) {
	p.n -= n
	for n > 0 {
		b := p.free.next
		if b.blocks > n {
			b.blocks -= n
			return
		}
		n -= b.blocks
		p.n += b.blocks // unlink subtracts them again
		p.unlink(b)
		if b.registered {
			p.forget(b)
		}
		if b.owner != nil {
			b.owner.table.saved = nil
		}
		p.spare = append(p.spare, b)
	}
}

// forget unregisters a block.
func (p *blockPool) forget(b *block) {
	found := b.group.found
	first := found[b.hash]
	b.first = false
	switch {
	case first != b:
		for first.same != b {
			first = first.same
		}
		first.same = b.same
	case b.same != nil:
		found[b.hash], b.same.first = b.same, true
	default:
		delete(found, b.hash)
	}
}

// leave adds n free blocks without content.
func (p *blockPool) leave(n int) {
	if n == 0 {
		return
	}
	if last := p.free.prev; last != &p.free && last.owner == nil && !last.registered {
		last.blocks += n
		p.n += n
		return
	}
	b := p.new()
	b.blocks = n
	p.link(b)
}

// new returns an unused block object.
func (p *blockPool) new() *block {
	if n := len(p.spare); n > 0 {
		b := p.spare[n-1]
		p.spare = p.spare[:n-1]
		*b = block{blocks: 1}
		return b
	}
	return &block{blocks: 1}
}

// link appends a block to the free ones.
func (p *blockPool) link(b *block) {
	b.prev, b.next = p.free.prev, &p.free
	b.prev.next, b.next.prev = b, b
	p.n += b.blocks
}

func (p *blockPool) unlink(b *block) {
	b.prev.next, b.next.prev = b.next, b.prev
	b.prev, b.next = nil, nil
	p.n -= b.blocks
}

// hashTo computes the hashes of the first n blocks of a sequence, as far as they are not known.
func (p *blockPool) hashTo(q *sequence, n int) {
	t := &q.table
	for i := len(t.chain); i < n; i++ {
		before := uint64(0)
		if i > 0 {
			before = t.chain[i-1]
		}
		if i >= t.hashed {
			h := mix(before, t.own+uint64(i))
			if t.own == 0 {
				h = t.content.block(before, i*p.tokens, p.tokens)
			}
			t.chain = append(t.chain, h)
			continue
		}
		at := i * p.tokens
		h := mix(before, uint64(at%p.prefix))
		for _, prefix := range t.hashes[at/p.prefix : (at+p.tokens-1)/p.prefix+1] {
			h = mix(h, prefix)
		}
		t.chain = append(t.chain, h)
	}
}
