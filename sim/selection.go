package sim

import (
	"fmt"

	"kvcompress/internal/ceil"
	"kvcompress/kv"
)

// Selection is attention that reads only some KVs of each head. From a head with more than Tokens KVs a decode
// step reads Tokens of them, and what they are chosen by. It frees no memory.
//
// With pages, as in Quest, that is the bounds of every page's keys, which have as many bytes as one KV, and
// prompts attend to all tokens. Without, an indexer has a key of its own for each KV, as in DeepSeek Sparse
// Attention: every step reads all of these keys ([IndexKeysRead]), and the queries of a prompt attend to
// Tokens tokens too.
type Selection struct {
	Tokens int // most KVs of a head that the queries of a step read
	Page   int // KVs of a page; 0: an indexer
}

// indexes reports whether an indexer chooses the KVs.
func (s *Selection) indexes() bool { return s != nil && s.Page == 0 }

// Select makes the ledger's decode steps read selected KVs. It is an error for a ledger whose method
// evicts, and for one in use.
func (l *Ledger) Select(s Selection) error {
	switch {
	case s.Tokens < 1 || s.Page < 0:
		return fmt.Errorf("sim: selection: %d KVs in pages of %d: want at least 1, and pages of at least 1 or none (0)", s.Tokens, s.Page)
	case l.cfg.Compresses():
		return fmt.Errorf("sim: selection: pages hold consecutive tokens, and method %s evicts", l.method.Name())
	case l.seqs.len() > 0:
		return fmt.Errorf("sim: selection: the ledger is in use")
	}
	l.selection = &s
	return nil
}

// reads returns what decode steps read from a head that holds n KVs before the first step and one more in
// each: the number of KVs, with the bounds of a page counted as one, and the number of blocks of b KVs
// that the KVs without bounds fill.
func (s *Selection) reads(n, steps, b int) (kvs, blocks int64) {
	first, last := int64(n), int64(n+steps)
	whole := min(last, max(first, int64(s.Tokens))) // length up to which a step reads all KVs
	kvs = sumUpTo(whole) - sumUpTo(first) + (last-whole)*int64(s.Tokens)
	if s.Page > 0 {
		kvs += sumCeil(last, int64(s.Page)) - sumCeil(whole, int64(s.Page))
	}
	blocks = sumCeil(whole, int64(b)) - sumCeil(first, int64(b))
	return kvs, blocks + (last-whole)*int64(ceil.Div(s.Tokens, b))
}

// sumUpTo returns 1 + 2 + … + n.
func sumUpTo(n int64) int64 { return n * (n + 1) / 2 }

// sumCeil returns ⌈1/p⌉ + ⌈2/p⌉ + … + ⌈n/p⌉.
func sumCeil(n, p int64) int64 {
	q, r := n/p, n%p
	return p*sumUpTo(q) + r*(q+1)
}

// selectAll is ReadAll with a selection.
func (l *Ledger) selectAll(steps int) (kvs, blocks int64) {
	for a := range l.seqs.all() {
		if a.reserved {
			continue
		}
		for _, r := range a.heads() {
			k, b := l.selection.reads(l.length(a, r), steps, l.cfg.BlockSize)
			kvs += int64(r.heads) * k
			blocks += int64(r.heads) * b
		}
	}
	return kvs, blocks
}

// ReadIndex returns the keys of an indexer that the next decode steps of all sequences read, including that of
// the token of each step itself.
func (l *Ledger) ReadIndex(steps int) int64 {
	if !l.selection.indexes() {
		return 0
	}
	keys, _ := readSteps(l.kvs, l.tables, l.growing, &l.phases, l.steps, steps, l.cfg.BlockSize)
	return keys
}

// ReadIndexOf returns the keys of an indexer that a sequence's last decode step read.
func (l *Ledger) ReadIndexOf(id kv.SeqID) int64 {
	a := l.seqs.of(id)
	if a == nil || !l.selection.indexes() {
		return 0
	}
	keys, _ := l.holds(a)
	return int64(keys)
}

// attendsTo returns the most tokens that the queries of a prompt attend to in layers that have a bound; 0 if
// there are none.
func (l *Ledger) attendsTo() int {
	if l.selection.indexes() {
		return l.selection.Tokens
	}
	return l.windows.size
}
