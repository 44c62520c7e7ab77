package ref

import "kvcompress/ref/vec"

// tileRows is how many keys or values are decoded at a time: few enough that
// they stay in the nearest cache until they are used.
const tileRows = 16

// attention is the working memory of one head's paged attention.
type attention struct {
	tile    []float32 // [tileRows, D] keys or values as float32
	weights []float32 // [G, context length] e_i
	partial []float32 // [partitions, G, D] o_p
	soft    []softmax // [G]
	gained  []float32 // [context length] what a KV's metric gains
}

// attend computes paged decode attention of one KV head for its G queries: q
// and out are [G, D]. It leaves in a the e_i and the factors, from which
// record takes the attention weights.
//
//	s_i = (q·k_i)·(1/√D)    out = Σ_p (Σ_{i in p} e_i·v_i) · f_p
//
// The KVs are taken in logical order, gathered block by block.
//
// Tiles are announced one ahead, so that memory is read while the last is used.
func (a *attention) attend(c *Cache, h *Head, q, out []float32, group int) {
	d := c.shape.HeadSize
	a.tile = grow(a.tile, tileRows*d)
	a.weights = grow(a.weights, group*h.Len)
	a.partial = grow(a.partial, group*d*ceilDiv(h.Len, Partition))
	if len(a.soft) != group {
		a.soft = make([]softmax, group)
	}
	for g := range a.soft {
		a.soft[g].reset()
	}

	scale := attentionScale(d)
	n := h.Len
	for first := 0; first < n; first += Partition {
		last := min(first+Partition, n)
		for i := first; i < last; i += tileRows {
			a.expect(c, h, c.keys, i+tileRows)
			rows := a.gather(c, h, c.keys, i, last)
			vec.DotsGroup(a.weights[i:], n, q, rows, group, d)
		}
		for g := range group {
			scores := a.weights[g*n:][first:last]
			for i := range scores {
				scores[i] = float32(scores[i] * scale)
			}
			a.soft[g].add(scores)
		}
		partial := a.partial[first/Partition*group*d:][:group*d]
		clear(partial)
		for i := first; i < last; i += tileRows {
			a.expect(c, h, c.values, i+tileRows)
			rows := a.gather(c, h, c.values, i, last)
			vec.Accumulate(partial, a.weights[i:], n, rows, group, d)
		}
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

// gather decodes the next KVs of a head into the tile, from logical index first
// to at most last, and returns them: [rows, D].
func (a *attention) gather(c *Cache, h *Head, from []byte, first, last int) []float32 {
	d := c.shape.HeadSize
	rows := min(tileRows, last-first)
	for done := 0; done < rows; {
		logical := first + done
		n := min(c.blockSize-logical%c.blockSize, rows-done)
		c.dtype.Decode(a.tile[done*d:][:n*d], c.row(from, c.Slot(h, logical), n))
		done += n
	}
	return a.tile[:rows*d]
}

// expect announces the tile that begins at logical index first.
func (a *attention) expect(c *Cache, h *Head, from []byte, first int) {
	for i := first; i < min(first+tileRows, h.Len); {
		n := min(c.blockSize-i%c.blockSize, h.Len-i)
		vec.Prefetch(c.row(from, c.Slot(h, i), n))
		i += n
	}
}

// record adds to the metric of every KV what the G queries at position t gave
// it: Σ_g P² (or P), for the KVs at least buffer positions back.
func (a *attention) record(c *Cache, h *Head, m *Metric, t, group int) {
	n := h.Len
	a.gained = grow(a.gained, n)
	clear(a.gained)
	for g := range group {
		for p, factor := range a.soft[g].factor {
			first, last := p*Partition, min((p+1)*Partition, n)
			m.addGains(a.gained[first:last], a.weights[g*n:][first:last], factor)
		}
	}
	for b, block := range h.Table {
		if ahead := b + 4; ahead < len(h.Table) {
			next := int(h.Table[ahead]) * c.blockSize
			vec.Prefetch(c.Metrics[next:][:c.blockSize])
			vec.Prefetch(c.Positions[next:][:c.blockSize])
		}
		slot := int(block) * c.blockSize
		gained := a.gained[b*c.blockSize : min((b+1)*c.blockSize, n)]
		positions, metrics := c.Positions[slot:][:len(gained)], c.Metrics[slot:][:len(gained)]
		for i, gain := range gained {
			if int(positions[i]) <= t-m.Buffer {
				metrics[i] += gain
			}
		}
	}
}

// grow returns a slice of n elements, reusing s where it is large enough.
func grow(s []float32, n int) []float32 {
	if cap(s) < n {
		return make([]float32, n, n+n/2)
	}
	return s[:n]
}
