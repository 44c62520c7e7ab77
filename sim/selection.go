package sim

import (
	"fmt"

	"kvcompress/internal/ceil"
)

// Selection is decode attention that reads only some pages of each head, as Quest does. From a head with
// more than Tokens KVs a step reads Tokens of them, and for every page the bounds of its keys, which have
// as many bytes as one KV. It frees no memory.
type Selection struct {
	Tokens int // most KVs of a head that the queries of a step read
	Page   int // KVs of a page
}

// Select makes the ledger's decode steps read selected pages. It is an error for a ledger whose method
// evicts, and for one in use.
func (l *Ledger) Select(s Selection) error {
	switch {
	case s.Tokens < 1 || s.Page < 1:
		return fmt.Errorf("sim: selection: %d KVs in pages of %d: want at least 1 of each", s.Tokens, s.Page)
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
	kvs = sumUpTo(whole) - sumUpTo(first)
	kvs += (last-whole)*int64(s.Tokens) + sumCeil(last, int64(s.Page)) - sumCeil(whole, int64(s.Page))
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
