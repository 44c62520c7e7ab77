package sim

import (
	"kvcompress/kv"
	"kvcompress/ref"
)

// quantizing is what a ledger knows of a method that quantizes.
type quantizing struct {
	method       ref.Quantizer
	keys, values kv.Format

	// Of all sequences and heads.
	kvs   int   // of which the key or the value is quantized
	bytes int64 // that a decode step reads of these
	gone  int   // of which both are: they have left the plain pages
	pages int   // quantized
	left  int   // plain blocks that were given back
	seqs  int   // sequences of which something is quantized
}

// quantized is what is quantized of each head of a sequence, which are all alike: the oldest
// keys and values.
type quantized struct{ keys, values int }

// quantizingOf returns what a ledger has to know of a method; nil if it does not quantize.
func quantizingOf(m ref.Method) *quantizing {
	q, ok := m.(ref.Quantizer)
	if !ok {
		return nil
	}
	keys, values := q.Formats()
	return &quantizing{method: q, keys: keys, values: values}
}

// pages returns the blocks of quantized pages of a head.
func (l *Ledger) pages(q quantized) int {
	if q == (quantized{}) {
		return 0
	}
	return l.cfg.Pages(l.quantizing.keys, q.keys) + l.cfg.Pages(l.quantizing.values, q.values)
}

// left returns the plain blocks that a head has given back because all KVs in them are quantized.
func (l *Ledger) left(q quantized) int { return min(q.keys, q.values) / l.cfg.BlockSize }

// more returns by how many blocks a sequence has more than its KVs would take in plain pages;
// mostly it has fewer.
func (l *Ledger) more(a *account) int {
	if l.quantizing == nil {
		return 0
	}
	return l.heads * (l.pages(a.quantized) - l.left(a.quantized))
}

// bytesRead returns the bytes that attention reads of the KVs of a head of which the key or
// the value is quantized.
func (l *Ledger) bytesRead(q quantized) int64 {
	z := l.quantizing
	packed := func(n int, f kv.Format) int64 { return int64(n/f.Unit()) * int64(l.cfg.UnitBytes(f)) }
	most := max(q.keys, q.values)
	return packed(q.keys, z.keys) + packed(q.values, z.values) + int64(2*most-q.keys-q.values)*int64(l.cfg.RowBytes())
}

// enterQuantized adds what is quantized of an account to the sums, or, with sign −1, takes it
// out again.
func (l *Ledger) enterQuantized(a *account, sign int) {
	z := l.quantizing
	if z == nil || a.quantized == (quantized{}) {
		return
	}
	z.kvs += sign * l.heads * max(a.quantized.keys, a.quantized.values)
	z.bytes += int64(sign*l.heads) * l.bytesRead(a.quantized)
	z.left += sign * l.heads * l.left(a.quantized)
	z.pages += sign * l.heads * l.pages(a.quantized)
	z.gone += sign * l.heads * min(a.quantized.keys, a.quantized.values)
	z.seqs += sign
}

// quantizes returns what is to be quantized of each head of a sequence, and what that asks for:
// what the method's Asks says, without a length for each head.
func (l *Ledger) quantizes(a *account) (now quantized, asked int) {
	keys, values := l.quantizing.method.Quantizes(a.tokens + l.steps)
	now = quantized{max(a.quantized.keys, keys), max(a.quantized.values, values)}
	return now, l.heads * (now.keys - a.quantized.keys + now.values - a.quantized.values)
}

// quantize is Compress by a method that quantizes.
func (l *Ledger) quantize(a *account) (ref.Compressed, error) {
	was := a.quantized
	now, asked := l.quantizes(a)
	if asked == 0 {
		return ref.Compressed{}, nil
	}
	done := ref.Compressed{Asked: asked, Quantized: asked}
	taken, freed := l.pages(now)-l.pages(was), l.left(now)-l.left(was) // of each head
	needs := taken + (l.heads-1)*max(0, taken-freed)
	if free := l.Free(); needs > free {
		return ref.Compressed{}, &kv.ErrNoBlocks{Need: needs, Free: free}
	}
	done.Taken, done.Freed = l.heads*taken, l.heads*freed
	l.enter(a, -1)
	a.quantized = now
	l.enter(a, 1)
	l.used += done.Taken - done.Freed
	return done, nil
}

// ReadQuantized returns the bytes that the attention of so many decode steps of all sequences
// reads of KVs of which the key or the value is quantized. ReadAll leaves these out.
func (l *Ledger) ReadQuantized(steps int) int64 {
	if l.quantizing == nil {
		return 0
	}
	return int64(steps) * l.quantizing.bytes
}

// ReadQuantizedOf is ReadQuantized of one step of a sequence.
func (l *Ledger) ReadQuantizedOf(id kv.SeqID) int64 {
	a := l.seqs[id]
	if l.quantizing == nil || a == nil || a.quantized == (quantized{}) {
		return 0
	}
	return int64(l.heads) * l.bytesRead(a.quantized)
}

// payload returns the bytes of K and V that are read, as [kv.Usage] has them.
func (l *Ledger) payload() int64 {
	z := l.quantizing
	if z == nil || z.seqs == 0 {
		return 0
	}
	return int64(l.kvs-z.kvs)*int64(2*l.cfg.RowBytes()) + z.bytes
}
