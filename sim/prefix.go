package sim

import (
	"fmt"
	"math"

	"kvcompress/kv"
)

// prefixes are vLLM's automatic prefix caching: the beginnings of prompts that a ledger
// keeps for later prompts with the same beginning. They are kept as prefix blocks.
// A prefix block that no sequence uses counts as free; it is evicted when its blocks are
// needed, least recently used first, and of one prompt the last first.
type prefixes struct {
	tokens int // in a prefix block
	blocks int // of the cache that a prefix block takes, over all heads
	cached map[prefixKey]*prefixBlock
	spare  []*prefixBlock
	unused prefixBlock // the head of a ring; its next is the first to be evicted
	idle   int         // prefix blocks in the ring
}

// A prefixKey identifies a prefix block by its tokens (their hash) and by the prefix
// block before it.
type prefixKey struct {
	parent *prefixBlock // nil at the beginning of a prompt
	hash   uint64
}

type prefixBlock struct {
	key        prefixKey
	users      int  // sequences
	computed   bool // by a finished prefill
	prev, next *prefixBlock
}

// CachePrefixes turns on prefix caching: prompts with the same prefix hashes share blocks.
// Each hash covers the given number of tokens. CachePrefixes fails if the configuration
// compresses: compression leaves each sequence its own KVs, so no two can share a block.
func (l *Ledger) CachePrefixes(tokens int) error {
	switch {
	case l.cfg.Compresses():
		return fmt.Errorf("sim: prefix caching and compression exclude each other: the blocks of a compressed sequence have other KVs than those of a sequence with the same prefix")
	case tokens < 1:
		return fmt.Errorf("sim: prefix caching needs the number of tokens of a prefix hash, which the trace lacks (prefix_block_tokens)")
	case tokens%l.cfg.BlockSize != 0:
		return fmt.Errorf("sim: prefix caching: a prefix hash covers %d tokens: want a multiple of the block size, %d", tokens, l.cfg.BlockSize)
	case l.windows.heads > 0 || l.fixed > 0:
		return fmt.Errorf("sim: prefix caching is not modelled for layers with windows or states, which hold only the end of a prefix: leave --enable-prefix-caching out; all prompts are then computed whole, and times are upper bounds")
	case l.seqs.len() > 0:
		return fmt.Errorf("sim: prefix caching cannot be turned on while the ledger has sequences")
	}
	p := &prefixes{tokens: tokens, blocks: l.heads * (tokens / l.cfg.BlockSize), cached: map[prefixKey]*prefixBlock{}}
	p.unused.prev, p.unused.next = &p.unused, &p.unused
	l.prefixes = p
	return nil
}

// ReserveNeed returns how many free blocks Reserve takes for a prompt of n tokens, and how
// many of these tokens are cached and need not be computed.
func (l *Ledger) ReserveNeed(n int, hashes []uint64) (need, cached int) {
	need = l.PrefillNeed(n)
	p := l.prefixes
	if p == nil {
		return need, 0
	}
	computed := true
	var parent *prefixBlock
	for _, hash := range hashes[:min(len(hashes), n/p.tokens)] {
		b := p.cached[prefixKey{parent, hash}]
		if b == nil {
			break
		}
		if b.users > 0 {
			need -= p.blocks
		}
		if computed = computed && b.computed; computed {
			cached += p.tokens
		}
		parent = b
	}
	// The last token is always computed: the next token is sampled from its output.
	return need, min(cached, (n-1)/l.cfg.BlockSize*l.cfg.BlockSize)
}

// Reserve takes the blocks of a prompt of n tokens before its prefill; the sequence takes
// part in no decode step until Admit. hashes are the prompt's prefix hashes, one for each
// full prefix block. Reserve returns how many tokens are cached. If there are too few free
// blocks it changes nothing and returns *kv.ErrNoBlocks.
func (l *Ledger) Reserve(id kv.SeqID, n int, hashes []uint64) (cached int, err error) {
	if l.seqs.of(id) != nil {
		return 0, fmt.Errorf("sim: sequence %d is already in the ledger", id)
	}
	if n < 1 {
		return 0, fmt.Errorf("sim: a prompt of %d tokens", n)
	}
	need, cached := l.ReserveNeed(n, hashes)
	if need > l.Free() {
		return 0, &kv.ErrNoBlocks{Need: need, Free: l.Free()}
	}
	a := l.open()
	a.reserved, a.last, a.shared = true, nil, 0
	a.tokens = n
	a.runs = l.growingRuns(a.runs[:0])
	l.seqs.add(id, a)
	l.reserved++
	l.used += need
	if p := l.prefixes; p != nil {
		for _, hash := range hashes[:min(len(hashes), n/p.tokens)] {
			a.last = p.use(prefixKey{a.last, hash})
			a.shared += p.blocks
		}
		p.shrink((l.cfg.Blocks - l.used) / p.blocks)
	}
	return cached, nil
}

// Admit makes a reserved sequence, whose prefill is done, take part in decode steps.
func (l *Ledger) Admit(id kv.SeqID) error {
	a := l.seqs.of(id)
	if a == nil || !a.reserved {
		return fmt.Errorf("sim: admit: sequence %d is not reserved", id)
	}
	a.reserved = false
	l.reserved--
	a.prompt, a.asksAt, a.undoneAt = a.tokens, 0, never
	l.undone = math.MinInt
	a.tokens -= l.steps
	for b := a.last; b != nil; b = b.key.parent {
		b.computed = true
	}
	l.enter(a, 1)
	return nil
}

// leave ends a sequence's use of its prefix blocks. It returns how many blocks of the
// cache no sequence uses any longer.
func (p *prefixes) leave(a *account) (unused int) {
	for b := a.last; b != nil; b = b.key.parent {
		if b.users--; b.users > 0 {
			continue
		}
		unused += p.blocks
		if !b.computed { // its only user was released before the end of its prefill
			p.forget(b)
			continue
		}
		// To the end of the ring. The loop starts with the last prefix block of the prompt,
		// so that one is evicted before its parents.
		b.prev, b.next = p.unused.prev, &p.unused
		b.prev.next, b.next.prev = b, b
		p.idle++
	}
	return unused
}

// use returns the prefix block with the key, with one user more. It makes the block if it
// is not cached.
func (p *prefixes) use(key prefixKey) *prefixBlock {
	b := p.cached[key]
	if b == nil {
		if n := len(p.spare); n > 0 {
			b, p.spare = p.spare[n-1], p.spare[:n-1]
		} else {
			b = &prefixBlock{}
		}
		*b = prefixBlock{key: key}
		p.cached[key] = b
	} else if b.users == 0 {
		p.unlink(b)
	}
	b.users++
	return b
}

// shrink evicts unused prefix blocks until at most n are left.
func (p *prefixes) shrink(n int) {
	for p.idle > n {
		b := p.unused.next
		p.unlink(b)
		p.forget(b)
	}
}

func (p *prefixes) unlink(b *prefixBlock) {
	b.prev.next, b.next.prev = b.next, b.prev
	b.prev, b.next = nil, nil
	p.idle--
}

func (p *prefixes) forget(b *prefixBlock) {
	delete(p.cached, b.key)
	p.spare = append(p.spare, b)
}
