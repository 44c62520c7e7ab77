package kernels

import (
	"kvcompress/kv"
)

// Blocks returns N, the number of physical blocks.
func (e *Engine) Blocks() int { return e.cfg.Blocks }

// Free returns the number of free blocks.
func (e *Engine) Free() int { return e.cfg.Blocks - e.held }

// PrefillNeed returns how many blocks a prefill of n tokens takes.
func (e *Engine) PrefillNeed(n int) int { return e.state.heads() * e.blocksOf(n) }

// DecodeNeed returns how many blocks the next token of a sequence takes.
func (e *Engine) DecodeNeed(id kv.SeqID) int {
	need := 0
	if s := e.seqs[id]; s != nil {
		for _, n := range s.lengths {
			if n%e.cfg.BlockSize == 0 {
				need++
			}
		}
	}
	return need
}

// Held returns how many blocks a sequence holds.
func (e *Engine) Held(id kv.SeqID) int {
	if s := e.seqs[id]; s != nil {
		return e.blocks(s)
	}
	return 0
}

// Count returns what compressing the sequence now would ask for, in the method's unit.
func (e *Engine) Count(id kv.SeqID) int {
	s := e.seqs[id]
	if s == nil {
		return 0
	}
	return e.rulesFor(id).method.Asks(s.counts())
}

// blocks returns how many blocks a sequence's context lengths take.
func (e *Engine) blocks(s *sequence) int {
	blocks := 0
	for _, n := range s.lengths {
		blocks += e.blocksOf(n)
	}
	return blocks + len(s.lengths)*e.more(s)
}

// more returns by how many blocks each head of a sequence has more than its KVs would take in plain
// pages; mostly it has fewer.
func (e *Engine) more(s *sequence) int {
	keys, values := e.pages(s.quantized)
	return keys + values - min(s.quantized[0], s.quantized[1])/e.cfg.BlockSize
}

// blocksOf returns ⌈n/B⌉.
func (e *Engine) blocksOf(n int) int { return ceilDiv(n, e.cfg.BlockSize) }

// Usage returns how the cache is filled.
func (e *Engine) Usage() kv.Usage {
	u, quantized := kv.Usage{Allocated: e.held, Free: e.Free()}, false
	for _, s := range e.seqs {
		for _, n := range s.lengths {
			u.KVs += n
			u.Wasted += (e.blocksOf(n)-min(s.quantized[0], s.quantized[1])/e.cfg.BlockSize)*e.cfg.BlockSize - n + min(s.quantized[0], s.quantized[1])
			u.Payload += int64(2*n-s.quantized[0]-s.quantized[1]) * int64(e.cfg.RowBytes())
		}
		for part, n := range s.quantized {
			if n > 0 {
				f := e.state.quantizing.formats[part]
				u.Payload += int64(len(s.lengths)) * int64(n/f.Unit()) * int64(e.cfg.UnitBytes(f))
				quantized = true
			}
		}
		u.DenseKVs += s.tokens * len(s.lengths)
		u.DenseBlocks += e.PrefillNeed(s.tokens)
	}
	if !quantized {
		u.Payload = 0
	}
	return u
}

// HeadUsage returns what each head holds.
func (e *Engine) HeadUsage() kv.HeadUsage {
	layers, heads := e.cfg.Shape.Layers, e.cfg.Shape.KVHeads
	u := kv.HeadUsage{KVs: make([][]int, layers), Blocks: make([][]int, layers)}
	for l := range layers {
		u.KVs[l], u.Blocks[l] = make([]int, heads), make([]int, heads)
		for _, s := range e.seqs {
			for h, n := range s.lengths[l*heads:][:heads] {
				u.KVs[l][h] += n
				u.Blocks[l][h] += e.blocksOf(n) + e.more(s)
			}
		}
	}
	return u
}
