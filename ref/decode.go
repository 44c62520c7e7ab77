package ref

import "kvcompress/ref/vec"

// attention is the working memory of one head's paged attention.
type attention struct {
	tile    []float32 // [Partition, D] keys or values of a partition, as float32
	weights []float32 // [G, context length] e_i
	partial []float32 // [partitions, G, D] o_p
	soft    []softmax // [G]
}

// attend computes paged decode attention of one KV head for its G queries: q
// and out are [G, D]. It leaves in a the e_i and the factors, from which
// record takes the attention weights.
//
//	s_i = (q·k_i)·(1/√D)    out = Σ_p (Σ_{i in p} e_i·v_i) · f_p
//
// The KVs are taken in logical order, gathered block by block.
func (a *attention) attend(c *Cache, h *Head, q, out []float32, group int) {
	d := c.shape.HeadSize
	a.tile = grow(a.tile, Partition*d)
	a.weights = grow(a.weights, group*h.Len)
	a.partial = grow(a.partial, group*d*((h.Len+Partition-1)/Partition))
	if len(a.soft) != group {
		a.soft = make([]softmax, group)
	}
	for g := range a.soft {
		a.soft[g].reset()
	}

	scale := attentionScale(d)
	n := h.Len
	for first := 0; first < n; first += Partition {
		rows := min(Partition, n-first)
		weights := a.weights[first:]
		a.gather(c, h, c.keys, first, rows)
		vec.DotsGroup(weights, n, q, a.tile[:rows*d], group, d)
		for g := range group {
			scores := weights[g*n:][:rows]
			for i := range scores {
				scores[i] = float32(scores[i] * scale)
			}
			a.soft[g].add(scores)
		}

		partial := a.partial[first/Partition*group*d:][:group*d]
		clear(partial)
		a.gather(c, h, c.values, first, rows)
		vec.Accumulate(partial, weights, n, a.tile[:rows*d], group, d)
	}

	clear(out)
	for g := range group {
		for p, f := range a.soft[g].factors() {
			partial := a.partial[(p*group+g)*d:][:d]
			for i, o := range partial {
				out[g*d+i] += float32(o * f)
			}
		}
	}
}

// gather decodes rows KVs of a head into the tile, from logical index first on.
func (a *attention) gather(c *Cache, h *Head, from []byte, first, rows int) {
	d := c.shape.HeadSize
	for done := 0; done < rows; {
		logical := first + done
		n := min(c.blockSize-logical%c.blockSize, rows-done)
		c.dtype.Decode(a.tile[done*d:][:n*d], c.row(from, c.slot(h, logical), n))
		done += n
	}
}

// record adds to the metric of every KV what the G queries at position t gave
// it: Σ_g P² (or P), for the KVs at least buffer positions back.
func (a *attention) record(c *Cache, h *Head, m *Metric, t, group int) {
	for i := range h.Len {
		slot := c.slot(h, i)
		if int(c.Positions[slot]) > t-m.Buffer {
			continue
		}
		var gained float32
		for g := range group {
			gained += m.gain(float32(a.weights[g*h.Len+i] * a.soft[g].factor[i/Partition]))
		}
		c.Metrics[slot] += gained
	}
}

// grow returns a slice of n elements, reusing s where it is large enough.
func grow(s []float32, n int) []float32 {
	if cap(s) < n {
		return make([]float32, n, n+n/2)
	}
	return s[:n]
}
