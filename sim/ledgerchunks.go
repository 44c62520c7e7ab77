package sim

import (
	"fmt"

	"kvcompress/kv"
)

// ChunkNeed returns how many blocks n tokens of a prompt take after those before them.
func (l *Ledger) ChunkNeed(before, n int) int {
	if before == 0 {
		return l.PrefillNeed(n)
	}
	return l.PrefillNeed(before+n) - l.PrefillNeed(before)
}

// Extend enters n more tokens of a sequence's prompt, the first of which opens it; it is
// in no decode step before Admit. Of the blocks that they fill, other sequences have
// shared, of each head, so that they are not taken anew. It returns *kv.ErrNoBlocks, with
// nothing changed, if the blocks are not there.
func (l *Ledger) Extend(id kv.SeqID, n, shared int) error {
	a := l.seqs.of(id)
	before := 0
	switch {
	case n < 1:
		return fmt.Errorf("sim: a chunk of %d tokens", n)
	case a != nil && !a.reserved:
		return fmt.Errorf("sim: the prompt of sequence %d is complete", id)
	case a != nil:
		before = a.tokens
	}
	need := l.ChunkNeed(before, n) - l.heads*shared
	if need > l.Free() {
		return &kv.ErrNoBlocks{Need: need, Free: l.Free()}
	}
	if a == nil {
		a = l.open()
		a.reserved, a.last, a.shared = true, nil, 0
		l.seqs.add(id, a)
		l.reserved++
	}
	a.tokens = before + n
	a.runs = l.growingRuns(a.runs[:0])
	l.used += need
	l.shared += l.heads * shared
	return nil
}

// ReleaseShared is Release of a sequence of which other sequences have kept blocks, of
// each head.
func (l *Ledger) ReleaseShared(id kv.SeqID, kept int) error {
	if err := l.Release(id); err != nil {
		return err
	}
	l.used += l.heads * kept
	l.shared -= l.heads * kept
	return nil
}

// Tokens returns how many tokens of a sequence have entered.
func (l *Ledger) Tokens(id kv.SeqID) int {
	switch a := l.seqs.of(id); {
	case a == nil:
		return 0
	case a.reserved:
		return a.tokens
	default:
		return a.tokens + l.steps
	}
}

// Read returns how many KVs, and how many blocks, the attention of a sequence's last
// decode step read.
func (l *Ledger) Read(id kv.SeqID) (kvs, blocks int64) {
	a := l.seqs.of(id)
	if a == nil {
		return 0, 0
	}
	if l.selection == nil {
		k, b := l.holds(a)
		return int64(k - a.packed.sum.kvs), int64(b - l.fixed)
	}
	for _, r := range a.heads() {
		k, b := l.selection.reads(l.length(a, r)-1, 1, l.cfg.BlockSize)
		kvs += int64(r.heads) * k
		blocks += int64(r.heads) * b
	}
	return kvs, blocks
}
