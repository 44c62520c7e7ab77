package report

import (
	"math"

	"kvcompress/internal/ceil"
	"kvcompress/kv"
	"kvcompress/sim"
)

// sample returns a report of two requests and one refusal, such as a replay on a small cache
// could give, with consistent sums. Each head keeps a different fraction of its KVs.
func sample(layers, heads, steps int) *sim.Report {
	r := &sim.Report{
		Trace:   "sample",
		Shape:   kv.Shape{Layers: layers, KVHeads: heads, Group: 2, HeadSize: 8},
		Options: sim.DefaultOptions(),
	}
	o := &r.Options
	o.Shape = r.Shape
	o.BlockSize = 4
	o.Compression.MaxCacheTokens = 16
	o.Compression.ProtectedWindow = 4
	o.Compression.Sinks = 1
	const prompt, watermark = 30, 2
	n := layers * heads
	o.Blocks = n*14 + watermark
	for l := range layers {
		r.Heads.Entered = append(r.Heads.Entered, make([]int64, heads))
		r.Heads.Evicted = append(r.Heads.Evicted, make([]int64, heads))
		for h := range heads {
			r.Heads.Entered[l][h] = int64(2*prompt + steps)
			part := 0.5 + 0.45*math.Sin(float64(l)/3+float64(h))
			r.Heads.Evicted[l][h] = int64(part * float64(2*prompt+steps))
		}
	}
	r.Requests = []sim.Result{
		{ID: "first", Arrival: 0, Admitted: 0, FirstToken: 10e6, Finished: int64(steps-1) * 10e6, PromptTokens: prompt, OutputTokens: steps - 1},
		{ID: "second", Arrival: 5e6, Admitted: 10e6, FirstToken: 20e6, Finished: int64(steps) * 10e6, PromptTokens: prompt, OutputTokens: steps - 3, Preemptions: 1, Recomputed: prompt + 2},
		{ID: "third", Arrival: 6e6, Admitted: -1, FirstToken: -1, Finished: -1, PromptTokens: 900, Error: "a prompt of 900 tokens needs 4,500 blocks"},
	}
	lengths := [2]int{}
	held := [2]int{} // KVs of a head, on average
	for i := range steps {
		s := sim.Step{Index: i, Start: int64(i) * 10e6, End: int64(i+1) * 10e6, Kind: sim.Decode}
		for id := range lengths {
			if held[id] > 16 && i > 0 {
				c := sim.Compression{Seq: kv.SeqID(id), Asked: n * ((held[id] + 3 - 16) / 4), Evicted: n * (held[id] - 16), Moved: n}
				c.Freed = c.Asked - i%2
				c.Short = c.Asked - c.Freed
				s.Compression = append(s.Compression, c)
				held[id] = 16
			}
		}
		admit := func(id, tokens int) {
			s.Kind, s.Batch, s.Tokens = sim.Prefill, []kv.SeqID{kv.SeqID(id)}, tokens
			lengths[id], held[id] = tokens, tokens
		}
		switch {
		case i == 0:
			admit(0, prompt)
		case i == 1:
			admit(1, prompt)
		case i == 6:
			admit(1, prompt+4)
		default:
			s.Batch = []kv.SeqID{0, 1}
			if i == 5 {
				s.Preempted = []kv.SeqID{1}
				lengths[1], held[1] = 0, 0
				s.Batch = s.Batch[:1]
			}
			if i == steps-1 {
				s.Batch = s.Batch[1:]
			}
			for _, id := range s.Batch {
				lengths[id]++
				held[id]++
				s.Tokens++
			}
		}
		for id := range lengths {
			s.Usage.KVs += n * held[id]
			s.Usage.DenseKVs += n * lengths[id]
			s.Usage.DenseBlocks += n * ceil.Div(lengths[id], o.BlockSize)
			s.Usage.Allocated += n * ceil.Div(held[id], o.BlockSize)
		}
		s.Usage.Free = o.Blocks - s.Usage.Allocated
		s.Usage.Wasted = s.Usage.Allocated*o.BlockSize - s.Usage.KVs
		switch i {
		case steps - 2:
			s.Finished = []kv.SeqID{0}
			lengths[0], held[0] = 0, 0
		case steps - 1:
			s.Finished = []kv.SeqID{1}
		}
		r.Steps = append(r.Steps, s)
		r.Totals.Add(&s, &o.Config)
	}
	r.Totals.Finished, r.Totals.Refused = 2, 1
	return r
}
