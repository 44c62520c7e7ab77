package kernels

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"kvcompress/dtype"
	"kvcompress/kernels/device"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
)

// TestAllocate compares block tables, lengths, owners and the free list with the reference, over prompts,
// decode steps and releases.
func TestAllocate(t *testing.T) {
	type test struct {
		name                  string
		layers, heads         int
		blockSize, blocks     int
		rows, prompt, batches int
	}
	for _, tt := range []test{
		{"one head, one token", 1, 1, 1, 40, 3, 1, 20},
		{"blocks of one", 2, 3, 1, 2000, 4, 40, 60},
		{"blocks of 16", 2, 3, 16, 300, 4, 50, 80},
		{"blocks of 32", 3, 2, 32, 100, 5, 70, 60},
		{"many heads", 30, 8, 4, 9000, 10, 9, 12},
		{"many blocks", 2, 2, 1, 80_000, 3, 9000, 4},
		{"a last word of one block", 1, 2, 2, 1025, 2, 900, 10},
	} {
		for shuffle := range uint64(2) {
			t.Run(fmt.Sprintf("%s/shuffle %d", tt.name, shuffle), func(t *testing.T) {
				cfg := ref.Default()
				cfg.Shape = kv.Shape{Layers: tt.layers, KVHeads: tt.heads, Group: 1, HeadSize: 8}
				cfg.DType, cfg.BlockSize, cfg.Blocks = dtype.E4M3, tt.blockSize, tt.blocks
				cfg.Metric.Window = 1
				a := newAllocation(t, checked(t, shuffle), cfg, tt.rows)
				rng := rand.New(rand.NewPCG(uint64(tt.blocks), 3))
				for range tt.batches {
					switch row := rng.IntN(tt.rows); {
					case a.ids[row] == kv.NoSeq:
						a.prefill(row, 1+rng.IntN(tt.prompt))
					case rng.IntN(6) == 0:
						a.release(row)
					default:
						a.decode(rng.Perm(tt.rows)[:1+rng.IntN(tt.rows)])
					}
					a.check()
				}
			})
		}
	}
}

// allocation is a device state and a reference engine that run the same operations.
type allocation struct {
	*testing.T
	s      *state
	engine *ref.Engine
	ids    []kv.SeqID // sequence in each row
	next   kv.SeqID
}

func newAllocation(t *testing.T, dev device.Device, cfg ref.Config, rows int) *allocation {
	engine, err := ref.NewEngine(cfg, func(kv.SeqID) (trace.Tensors, error) { return tokens(1 << 20), nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := stateFor(dev, cfg, rows, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return &allocation{t, s, engine, slices.Repeat([]kv.SeqID{kv.NoSeq}, rows), 7}
}

func (a *allocation) must(err error) {
	a.Helper()
	if err != nil {
		a.Fatal(err)
	}
}

func (a *allocation) prefill(row, n int) {
	if a.engine.PrefillNeed(n) > a.engine.Free() {
		return
	}
	a.must(a.engine.Prefill(a.next, n))
	a.must(a.s.allocatePrompt(row, a.next, n))
	a.ids[row] = a.next
	a.next++
}

func (a *allocation) decode(rows []int) {
	var ids []kv.SeqID
	var idWords, rowWords []int32
	need := 0
	for _, row := range rows {
		if id := a.ids[row]; id != kv.NoSeq {
			ids, idWords, rowWords = append(ids, id), append(idWords, int32(id)), append(rowWords, int32(row))
			need += a.engine.DecodeNeed(id)
		}
	}
	if len(ids) == 0 || need > a.engine.Free() {
		return
	}
	a.must(a.engine.Decode(ids))
	r, err := upload(a.s, "rows", rowWords)
	a.must(err)
	i, err := upload(a.s, "ids", idWords)
	a.must(err)
	a.must(a.s.allocateTokens(batch{n: len(ids), rows: r, ids: i}, need))
}

func (a *allocation) release(row int) {
	a.must(a.engine.Release(a.ids[row]))
	a.must(a.s.release(row))
	a.ids[row] = kv.NoSeq
}

func (a *allocation) check() {
	a.Helper()
	want := a.engine.Cache().Snapshot()
	var rows []int
	for _, q := range want.Sequences {
		rows = append(rows, slices.Index(a.ids, q.ID))
	}
	a.must(differs(a.s, want, rows))
}
