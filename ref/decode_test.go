package ref

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"kvcompress/dtype"
	"kvcompress/internal/work"
	"kvcompress/kv"
)

// attentionBench is one layer of Llama-3.1-8B's shape during decode, f16: 8 sequences with 4,096 KVs in each
// of 8 heads, 134 MB of keys and values in shuffled blocks.
func attentionBench(b *testing.B, group int) (e *Engine, batch []kv.SeqID, q, out []float32, kvBytes int) {
	cfg := Default()
	cfg.Shape.Layers, cfg.Shape.KVHeads, cfg.Shape.Group, cfg.Shape.HeadSize = 1, 8, group, 128
	const seqs, n = 8, 4096
	cfg.Blocks = seqs*cfg.Shape.KVHeads*n/cfg.BlockSize + 128 // some spare blocks to quantize into
	e, err := NewEngine(cfg, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 7))
	row := make([]float32, 128)
	for id := range kv.SeqID(seqs) {
		s, err := e.cache.Add(id, n)
		if err != nil {
			b.Fatal(err)
		}
		for i := range s.Heads {
			h := &s.Heads[i]
			rng.Shuffle(len(h.Table), func(i, j int) { h.Table[i], h.Table[j] = h.Table[j], h.Table[i] })
			for kv := range n {
				for j := range row {
					row[j] = float32(rng.Uint32()>>8)/(1<<23) - 1
				}
				e.cache.Store(e.cache.Slot(h, kv), row, row)
			}
		}
		batch = append(batch, id)
	}
	q = make([]float32, seqs*cfg.Shape.QueryHeads()*128)
	for i := range q {
		q[i] = float32(rng.Uint32()>>8)/(1<<23) - 1
	}
	return e, batch, q, make([]float32, len(q)), seqs * cfg.Shape.KVHeads * n * 2 * cfg.RowBytes()
}

// BenchmarkDecodeAttention attends and records metrics over f16 KVs at head size 128. MB/s counts the KVs
// read; BenchmarkCopy copies the same number of bytes on the same number of cores.
func BenchmarkDecodeAttention(b *testing.B) {
	for _, group := range []int{1, 4, 8} {
		b.Run(fmt.Sprintf("G=%d", group), func(b *testing.B) {
			e, batch, q, out, kvBytes := attentionBench(b, group)
			b.SetBytes(int64(kvBytes))
			b.ReportAllocs()
			e.attendLayer(batch, 0, q, out) // the workers' scratch memory grows once
			for b.Loop() {
				e.attendLayer(batch, 0, q, out)
			}
		})
	}
}

// BenchmarkQuantizedAttention attends over f16 KVs, and over the same KVs quantized as by KIVI, in groups of
// 32 except for the newest 32, at head size 128, one layer of each in turn. GB/s counts the KVs in full
// precision, 512 bytes each, in the fastest round. x-f16 is the median of the ratio of a round's time to that
// of the f16 step in the same round; unlike GB/s it hardly changes when other processes slow the machine.
func BenchmarkQuantizedAttention(b *testing.B) {
	for _, group := range []int{1, 4} {
		b.Run(fmt.Sprintf("G=%d", group), func(b *testing.B) {
			var attend []func()
			var bytes int
			widths := []int{16, 4, 2}
			for _, bits := range widths {
				e, batch, q, out, kvBytes := attentionBench(b, group)
				e.observation = nil // metrics need plain KVs
				if bits < 16 {
					quantizeAll(b, e, batch, bits)
				}
				attend, bytes = append(attend, func() { e.attendLayer(batch, 0, q, out) }), kvBytes
				attend[len(attend)-1]() // the workers' scratch memory grows once
			}
			took := make([][]float64, len(widths))
			for b.Loop() {
				for i := range attend {
					start := time.Now()
					attend[i]()
					took[i] = append(took[i], time.Since(start).Seconds())
				}
			}
			for i, bits := range widths {
				ratios := make([]float64, len(took[i]))
				for k := range ratios {
					ratios[k] = took[i][k] / took[0][k]
				}
				b.ReportMetric(float64(bytes)/1e9/slices.Min(took[i]), fmt.Sprintf("GB/s-%d-bits", bits))
				if bits < 16 {
					b.ReportMetric(median(ratios), fmt.Sprintf("x-f16-%d-bits", bits))
				}
			}
		})
	}
}

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return x[len(x)/2]
}

// quantizeAll quantizes all but the newest 32 tokens of every head.
func quantizeAll(b *testing.B, e *Engine, batch []kv.SeqID, bits int) {
	for _, id := range batch {
		s := e.cache.Sequence(id)
		for i := range s.Heads {
			n := s.Heads[i].KVs()
			n -= 32 + n%32
			for part, kind := range map[kv.Part]kv.Kind{kv.Keys: kv.PerChannel, kv.Values: kv.PerToken} {
				if err := e.cache.Quantize(s, i, part, kv.Format{Kind: kind, Bits: bits, Group: 32}, n); err != nil {
					b.Fatal(err)
				}
			}
			e.cache.TrimPlain(&s.Heads[i])
		}
	}
}

// BenchmarkCopy copies as many bytes as BenchmarkDecodeAttention reads.
func BenchmarkCopy(b *testing.B) {
	_, _, _, _, kvBytes := attentionBench(b, 1)
	from, dst := make([]byte, kvBytes), make([]byte, kvBytes)
	const pieces = 128
	piece := kvBytes / pieces
	b.SetBytes(int64(kvBytes))
	for b.Loop() {
		work.Each(work.Workers(pieces), pieces, func(_, i int) {
			copy(dst[i*piece:][:piece], from[i*piece:][:piece])
		})
	}
}

// TestAttendPaged checks that attention and metrics do not depend on paging: they have the same bits for
// every block size and order of blocks.
func TestAttendPaged(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 8))
	const d, group, n = 24, 3, 300
	q, k, v := make([]float32, group*d), make([]float32, n*d), make([]float32, n*d)
	for _, x := range [][]float32{q, k, v} {
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
	}
	for _, format := range []dtype.DType{dtype.F32, dtype.F16, dtype.BF16, dtype.E4M3, dtype.E5M2} {
		var want []float32
		for _, blockSize := range []int{1, 2, 4, 8, 16, 32} {
			cfg := Default()
			cfg.DType, cfg.BlockSize, cfg.Blocks = format, blockSize, 400
			cfg.Shape.Layers, cfg.Shape.KVHeads, cfg.Shape.Group, cfg.Shape.HeadSize = 1, 1, group, d
			c := kv.NewCache(cfg.Config, cfg.Columns())
			s, err := c.Add(0, n)
			if err != nil {
				t.Fatal(err)
			}
			h := &s.Heads[0]
			rng.Shuffle(len(h.Table), func(i, j int) { h.Table[i], h.Table[j] = h.Table[j], h.Table[i] })
			for i := range n {
				slot := c.Slot(h, i)
				c.Positions[slot] = int32(i)
				c.Store(slot, k[i*d:][:d], v[i*d:][:d])
			}
			var a attention
			got := make([]float32, group*d)
			a.attend(c, h, q, got, group)
			a.record(c, h, cfg.Metric.Observation(), n, group)
			for i := range n {
				got = append(got, c.Data[0][c.Slot(h, i)])
			}
			if want == nil {
				want = got
			}
			for i := range got {
				if got[i] != want[i] {
					t.Fatalf("%v, block size %d: value %d is %g, at block size 1 it was %g", format, blockSize, i, got[i], want[i])
				}
			}
		}
	}
}
