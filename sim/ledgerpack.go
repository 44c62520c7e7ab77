package sim

import (
	"slices"

	"kvcompress/kv"
	"kvcompress/ref"
)

// packing counts the packed KVs of one sequence or of all: those in pages of a quantized or merged format.
type packing struct {
	kvs     int   // KVs with a packed key or value
	read    int64 // bytes that a decode step reads of these KVs
	payload int64 // bytes of these KVs that are held: less than read if layers share some
	gone    int   // KVs whose key and value are both packed: they have left the plain pages
	pages   int   // pages of quantized and merged formats
	left    int   // plain blocks that were freed
	seqs    int   // sequences with packed KVs
}

// add adds another count, or subtracts it if sign is −1.
func (p *packing) add(o *packing, sign int) {
	p.kvs += sign * o.kvs
	p.read += int64(sign) * o.read
	p.payload += int64(sign) * o.payload
	p.gone += sign * o.gone
	p.pages += sign * o.pages
	p.left += sign * o.left
	p.seqs += sign * o.seqs
}

// packed is the state of a sequence whose method packs: the oldest keys and the oldest values of each
// packed head are packed, the same number in each.
type packed struct {
	keys, values int      // number of quantized keys and values of a head
	merged       int      // number of merged keys of a merged head, and of merged values
	kept         int      // number of retained keys of a merged head, and of retained values, if it is the same in all heads
	retained     [][2]int // otherwise the numbers of retained keys and values of each head, [L·H]; else nil
	sum          packing  // over all heads
}

// headGroup is a group of heads that are packed together, and the number of equal groups in a sequence.
type headGroup struct {
	heads []int // indices in L·H
	times int
}

// packer counts for a method that packs.
type packer interface {
	// asks returns how many keys and values the method asks a sequence to pack.
	asks(l *Ledger, a *account) int

	// compress returns the state of a sequence of this many tokens after a compression. ok is false if
	// the engine that is replayed did not carry the compression out.
	compress(l *Ledger, id kv.SeqID, tokens int, was *packed) (now packed, ok bool)

	// done sets the fields of c that count what a compression packs, before it is carried out.
	done(l *Ledger, a *account, c *ref.Compressed)

	// of returns the counts of one head.
	of(l *Ledger, p *packed, head int) packing

	// groups returns the heads that are packed, in the order in which an engine packs them.
	groups(l *Ledger, p *packed) []headGroup
}

// packerOf returns the packer of a method, nil if it does not pack.
func packerOf(cfg *ref.Config, m ref.Method) packer {
	quantizer, quantizes := m.(ref.Quantizer)
	merger, merges := m.(ref.Merger)
	q, of := quantizing{method: quantizer, heads: cfg.Shape.Heads()}, merging{method: merger, kvHeads: cfg.Shape.KVHeads}
	if quantizes {
		q.keys, q.values = quantizer.Formats()
	}
	if merges {
		of.Merging = merger.Merging()
	}
	switch {
	case quantizes && merges: // heads of unmerged layers are quantized
		q.heads -= 2 * of.Pairs * of.kvHeads
		if of.First == 0 {
			q.first = 2 * of.Pairs * of.kvHeads
		}
		return &mergingQuantizing{of, q}
	case quantizes:
		return &q
	case merges:
		return &of
	}
	return nil
}

// pack is Compress for a method that packs.
func (l *Ledger) pack(id kv.SeqID, a *account) (ref.Compressed, error) {
	done := ref.Compressed{Asked: l.packer.asks(l, a)}
	if done.Asked == 0 {
		return done, nil
	}
	now, ok := l.packer.compress(l, id, a.tokens+l.steps, &a.packed)
	free := l.Free()
	if !ok {
		return ref.Compressed{}, &kv.ErrNoBlocks{Need: free + 1, Free: free}
	}
	l.packer.done(l, a, &done)
	now.sum.seqs = 1
	needs, used := 0, 0
	for _, g := range l.packer.groups(l, &now) {
		taken, freed := 0, 0
		for _, head := range g.heads {
			after, before := l.packer.of(l, &now, head), packing{}
			if a.packed.sum.seqs > 0 {
				before = l.packer.of(l, &a.packed, head)
			}
			taken += after.pages - before.pages
			freed += after.left - before.left
			for range g.times {
				now.sum.add(&after, 1)
			}
		}
		needs = max(needs, used+taken+(g.times-1)*max(0, taken-freed)) // see ref.Rounds
		used += g.times * (taken - freed)
		done.Taken += g.times * taken
		done.Freed += g.times * freed
	}
	if plan := (ref.Plan{Needs: needs, Takes: done.Taken - done.Freed}); plan.Need(l.NeedAll(1)) > free {
		return ref.Compressed{}, &kv.ErrNoBlocks{Need: plan.Need(l.NeedAll(1)), Free: free}
	}
	l.enter(a, -1)
	a.packed = now
	l.enter(a, 1)
	l.used += done.Taken - done.Freed
	return done, nil
}

// more returns the number of blocks of a sequence less the number that its KVs would take in plain pages;
// it is usually negative.
func (a *account) more() int { return a.packed.sum.pages - a.packed.sum.left }

// ReadQuantized returns the bytes of KVs with a quantized or merged key or value that the attention of
// decode steps of all sequences reads. ReadAll does not count these KVs.
func (l *Ledger) ReadQuantized(steps int) int64 { return int64(steps) * l.packing.read }

// ReadQuantizedOf is ReadQuantized for one step of a single sequence.
func (l *Ledger) ReadQuantizedOf(id kv.SeqID) int64 {
	a := l.seqs.of(id)
	if a == nil {
		return 0
	}
	return a.packed.sum.read
}

// payload returns the bytes of K and V that are held: [kv.Usage.Payload].
func (l *Ledger) payload() int64 {
	if l.packing.seqs == 0 {
		return 0
	}
	return int64(l.kvs-l.packing.kvs)*int64(2*l.cfg.RowBytes()) + l.packing.payload
}

// quantizing is the packer of a method that quantizes the oldest keys and values of every head.
type quantizing struct {
	method       ref.Quantizer
	keys, values kv.Format
	first, heads int // index of the first quantized head, and their number
}

func (z *quantizing) groups(*Ledger, *packed) []headGroup {
	return []headGroup{{heads: []int{z.first}, times: z.heads}}
}

func (z *quantizing) asks(l *Ledger, a *account) int {
	now, _ := z.compress(l, 0, a.tokens+l.steps, &a.packed)
	return z.heads * (now.keys - a.packed.keys + now.values - a.packed.values)
}

func (z *quantizing) compress(_ *Ledger, _ kv.SeqID, tokens int, was *packed) (packed, bool) {
	keys, values := z.method.Quantizes(tokens)
	return packed{keys: max(was.keys, keys), values: max(was.values, values)}, true
}

func (z *quantizing) done(_ *Ledger, _ *account, c *ref.Compressed) { c.Quantized = c.Asked }

func (z *quantizing) of(l *Ledger, p *packed, _ int) packing {
	bytes := func(n int, f kv.Format) int64 { return int64(n/f.Unit()) * int64(l.cfg.UnitBytes(f)) }
	kvs, gone := max(p.keys, p.values), min(p.keys, p.values)
	read := bytes(p.keys, z.keys) + bytes(p.values, z.values) + int64(kvs-gone)*int64(l.cfg.RowBytes())
	return packing{
		kvs: kvs, read: read, payload: read, gone: gone, left: gone / l.cfg.BlockSize,
		pages: l.cfg.Pages(z.keys, p.keys) + l.cfg.Pages(z.values, p.values),
	}
}

// merging is the packer of a method that merges pairs of layers. The merged pages of a pair are counted in
// the heads of its shallower layer; both layers read them.
type merging struct {
	method ref.Merger
	ref.Merging
	kvHeads int // of a layer
}

// retainer is a [Spread] that knows the numbers of keys and values that each head retained in the next
// compression of a sequence by an engine, [L·H]; false if the engine carried out none.
type retainer interface {
	Retained(id kv.SeqID) ([][2]int, bool)
}

func (m *merging) groups(_ *Ledger, p *packed) []headGroup {
	pair := func(layer, head int) []int {
		shallow := layer*m.kvHeads + head
		return []int{shallow, shallow + m.kvHeads}
	}
	if p.retained == nil {
		return []headGroup{{heads: pair(m.First, 0), times: m.Pairs * m.kvHeads}}
	}
	var groups []headGroup
	for i := range m.Pairs {
		for head := range m.kvHeads {
			groups = append(groups, headGroup{heads: pair(m.First+2*i, head), times: 1})
		}
	}
	return groups
}

func (m *merging) asks(l *Ledger, a *account) int {
	return 2 * m.Pairs * m.kvHeads * 2 * (a.tokens + l.steps - a.packed.merged)
}

func (m *merging) done(_ *Ledger, _ *account, c *ref.Compressed) { c.Merged = c.Asked }

func (m *merging) compress(l *Ledger, id kv.SeqID, tokens int, was *packed) (packed, bool) {
	now := packed{merged: tokens, kept: was.kept, retained: slices.Clone(was.retained)}
	if m.Pairs == 0 || tokens == was.merged { // nothing is merged
		return now, true
	}
	if kvs, known := m.method.Retains(tokens); known {
		if was.merged == 0 {
			now.kept = kvs
		}
		return now, true
	}
	retained, ok := l.spread.(retainer).Retained(id)
	if now.retained == nil {
		now.retained = make([][2]int, l.heads)
	}
	for i, n := range retained {
		now.retained[i][0] += n[0]
		now.retained[i][1] += n[1]
	}
	return now, ok
}

func (m *merging) of(l *Ledger, p *packed, head int) packing {
	merged, deep := m.Merges(head / m.kvHeads)
	if !merged || p.merged == 0 {
		return packing{}
	}
	n, kept := p.merged, [2]int{p.kept, p.kept}
	if p.retained != nil {
		kept = p.retained[head]
	}
	direction, retained := m.method.Directions(), ref.RetainedFormat()
	exact := int64(kept[0]+kept[1]) * int64(l.cfg.UnitBytes(retained))
	both := int64(2*n) * int64(l.cfg.UnitBytes(direction))
	one := packing{
		kvs: n, gone: n, left: n / l.cfg.BlockSize,
		read: both + exact, payload: exact,
		pages: l.cfg.Pages(retained, kept[0]) + l.cfg.Pages(retained, kept[1]),
	}
	if !deep {
		one.payload += both
		one.pages += 2 * l.cfg.Pages(direction, n)
	}
	return one
}

// mergingQuantizing is the packer of a method that quantizes the first layers and merges pairs of the
// others.
type mergingQuantizing struct {
	merging   merging
	quantizes quantizing
}

func (b *mergingQuantizing) asks(l *Ledger, a *account) int {
	return b.quantizes.asks(l, a) + b.merging.asks(l, a)
}

func (b *mergingQuantizing) done(l *Ledger, a *account, c *ref.Compressed) {
	c.Quantized = b.quantizes.asks(l, a)
	c.Merged = b.merging.asks(l, a)
}

func (b *mergingQuantizing) compress(l *Ledger, id kv.SeqID, tokens int, was *packed) (packed, bool) {
	now, ok := b.merging.compress(l, id, tokens, was)
	quantized, _ := b.quantizes.compress(l, id, tokens, was)
	now.keys, now.values = quantized.keys, quantized.values
	return now, ok
}

func (b *mergingQuantizing) of(l *Ledger, p *packed, head int) packing {
	if merged, _ := b.merging.Merges(head / b.merging.kvHeads); merged {
		return b.merging.of(l, p, head)
	}
	return b.quantizes.of(l, p, head)
}

func (b *mergingQuantizing) groups(l *Ledger, p *packed) []headGroup {
	var groups []headGroup
	if b.quantizes.heads > 0 {
		groups = b.quantizes.groups(l, p)
	}
	if b.merging.Pairs > 0 {
		groups = append(groups, b.merging.groups(l, p)...)
	}
	return groups
}
