package kernels

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"kvcompress/dtype"
	"kvcompress/kernels/device"
	"kvcompress/kernels/ptx"
	"kvcompress/kv"
	"kvcompress/ref"
)

// TestMoveFar moves KVs of slots whose rows lie beyond 2^32 bytes.
func TestMoveFar(t *testing.T) {
	cfg := ref.Default()
	cfg.Shape = kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 256}
	cfg.DType, cfg.BlockSize, cfg.Blocks = dtype.F32, 32, 140_000 // 4.6 GB of keys, of which a few are touched
	dev := ptx.New(ptx.Options{})
	s, err := stateFor(dev, cfg, 1, 64)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	last := int32(cfg.Blocks*cfg.BlockSize - 1)
	pairs := []int32{0, last, 1, last - 1, 1<<21 - 1, 1 << 21, last - 2, 2, last - 4, 1<<22 + 1}
	row := func(slot int32) []byte {
		b := make([]byte, 1024)
		for i := range b {
			b[i] = byte(int(slot)*7 + i)
		}
		return b
	}
	for i := 1; i < len(pairs); i += 2 {
		slot := pairs[i]
		must(dev.Write(s.keys+device.Ptr(int64(slot)*1024), row(slot)))
		must(dev.Write(s.values+device.Ptr(int64(slot)*1024), row(slot+1)))
		must(dev.Write(s.metrics+device.Ptr(slot)*4, encode([]int32{slot})))
		must(dev.Write(s.positions+device.Ptr(slot)*4, encode([]int32{-slot})))
	}
	p, err := upload(s, "moves", pairs)
	must(err)
	must(s.move(moves{p, len(pairs) / 2}))
	got := make([]byte, 1024)
	for i := 0; i < len(pairs); i += 2 {
		to, from := pairs[i], pairs[i+1]
		for _, a := range []struct {
			name string
			at   device.Ptr
			want []byte
		}{
			{"key", s.keys + device.Ptr(int64(to)*1024), row(from)},
			{"value", s.values + device.Ptr(int64(to)*1024), row(from + 1)},
			{"metric", s.metrics + device.Ptr(to)*4, binary.LittleEndian.AppendUint32(nil, uint32(from))},
			{"position", s.positions + device.Ptr(to)*4, binary.LittleEndian.AppendUint32(nil, uint32(-from))},
		} {
			got = got[:len(a.want)]
			must(dev.Read(got, a.at))
			if !slices.Equal(got, a.want) {
				t.Errorf("slot %d has not the %s of slot %d", to, a.name, from)
			}
		}
	}
	must(s.close())
	must(dev.Close())
}

// BenchmarkDecide says how many instructions a decision takes for each KV, at two
// lengths of heads.
func BenchmarkDecide(b *testing.B) {
	for _, bb := range []struct {
		name    string
		heads   int
		longest int
	}{{"8 heads of about 150", 8, 300}, {"2 heads of about 5000", 2, 9999}} {
		b.Run(bb.name, func(b *testing.B) {
			cfg := ref.Default()
			cfg.Shape = kv.Shape{Layers: 1, KVHeads: bb.heads, Group: 1, HeadSize: 8}
			cfg.Compression.MaxCacheTokens = bb.longest / 16
			c := contentOf(rand.New(rand.NewPCG(1, 1)), cfg, bb.longest, metricsOf[2])
			dev := ptx.New(ptx.Options{})
			s := c.upload(b, dev)
			q := c.snap.Sequences[0]
			var lengths []int
			for _, h := range q.Heads {
				lengths = append(lengths, h.Len)
			}
			r, err := rankingOf(cfg, q.Len, lengths)
			if err != nil {
				b.Fatal(err)
			}
			before := dev.Instructions()
			for b.Loop() {
				if _, err := s.decide(0, q.ID, q.Len, lengths, change{Ranking: r}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(dev.Instructions()-before)/float64(b.N)/float64(q.KVs()), "instructions/KV")
		})
	}
}
