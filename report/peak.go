package report

import "kvcompress/ref"

// Peak watches a replay and remembers how many blocks each head held when the
// cache was fullest; the last time, if it was so several times. Its zero value is ready; its method Event is a
// [sim.Hooks].Event.
type Peak struct {
	Blocks [][]int // [L][H], over all sequences; nil before anything was allocated

	allocated int
}

// Event takes in the cache after a stage of the engine.
func (p *Peak) Event(_ ref.Event, c *ref.Cache) {
	allocated := c.Blocks() - c.Free()
	if allocated < max(p.allocated, 1) {
		return
	}
	p.allocated = allocated
	shape := c.Shape()
	p.Blocks = make([][]int, shape.Layers)
	for l := range p.Blocks {
		p.Blocks[l] = make([]int, shape.KVHeads)
	}
	for _, id := range c.Sequences() {
		heads := c.Sequence(id).Heads
		for i := range heads {
			p.Blocks[i/shape.KVHeads][i%shape.KVHeads] += len(heads[i].Table)
		}
	}
}
