package kernels

import (
	"kvcompress/kv"
	"kvcompress/ref"
)

// repack is Compress for a method that moves keys and values to quantized or merged pages. It quantizes first, and then
// merges layers that are not quantized.
func (e *Engine) repack(id kv.SeqID, s *sequence, m ref.Method) (ref.Compressed, error) {
	seq := &kv.Sequence{ID: id, Prompt: s.prompt, Len: s.tokens, Heads: e.heads(s)}
	var plan ref.Plan
	quantizer, quantizes := m.(ref.Quantizer)
	if quantizes {
		plan = ref.PlanQuantizer(&e.cfg.Config, seq, quantizer)
	}
	merger, merges := m.(ref.Merger)
	var r *retained
	if merges {
		var err error
		if r, err = e.retain(s, merger); err != nil {
			return ref.Compressed{}, e.fail(err)
		}
		then := e.planMerger(seq.Heads, merger, r)
		plan = plan.Then(&then)
	}
	if need, free := plan.Need(e.nextTokens()), e.Free(); need > free {
		return ref.Compressed{}, &kv.ErrNoBlocks{Need: need, Free: free}
	}
	done := ref.Compressed{Asked: plan.Asked, Freed: plan.Freed(seq.Heads, e.cfg.BlockSize), Quantized: plan.Quantized(), Merged: plan.Merged()}
	if e.observe != nil {
		if err := e.report(ref.Event{Stage: ref.StageDecide, Seqs: []kv.SeqID{id}, Plan: &plan, Parts: plan.Parts(len(seq.Heads))}); err != nil {
			return ref.Compressed{}, err
		}
	}
	if done.Quantized > 0 {
		taken, err := e.quantize(id, s, quantizer, &plan)
		if err != nil {
			return ref.Compressed{}, e.fail(err)
		}
		done.Taken += taken
	}
	if done.Merged > 0 {
		taken, err := e.merge(id, s, merger, &plan, r)
		if err != nil {
			return ref.Compressed{}, e.fail(err)
		}
		done.Taken += taken
	}
	if e.observe == nil {
		return done, nil
	}
	return done, e.report(ref.Event{Stage: ref.StageMove, Seqs: []kv.SeqID{id}, Parts: []ref.Part{ref.MovesPart(nil)}})
}

// rounds carries out a plan for heads, or pairs of heads, in rounds: see [ref.Rounds]. taken and freed are the numbers of
// blocks that each allocates and frees; round processes first to last−1. update then sets the sequence's counts. It
// returns the number of blocks allocated.
func (e *Engine) rounds(s *sequence, taken, freed []int, round func(first, last int) error, update func()) (int, error) {
	held := e.held - e.blocks(s)
	if _, err := ref.Rounds(taken, freed, e.Free(), round); err != nil {
		return 0, err
	}
	update()
	e.held = held + e.blocks(s)
	total := 0
	for _, n := range taken {
		total += n
	}
	return total, nil
}
