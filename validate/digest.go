package validate

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"math"

	"kvcompress/kv"
	"kvcompress/ref"
)

// digester computes a digest of each part of a stage's result.
type digester struct {
	buf []byte
}

// stage digests the result of a stage:
//
//	prefill  tables, positions, columns and kv of the sequence
//	decode   outputs; tables, positions and columns of the batch; kv of its newest token
//	decide   evicted: for each head the number of logical indices, then the indices
//	move     moves; tables, positions, columns and kv of the sequence, quantized and merged pages after the
//	         plain ones
//	release  free: the owner of every block
//
// Parts with one number are stored in the GoldenStage itself. Parts of a single head are digested together,
// each preceded by its length.
func (d *digester) stage(e ref.Event) GoldenStage {
	cache := e.Cache
	s := GoldenStage{Stage: e.Stage, Seqs: append([]kv.SeqID(nil), e.Seqs...)}
	add := func(part string, write func(*writer)) {
		s.Digest = append(s.Digest, Digest{part, d.sum(write)})
	}
	for i := 0; i < len(e.Parts); {
		part := &e.Parts[i]
		last := i + 1
		for last < len(e.Parts) && e.Parts[last].Name == part.Name {
			last++
		}
		if part.Dims != nil {
			add(part.Name, func(w *writer) {
				for _, p := range e.Parts[i:last] {
					if p.Head >= 0 {
						w.ints(int32(p.Elements()))
					}
					w.ints(p.Ints...)
					w.floats(p.Floats...)
				}
			})
		}
		i = last
	}
	switch e.Stage {
	case ref.StageDecide:
		heads := cache.Sequence(e.Seqs[0]).Heads
		s.KVs, s.Blocks = e.Plan.KVs(), e.Plan.Freed(heads, cache.Config().BlockSize)
		s.Asked, s.Needs = e.Plan.Asked, e.Plan.Needs
		return s
	case ref.StageRelease:
		add("free", func(w *writer) {
			for _, o := range cache.Owners {
				n := o.Ints()
				w.ints(n[:]...)
			}
		})
		return s
	case ref.StageMove:
		for _, p := range e.Parts {
			if p.Name == "moves" {
				s.Moves = p.Dims[0].N
			}
		}
	}
	for _, id := range e.Seqs {
		if q := cache.Sequence(id); q != nil {
			s.KVs += q.KVs()
			s.Blocks += q.Blocks()
		}
	}
	add("tables", func(w *writer) {
		eachHead(cache, e.Seqs, func(h *kv.Head) {
			w.ints(int32(h.Len))
			w.ints(h.Table...)
			segmentInts(w, h)
		})
	})
	add("positions", func(w *writer) {
		eachSlot(cache, e.Seqs, 0, func(slot int) { w.ints(cache.Positions[slot]) })
	})
	for i, column := range cache.Columns() {
		data, width := cache.Data[i], column.Width
		add(column.Name, func(w *writer) {
			eachSlot(cache, e.Seqs, 0, func(slot int) { w.floats(data[slot*width:][:width]...) })
		})
	}
	newest := 0
	if e.Stage == ref.StageDecode {
		newest = 1
	}
	add("kv", func(w *writer) {
		eachSlot(cache, e.Seqs, newest, func(slot int) {
			w.bytes(cache.Key(slot))
			w.bytes(cache.Value(slot))
		})
		if newest == 0 {
			eachUnit(cache, e.Seqs, w.bytes)
		}
	})
	return s
}

// segmentInts writes a head's quantized and merged segments: format, first index, length and table of each,
// the limit of a merged one, and where the plain segment begins. It writes nothing for a head with only a
// plain segment.
func segmentInts(w *writer, h *kv.Head) {
	if len(h.Keys)+len(h.Values) == 0 {
		return
	}
	w.ints(int32(h.First))
	for _, part := range []kv.Part{kv.Keys, kv.Values} {
		list := h.List(part)
		w.ints(int32(len(list)))
		for i := range list {
			g := &list[i]
			w.ints(int32(g.Format.Kind), int32(g.Format.Bits), int32(g.Format.Group), int32(g.First), int32(g.Len), int32(len(g.Index)))
			w.ints(g.Index...)
			w.ints(g.Table...)
			if g.Format.Kind == kv.Merged {
				w.floats(g.Limit)
			}
		}
	}
}

// eachUnit visits the stored bytes of quantized and merged segments.
func eachUnit(cache *kv.Cache, seqs []kv.SeqID, f func(unit []byte)) {
	eachHead(cache, seqs, func(h *kv.Head) {
		if cache.CheckHead(h) != nil {
			return
		}
		for _, part := range []kv.Part{kv.Keys, kv.Values} {
			for i := range h.List(part) {
				cache.Units(&h.List(part)[i], func(_ int, unit []byte) { f(unit) })
			}
		}
	})
}

func eachHead(cache *kv.Cache, seqs []kv.SeqID, f func(*kv.Head)) {
	for _, id := range seqs {
		s := cache.Sequence(id)
		if s == nil {
			continue
		}
		for i := range s.Heads {
			f(&s.Heads[i])
		}
	}
}

// eachSlot visits the slots of all heads in logical order, or only the newest KVs of each head if newest is
// not 0. It skips a head that cannot be read, which an engine with a bug may report.
func eachSlot(cache *kv.Cache, seqs []kv.SeqID, newest int, f func(slot int)) {
	eachHead(cache, seqs, func(h *kv.Head) {
		if cache.CheckHead(h) != nil {
			return
		}
		first := h.First
		if newest > 0 {
			first = max(first, h.KVs()-newest)
		}
		for i := first; i < h.KVs(); i++ {
			f(cache.Slot(h, i))
		}
	})
}

// sum returns the first 64 bits of the SHA-256 of what write writes, in hex.
func (d *digester) sum(write func(*writer)) string {
	w := writer{hash: sha256.New(), buf: d.buf[:0]}
	write(&w)
	w.flush()
	d.buf = w.buf
	return hex.EncodeToString(w.hash.Sum(nil)[:8])
}

// writer feeds numbers to a hash in large chunks.
type writer struct {
	hash hash.Hash
	buf  []byte
}

func (w *writer) ints(values ...int32) {
	for _, v := range values {
		w.buf = binary.LittleEndian.AppendUint32(w.buf, uint32(v))
	}
	w.drain()
}

func (w *writer) floats(values ...float32) {
	for _, v := range values {
		w.buf = binary.LittleEndian.AppendUint32(w.buf, math.Float32bits(v))
	}
	w.drain()
}

func (w *writer) bytes(b []byte) {
	w.buf = append(w.buf, b...)
	w.drain()
}

func (w *writer) drain() {
	if len(w.buf) >= 1<<16 {
		w.flush()
	}
}

func (w *writer) flush() {
	w.hash.Write(w.buf)
	w.buf = w.buf[:0]
}
