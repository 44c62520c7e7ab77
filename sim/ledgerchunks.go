package sim

import (
	"fmt"

	"kvcompress/kv"
)

// ChunkNeed returns the number of blocks that n tokens of a prompt take after the before tokens before
// them.
func (l *Ledger) ChunkNeed(before, n int) int {
	if before == 0 {
		return l.PrefillNeed(n)
	}
	return l.PrefillNeed(before+n) - l.PrefillNeed(before)
}

// Extend adds a chunk of n tokens of a prompt; the first chunk adds the sequence. The sequence takes part
// in decode steps only after Admit. If there are not enough blocks Extend returns a *kv.ErrNoBlocks and
// changes nothing. A pool has taken the chunk's blocks before.
func (l *Ledger) Extend(id kv.SeqID, n int) error {
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
	need := l.ChunkNeed(before, n)
	if l.pool == nil && need > l.Free() {
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
	l.use(need)
	return nil
}

// Tokens returns the number of tokens of a sequence, evicted ones included.
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

// Read returns the numbers of KVs and blocks that the attention of a sequence's last decode step read.
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
