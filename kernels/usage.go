package kernels

import "kvcompress/ref"

// Blocks returns N, the number of physical blocks.
func (e *Engine) Blocks() int { return e.cfg.Blocks }

// Free returns the number of free blocks.
func (e *Engine) Free() int { return e.cfg.Blocks - e.held }

// PrefillNeed returns how many blocks a prefill of n tokens takes.
func (e *Engine) PrefillNeed(n int) int { return e.state.heads() * e.blocksOf(n) }

// DecodeNeed returns how many blocks the next token of a sequence takes.
func (e *Engine) DecodeNeed(id ref.SeqID) int {
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
func (e *Engine) Held(id ref.SeqID) int {
	if s := e.seqs[id]; s != nil {
		return e.blocks(s)
	}
	return 0
}

// Count returns how many blocks compressing the sequence now would ask for.
func (e *Engine) Count(id ref.SeqID) int {
	asked := 0
	if s := e.seqs[id]; s != nil {
		for _, q := range e.quotas(s) {
			asked += q.Blocks
		}
	}
	return asked
}

// blocks returns how many blocks a sequence's context lengths take.
func (e *Engine) blocks(s *sequence) int {
	blocks := 0
	for _, n := range s.lengths {
		blocks += e.blocksOf(n)
	}
	return blocks
}

// blocksOf returns ⌈n/B⌉.
func (e *Engine) blocksOf(n int) int { return ceilDiv(n, e.cfg.BlockSize) }

// Usage returns how the cache is filled.
func (e *Engine) Usage() ref.Usage {
	u := ref.Usage{Allocated: e.held, Free: e.Free()}
	for _, s := range e.seqs {
		for _, n := range s.lengths {
			u.KVs += n
		}
		u.DenseKVs += s.tokens * len(s.lengths)
		u.DenseBlocks += e.PrefillNeed(s.tokens)
	}
	u.Wasted = u.Allocated*e.cfg.BlockSize - u.KVs
	return u
}

// HeadUsage returns what each head holds.
func (e *Engine) HeadUsage() ref.HeadUsage {
	layers, heads := e.cfg.Shape.Layers, e.cfg.Shape.KVHeads
	u := ref.HeadUsage{KVs: make([][]int, layers), Blocks: make([][]int, layers)}
	for l := range layers {
		u.KVs[l], u.Blocks[l] = make([]int, heads), make([]int, heads)
		for _, s := range e.seqs {
			for h, n := range s.lengths[l*heads:][:heads] {
				u.KVs[l][h] += n
				u.Blocks[l][h] += e.blocksOf(n)
			}
		}
	}
	return u
}
