package sim

// blockPool is the block pool of vLLM's V1 engine with automatic prefix caching. A block of B tokens of
// all heads is used by sequences or is free. A full block is registered under the hash of its tokens and
// of all tokens before them, so that other sequences find it. Free blocks keep their content until they
// are taken; the block that has been free for the longest time is taken first.
//
// Blocks that only one sequence can ever find (those of its prompt after its prefix hashes, and of its
// output) are counted together. In the plain form each block is an object of its own.
type blockPool struct {
	tokens int // of a block, B
	prefix int // tokens of a prefix hash: a multiple of B, or a divisor of it
	found  map[uint64]*block
	free   block    // sentinel of a ring of free blocks; free.next is taken first
	n      int      // number of free blocks
	hits   []*block // result of the latest find
	spare  []*block // unused objects
}

// block is one block or, while free, several consecutive ones that only their owner can find.
type block struct {
	users      int
	hash       uint64
	registered bool
	first      bool      // it is the first registered under its hash, which others find
	same       *block    // the next one registered under the same hash
	after      *block    // a guess: the block that was last found after this one
	blocks     int       // number of blocks that it stands for
	owner      *sequence // a waiting sequence that finds these blocks as its own; nil if there is none
	prev, next *block    // in the ring of free blocks
}

// blockTable is the block table of a sequence in a blockPool.
type blockTable struct {
	sharable int      // number of its first blocks that others may find
	blocks   []*block // those of the sharable blocks that it uses
	full     int      // number of these that are registered
	chain    []uint64 // their hashes, as far as they are known
	hashes   []uint64 // prefix hashes, which identify the content of the sharable blocks; if nil,
	content  Content  // this does
	saved    *block   // its other blocks that are free and full
}

func newBlockPool(blocks, tokens, prefix int) *blockPool {
	p := &blockPool{tokens: tokens, prefix: prefix, found: map[uint64]*block{}}
	p.free.prev, p.free.next = &p.free, &p.free
	p.leave(blocks)
	return p
}

// reset empties the table for another sequence.
func (t *blockTable) reset() {
	*t = blockTable{blocks: t.blocks[:0], chain: t.chain[:0]}
}

// find returns the number of the sequence's first blocks that are cached, at most most, and how many of
// them are free. hold may follow if nothing has changed.
func (p *blockPool) find(q *sequence, most int) (cached, free int) {
	t := &q.table
	p.hashTo(q, min(most, t.sharable))
	p.hits = p.hits[:0]
	var before *block
	for _, hash := range t.chain[:min(most, t.sharable)] {
		b := p.lookup(before, hash)
		if b == nil {
			return cached, free
		}
		if b.users == 0 {
			free++
		}
		cached++
		p.hits = append(p.hits, b)
		before = b
	}
	if t.saved != nil {
		n := min(most-cached, t.saved.blocks)
		cached, free = cached+n, free+n
	}
	return cached, free
}

// lookup returns the block with a hash, nil if there is none. It first tries the block that was last
// found after the same block.
func (p *blockPool) lookup(before *block, hash uint64) *block {
	if before == nil {
		return p.found[hash]
	}
	if b := before.after; b == nil || !b.first || b.hash != hash {
		before.after = p.found[hash]
	}
	return before.after
}

// hold makes a sequence use its first n blocks, which find has just returned.
func (p *blockPool) hold(q *sequence, n int) {
	t := &q.table
	for _, b := range p.hits[:min(n, t.sharable)] {
		if b.users == 0 {
			p.unlink(b)
		}
		b.users++
		t.blocks = append(t.blocks, b)
	}
	t.full = len(t.blocks)
	if own := n - len(t.blocks); own > 0 {
		t.saved.blocks -= own
		p.n -= own
	}
	p.disown(q)
}

// grow takes free blocks for a sequence that uses from blocks, until it uses n.
func (p *blockPool) grow(q *sequence, from, n int) {
	t := &q.table
	for ; from < min(n, t.sharable); from++ {
		p.take(1)
		b := p.new()
		b.users = 1
		t.blocks = append(t.blocks, b)
	}
	p.take(max(0, n-from))
}

// register registers the first n blocks of a sequence, which are full, so that others find them.
func (p *blockPool) register(q *sequence, n int) {
	t := &q.table
	n = min(n, len(t.blocks))
	p.hashTo(q, n)
	for ; t.full < n; t.full++ {
		b := t.blocks[t.full]
		b.registered, b.hash = true, t.chain[t.full]
		at := p.found[b.hash]
		if at == nil {
			p.found[b.hash], b.first = b, true
			continue
		}
		for at.same != nil {
			at = at.same
		}
		at.same = b
	}
}

// release frees those of the n blocks of a sequence that no other uses, the last first. If back is set, the
// sequence will come back and can find its first full blocks again.
func (p *blockPool) release(q *sequence, n, full int, back bool) {
	t := &q.table
	own, saved := n-len(t.blocks), 0
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
	for i := len(t.blocks) - 1; i >= 0; i-- {
		b := t.blocks[i]
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
	t.blocks, t.full = t.blocks[:0], 0
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
	first := p.found[b.hash]
	b.first = false
	switch {
	case first != b:
		for first.same != b {
			first = first.same
		}
		first.same = b.same
	case b.same != nil:
		p.found[b.hash], b.same.first = b.same, true
	default:
		delete(p.found, b.hash)
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
		if t.hashes == nil {
			t.chain = append(t.chain, t.content.block(before, i*p.tokens, p.tokens))
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
