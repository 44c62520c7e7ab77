package kernels

import (
	"kvcompress/internal/ceil"
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

// nextTokens returns how many blocks the next token of every sequence takes.
func (e *Engine) nextTokens() int {
	need := 0
	for id := range e.seqs {
		need += e.DecodeNeed(id)
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

// Count returns what a compression of the sequence would ask for now, in the method's unit.
func (e *Engine) Count(id kv.SeqID) int {
	s := e.seqs[id]
	if s == nil {
		return 0
	}
	return e.rulesFor(id).method.Asks(e.counts(s))
}

// blocks returns how many blocks a sequence holds.
func (e *Engine) blocks(s *sequence) int {
	blocks := 0
	if e.state.packing == nil {
		for _, n := range s.lengths {
			blocks += e.blocksOf(n)
		}
		return blocks
	}
	heads := e.heads(s)
	for i := range heads {
		blocks += e.headBlocks(&heads[i])
	}
	return blocks
}

// blocksOf returns ⌈n/B⌉.
func (e *Engine) blocksOf(n int) int { return ceil.Div(n, e.cfg.BlockSize) }

// Usage returns how full the cache is.
func (e *Engine) Usage() kv.Usage {
	u, packed := kv.Usage{Allocated: e.held, Free: e.Free()}, false
	for _, s := range e.seqs {
		heads := e.heads(s)
		for i := range heads {
			h := &heads[i]
			u.KVs += h.KVs()
			u.Wasted += e.blocksOf(h.Offset+h.Len)*e.cfg.BlockSize - h.Len
			u.Payload += e.cfg.HeadPayload(h)
			packed = packed || len(h.Keys)+len(h.Values) > 0
		}
		u.DenseKVs += s.tokens * len(s.lengths)
		u.DenseBlocks += e.PrefillNeed(s.tokens)
	}
	if !packed {
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
			of := e.heads(s)[l*heads:][:heads]
			for h := range of {
				u.KVs[l][h] += of[h].KVs()
				u.Blocks[l][h] += e.headBlocks(&of[h])
			}
		}
	}
	return u
}
