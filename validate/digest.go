package validate

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"math"

	"kvcompress/ref"
)

// digester reduces the result of a stage to a digest for each of its parts.
type digester struct {
	buf []byte
}

// stage digests what a stage has produced:
//
//	prefill  tables, positions, metrics and kv of the sequence
//	decode   outputs; tables, positions and metrics of the batch; kv of its newest token
//	decide   evicted: of each head the logical indices, behind their number
//	move     moves; tables, positions, metrics and kv of the sequence
//	release  free: the owner of every block
func (d *digester) stage(e ref.Event) GoldenStage {
	cache := e.Cache
	s := GoldenStage{Stage: e.Stage, Seqs: append([]ref.SeqID(nil), e.Seqs...)}
	add := func(part string, write func(*writer)) {
		s.Digest = append(s.Digest, Digest{part, d.sum(write)})
	}
	switch e.Stage {
	case ref.StageDecide:
		s.KVs, s.Blocks, s.Asked = e.Decision.KVs(), e.Decision.Evicted, e.Decision.Asked
		add("evicted", func(w *writer) {
			for _, h := range e.Decision.Heads {
				w.ints(int32(len(h.KVs)))
				w.ints(h.KVs...)
			}
		})
		return s
	case ref.StageRelease:
		add("free", func(w *writer) {
			for _, o := range cache.Owners {
				w.ints(int32(o.Seq), o.Layer, o.Head, o.Logical)
			}
		})
		return s
	case ref.StageDecode:
		add("outputs", func(w *writer) { w.floats(e.Outputs...) })
	case ref.StageMove:
		s.Moves = len(e.Moves)
		add("moves", func(w *writer) {
			for _, m := range e.Moves {
				w.ints(m.Destination, m.Source)
			}
		})
	}
	for _, id := range e.Seqs {
		if q := cache.Sequence(id); q != nil {
			s.KVs += q.KVs()
			s.Blocks += q.Blocks()
		}
	}
	add("tables", func(w *writer) {
		eachHead(cache, e.Seqs, func(h *ref.Head) {
			w.ints(int32(h.Len))
			w.ints(h.Table...)
		})
	})
	add("positions", func(w *writer) {
		eachSlot(cache, e.Seqs, 0, func(slot int) { w.ints(cache.Positions[slot]) })
	})
	add("metrics", func(w *writer) {
		eachSlot(cache, e.Seqs, 0, func(slot int) { w.floats(cache.Metrics[slot]) })
	})
	newest := 0
	if e.Stage == ref.StageDecode {
		newest = 1
	}
	add("kv", func(w *writer) {
		eachSlot(cache, e.Seqs, newest, func(slot int) {
			w.bytes(cache.Key(slot))
			w.bytes(cache.Value(slot))
		})
	})
	return s
}

func eachHead(cache *ref.Cache, seqs []ref.SeqID, f func(*ref.Head)) {
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

// eachSlot visits the slots of all heads in logical order, or only the last
// newest of each head if that is not 0. Of a head that cannot be read, as an engine
// with a bug may report it, there are none.
func eachSlot(cache *ref.Cache, seqs []ref.SeqID, newest int, f func(slot int)) {
	eachHead(cache, seqs, func(h *ref.Head) {
		if cache.Holds(h) != nil {
			return
		}
		first := 0
		if newest > 0 {
			first = max(0, h.Len-newest)
		}
		for i := first; i < h.Len; i++ {
			f(cache.Slot(h, i))
		}
	})
}

// sum returns the first 64 bits of the SHA-256 of what write writes, as hex.
func (d *digester) sum(write func(*writer)) string {
	w := writer{hash: sha256.New(), buf: d.buf[:0]}
	write(&w)
	w.flush()
	d.buf = w.buf
	return hex.EncodeToString(w.hash.Sum(nil)[:8])
}

// writer feeds numbers to a hash in large pieces.
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
