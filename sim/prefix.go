package sim

import (
	"fmt"
	"math"

	"kvcompress/kv"
)

// prefixes are the parts of prompts that a ledger keeps for other prompts that
// begin alike: vLLM's automatic prefix caching. A part is a fixed number of tokens,
// after certain others. It is used by sequences, or by none: then its blocks are as
// good as free, and are given up when they are needed, the longest unused first and
// of those the last of a prompt first.
type prefixes struct {
	tokens int // of a part
	blocks int // of a part, over all heads
	parts  map[partKey]*part
	spare  []*part
	unused part // a ring: next is the first to be given up
	idle   int  // parts in it
}

type partKey struct {
	before *part // nil at the beginning of a prompt
	hash   uint64
}

type part struct {
	key        partKey
	users      int
	ready      bool // it has been computed
	prev, next *part
}

// CachePrefixes turns on prefix caching: prompts share blocks by their prefix hashes, each of
// which stands for tokens tokens. It is an error with compression,
// which takes different KVs from each sequence, so that no two can share a block.
func (l *Ledger) CachePrefixes(tokens int) error {
	switch {
	case l.cfg.Compresses():
		return fmt.Errorf("sim: prefix caching and compression exclude each other: a compressed sequence keeps KVs of its own choice, in blocks that no other can share")
	case tokens < 1:
		return fmt.Errorf("sim: prefix caching needs to know how many tokens a prefix hash stands for: the trace does not say (prefix_block_tokens)")
	case tokens%l.cfg.BlockSize != 0:
		return fmt.Errorf("sim: prefix caching: a prefix hash stands for %d tokens, which are not whole blocks of %d", tokens, l.cfg.BlockSize)
	case l.windows.heads > 0 || l.fixed > 0:
		return fmt.Errorf("sim: prefix caching is not modelled where layers have windows or states, which are not there for a prefix of any length: without --enable-prefix-caching, prompts that begin alike are all computed, and times are those at most")
	case l.seqs.len() > 0:
		return fmt.Errorf("sim: prefix caching: the ledger is in use")
	}
	p := &prefixes{tokens: tokens, blocks: l.heads * (tokens / l.cfg.BlockSize), parts: map[partKey]*part{}}
	p.unused.prev, p.unused.next = &p.unused, &p.unused
	l.prefixes = p
	return nil
}

// ReserveNeed returns how many free blocks Reserve takes, and how many of the
// tokens are cached and need not be computed.
func (l *Ledger) ReserveNeed(n int, hashes []uint64) (need, cached int) {
	need = l.PrefillNeed(n)
	p := l.prefixes
	if p == nil {
		return need, 0
	}
	ready := true
	var before *part
	for _, hash := range hashes[:min(len(hashes), n/p.tokens)] {
		found := p.parts[partKey{before, hash}]
		if found == nil {
			break
		}
		if found.users > 0 {
			need -= p.blocks
		}
		if ready = ready && found.ready; ready {
			cached += p.tokens
		}
		before = found
	}
	return need, min(cached, (n-1)/l.cfg.BlockSize*l.cfg.BlockSize) // the last token is computed, for the next
}

// Reserve takes the blocks of a prompt of n tokens that is about to be computed; it
// is in no decode step before Admit. hashes are those of the whole parts of the
// prompt, and are kept until Release. It returns how many tokens are cached, and
// *kv.ErrNoBlocks, with nothing changed, if the blocks are not there.
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
			a.last = p.use(partKey{a.last, hash})
			a.shared += p.blocks
		}
		p.shrink((l.cfg.Blocks - l.used) / p.blocks)
	}
	return cached, nil
}

// Admit has a sequence whose prompt is computed take part in decode steps.
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
	for p := a.last; p != nil; p = p.key.before {
		p.ready = true
	}
	l.enter(a, 1)
	return nil
}

// leave gives up a sequence's use of its parts, and returns how many blocks of them
// nobody uses now.
func (p *prefixes) leave(a *account) (unused int) {
	for at := a.last; at != nil; at = at.key.before {
		if at.users--; at.users > 0 {
			continue
		}
		unused += p.blocks
		if !at.ready { // nor will it be
			p.forget(at)
			continue
		}
		// To the end; so the last part of a prompt comes before those before it.
		at.prev, at.next = p.unused.prev, &p.unused
		at.prev.next, at.next.prev = at, at
		p.idle++
	}
	return unused
}

// use returns a part, new or not, with one user more.
func (p *prefixes) use(key partKey) *part {
	at := p.parts[key]
	if at == nil {
		if n := len(p.spare); n > 0 {
			at, p.spare = p.spare[n-1], p.spare[:n-1]
		} else {
			at = &part{}
		}
		*at = part{key: key}
		p.parts[key] = at
	} else if at.users == 0 {
		p.unlink(at)
	}
	at.users++
	return at
}

// shrink gives up unused parts until there are no more than n.
func (p *prefixes) shrink(n int) {
	for p.idle > n {
		at := p.unused.next
		p.unlink(at)
		p.forget(at)
	}
}

func (p *prefixes) unlink(at *part) {
	at.prev.next, at.next.prev = at.next, at.prev
	at.prev, at.next = nil, nil
	p.idle--
}

func (p *prefixes) forget(at *part) {
	delete(p.parts, at.key)
	p.spare = append(p.spare, at)
}
