package ref

import (
	"kvcompress/internal/ceil"
	"kvcompress/kv"
	"kvcompress/ref/vec"
)

// tileRows is the number of keys or values decoded at a time, small enough for a tile to stay in the L1 cache
// until it is used.
const tileRows = 16

// attention is the working memory of one head's paged attention.
type attention struct {
	tile       []float32 // [tileRows, D] keys or values as float32
	weights    []float32 // [G, context length] e_i
	partial    []float32 // [partitions, G, D] o_p
	soft       []softmax // [G]
	gained     []float32 // what this step adds to each KV's column
	hidden     []bool    // KVs that queries do not read; nil for none
	rotary     *rotary   // rotates keys by turns
	turns      []int32   // [context length] positions to rotate by; nil for none
	represents []float32 // by slot: the number of KVs that an entry represents; nil if always 1
	reader     kv.Reader // for segments in quantized or merged pages
}

// attend computes paged decode attention of one KV head for its G queries; q and out are [G, D]. It leaves
// e_i and the factors f_p in a, for record.
//
//	s_i = (q·k_i)·(1/√D)    out = Σ_p (Σ_{i in p} e_i·v_i) · f_p
//
// The score of an entry that represents w ≠ 1 KVs has ln w added. KVs are read in logical order, whichever
// segment holds them; hidden KVs have e_i = 0. Each tile is prefetched while the one before it is used.
func (a *attention) attend(c *kv.Cache, h *kv.Head, q, out []float32, group int) {
	d := c.Shape().HeadSize
	a.tile = grow(a.tile, tileRows*d)
	n := h.KVs()
	a.weights = grow(a.weights, group*n)
	a.partial = grow(a.partial, group*d*ceil.Div(n, Partition))
	if len(a.soft) != group {
		a.soft = make([]softmax, group)
	}
	for g := range a.soft {
		a.soft[g].reset()
	}

	scale := attentionScale(d)
	for first := 0; first < n; first += Partition {
		last := min(first+Partition, n)
		for i := first; i < last; i += tileRows {
			rows := a.gather(c, h, kv.Keys, i, last)
			a.turn(rows, i, d)
			vec.DotsGroup(a.weights[i:], n, q, rows, group, d)
		}
		for g := range group {
			scores := a.weights[g*n:][first:last]
			for i := range scores {
				scores[i] = float32(scores[i] * scale)
			}
			if a.represents != nil {
				a.weigh(c, h, scores, first)
			}
			if a.hidden == nil {
				a.soft[g].add(scores)
			} else {
				a.soft[g].addSeen(scores, a.hidden[first:last])
			}
		}
		partial := a.partial[first/Partition*group*d:][:group*d]
		clear(partial)
		for i := first; i < last; i += tileRows {
			rows := a.gather(c, h, kv.Values, i, last)
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

// gather reads keys or values of a head into the tile, from logical index first up to but not including last,
// at most tileRows of them. It returns [rows, D].
func (a *attention) gather(c *kv.Cache, h *kv.Head, part kv.Part, first, last int) []float32 {
	cfg := c.Config()
	d, size := cfg.Shape.HeadSize, cfg.BlockSize
	rows := min(tileRows, last-first)
	if len(h.List(part)) > 0 {
		a.reader.Cache = c
		a.reader.Prefetch(h, part, first+tileRows, tileRows)
		a.reader.Read(a.tile[:rows*d], h, part, first)
		return a.tile[:rows*d]
	}
	bytes, read := c.KeyRows, c.ReadKeys
	if part == kv.Values {
		bytes, read = c.ValueRows, c.ReadValues
	}
	a.expect(c, h, bytes, first+tileRows)
	for done := 0; done < rows; {
		logical := first + done
		n := min(size-logical%size, rows-done)
		read(a.tile[done*d:][:n*d], c.Slot(h, logical))
		done += n
	}
	return a.tile[:rows*d]
}

// turn rotates the keys of a tile, [rows, D], which begins at logical index first.
func (a *attention) turn(rows []float32, first, d int) {
	if a.turns == nil {
		return
	}
	for i := range len(rows) / d {
		if by := a.turns[first+i]; by != 0 {
			a.rotary.turn(rows[i*d:][:d], by)
		}
	}
}

// expect prefetches the tile that begins at logical index first. bytes returns the storage of n consecutive
// slots.
func (a *attention) expect(c *kv.Cache, h *kv.Head, bytes func(slot, n int) []byte, first int) {
	size := c.Config().BlockSize
	for i := first; i < min(first+tileRows, h.Len); {
		n := min(size-i%size, h.Len-i)
		vec.Prefetch(bytes(c.Slot(h, i), n))
		i += n
	}
}

// record adds to each KV's column what the G queries at position t give it: Σ_g P² (or P), for KVs at least
// Buffer positions before t. With GroupEach each query head adds to its own number.
func (a *attention) record(c *kv.Cache, h *kv.Head, o *Observation, t, group int) {
	n := h.Len
	a.gained = grow(a.gained, n)
	if o.Group == GroupEach {
		for g := range group {
			clear(a.gained)
			a.gain(o.Norm, g)
			a.addTo(c, h, o, t, group, g)
		}
		return
	}
	clear(a.gained)
	for g := range group {
		a.gain(o.Norm, g)
	}
	a.addTo(c, h, o, t, 1, 0)
}

// gain adds to gained what query head g gives to every KV.
func (a *attention) gain(norm Norm, g int) {
	n := len(a.gained)
	for p, factor := range a.soft[g].factor {
		first, last := p*Partition, min((p+1)*Partition, n)
		addGains(norm, a.gained[first:last], a.weights[g*n:][first:last], factor)
	}
}

// addTo adds gained to number at of each KV, of the column's width numbers.
func (a *attention) addTo(c *kv.Cache, h *kv.Head, o *Observation, t, width, at int) {
	n, size, column := h.Len, c.Config().BlockSize, c.Data[o.Column]
	for b, block := range h.Table {
		if ahead := b + 4; ahead < len(h.Table) {
			next := int(h.Table[ahead]) * size
			vec.Prefetch(column[next*width:][:size*width])
			vec.Prefetch(c.Positions[next:][:size])
		}
		slot := int(block) * size
		gained := a.gained[b*size : min((b+1)*size, n)]
		positions, numbers := c.Positions[slot:][:len(gained)], column[slot*width:][:len(gained)*width]
		for i, gain := range gained {
			if int(positions[i]) <= t-o.Buffer {
				numbers[i*width+at] += gain
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
