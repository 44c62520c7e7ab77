package kernels

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"kvcompress/dtype"
	"kvcompress/internal/ceil"
	"kvcompress/internal/testsize"
	"kvcompress/kernels/device"
	"kvcompress/kernels/ptx"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
)

// content is a cache with random sequences, as if after compressions.
type content struct {
	cfg  ref.Config
	snap *kv.Snapshot
}

// metricsOf are ways to draw metrics: with many ties, all equal, over many magnitudes, in a narrow range, the
// smallest numbers, and numbers whose radix digits are extreme (including −0 and negative numbers, which
// recorded decisions may have).
var metricsOf = []func(rng *rand.Rand) float32{
	func(rng *rand.Rand) float32 { return float32(rng.IntN(4)) },
	func(rng *rand.Rand) float32 { return 0.25 },
	func(rng *rand.Rand) float32 { return float32(math.Exp(rng.NormFloat64() * 10)) },
	func(rng *rand.Rand) float32 { return 1 + rng.Float32()/1024 },
	func(rng *rand.Rand) float32 { return math.Float32frombits(rng.Uint32N(1 << 10)) },
	func(rng *rand.Rand) float32 {
		bits := []uint32{0, 0x3f, 0x40, 0x80, 0xbf}[rng.IntN(5)]
		for range 3 {
			bits = bits<<8 | []uint32{0, 0, 1, 0xff}[rng.IntN(4)]
		}
		return math.Float32frombits(bits)
	},
}

// randomContent draws sequences whose heads have up to longest KVs, and options that compress them.
func randomContent(rng *rand.Rand, longest int) *content {
	return contentOf(rng, randomConfig(rng), longest, metricsOf[rng.IntN(len(metricsOf))])
}

func contentOf(rng *rand.Rand, cfg ref.Config, longest int, metric func(*rand.Rand) float32) *content {
	heads := cfg.Shape.Layers * cfg.Shape.KVHeads
	type head struct{ kvs, blocks int }
	var lengths [][]head
	blocks := 0
	for range 1 + rng.IntN(3) {
		var sequence []head
		for range heads {
			n := lengthOf(rng, longest)
			sequence = append(sequence, head{n, ceil.Div(n, cfg.BlockSize)})
			blocks += sequence[len(sequence)-1].blocks
		}
		lengths = append(lengths, sequence)
	}
	cfg.Blocks = max(1, blocks+rng.IntN(40))

	slots, row := cfg.Blocks*cfg.BlockSize, cfg.Shape.HeadSize*cfg.DType.Size()
	snap := &kv.Snapshot{
		Keys: poisoned(slots * row), Values: poisoned(slots * row),
		Data: [][]float32{make([]float32, slots)}, Positions: make([]int32, slots),
		Owners: make([]kv.Owner, cfg.Blocks), Free: make([]uint32, freeWords(cfg.Blocks)),
	}
	for slot := range slots {
		snap.Data[0][slot], snap.Positions[slot] = float32(math.NaN()), math.MinInt32
	}
	for b := range cfg.Blocks {
		snap.Owners[b].Seq = kv.NoSeq
		snap.Free[b/32] |= 1 << (b % 32)
	}
	order := rng.Perm(cfg.Blocks)
	for i, sequence := range lengths {
		q := &kv.Sequence{ID: kv.SeqID(10*i + rng.IntN(10))}
		for _, h := range sequence {
			q.Len = max(q.Len, h.kvs)
		}
		q.Len = max(1, q.Len)
		if rng.IntN(2) == 0 {
			q.Len += 1 + rng.IntN(1+q.Len)
		}
		for j, h := range sequence {
			var table []int32
			for logical := range h.blocks {
				b := order[0]
				order = order[1:]
				table = append(table, int32(b))
				snap.Free[b/32] &^= 1 << (b % 32)
				snap.Owners[b] = kv.Owner{Seq: q.ID, Layer: int32(j / cfg.Shape.KVHeads), Head: int32(j % cfg.Shape.KVHeads), Logical: int32(logical)}
			}
			q.Heads = append(q.Heads, kv.Head{Segment: kv.Segment{Table: table, Len: h.kvs}})
			positions := rng.Perm(q.Len)[:h.kvs]
			if rng.IntN(2) == 0 {
				slices.Sort(positions)
			}
			for logical, position := range positions {
				slot := q.Heads[j].Slot(logical, cfg.BlockSize)
				snap.Data[0][slot], snap.Positions[slot] = metric(rng), int32(position)
				for b := range row {
					snap.Keys[slot*row+b], snap.Values[slot*row+b] = byte(rng.Uint32()), byte(rng.Uint32())
				}
			}
		}
		snap.Sequences = append(snap.Sequences, q)
	}
	return &content{cfg, snap}
}

func poisoned(n int) []byte { return slices.Repeat([]byte{0xff}, n) }

// lengthOf draws a number of KVs: any, or close to a multiple of the block size or of the KVs that a warp or
// a thread block processes.
func lengthOf(rng *rand.Rand, longest int) int {
	edges := []int{0, 1, 2, 4, 16, 32, 127, 128, 129, 255, 256, 257, 512, 1024, longest}
	n := rng.IntN(longest + 1)
	if rng.IntN(2) == 0 {
		n = edges[rng.IntN(len(edges))]
	}
	return min(n, longest)
}

// TestCompressSizes compares compressions that need more than one thread block for a head, or for the heads
// of a quota.
func TestCompressSizes(t *testing.T) {
	for _, tt := range []struct {
		name          string
		layers, heads int
		longest       int
		blockSize     int
	}{
		{"long heads", 1, 2, 9000, 16},
		{"long heads in blocks of one", 2, 1, 5000, 1},
		{"many heads", 45, 8, 30, 2},
		{"many heads in large blocks", 20, 16, 100, 32},
	} {
		for seed := range uint64(min(len(metricsOf), testsize.Of(1, 3, len(metricsOf)))) {
			t.Run(fmt.Sprintf("%s/%d", tt.name, seed), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 37))
				cfg := ref.Default()
				cfg.Shape = kv.Shape{Layers: tt.layers, KVHeads: tt.heads, Group: 1, HeadSize: 8}
				cfg.DType, cfg.BlockSize = dtype.E5M2, tt.blockSize
				cfg.Compression.ProtectedWindow = 3
				cfg.Compression.MaxCacheTokens = 1 + rng.IntN(tt.longest/2)
				cfg.Compression.EvenLayers = seed%3 == 2
				c := contentOf(rng, cfg, tt.longest, metricsOf[seed])
				c.compress(t, checked(t, seed), 0)
			})
		}
	}
}

// randomConfig draws a configuration with options that compress.
func randomConfig(rng *rand.Rand) ref.Config {
	cfg := ref.Config{
		Config: kv.Config{
			BlockSize: kv.BlockSizes()[rng.IntN(6)],
			DType:     dtype.DType(rng.IntN(5)),
			Shape:     kv.Shape{Layers: 1 + rng.IntN(3), KVHeads: 1 + rng.IntN(3), Group: 1, HeadSize: 8 * (1 + rng.IntN(4))},
		},
		Metric: ref.Metric{Norm: ref.L2, Reduction: []ref.Reduction{ref.Sum, ref.Avg}[rng.IntN(2)], Window: 4},
	}
	if rng.IntN(4) == 0 {
		cfg.Shape.HeadSize = []int{40, 80, 128, 256}[rng.IntN(4)]
	}
	opt := &cfg.Compression
	opt.ProtectedWindow, opt.Sinks, opt.Seed = rng.IntN(12), rng.IntN(5), rng.Uint64()
	if rng.IntN(3) == 0 { // only the newest and a few others may be evicted
		opt.ProtectedWindow, opt.Sinks = 0, rng.IntN(60)
	}
	switch rng.IntN(4) {
	case 0:
		opt.MaxCacheTokens = 1 // evict everything that may be evicted
	case 1:
		opt.MaxCacheTokens = 1 + rng.IntN(200)
	default:
		opt.Rate = 0.05 + 0.9*rng.Float64()
	}
	switch rng.IntN(6) {
	case 0:
		opt.EvenLayers = true
		if rng.IntN(2) == 0 {
			opt.ControlLayers = []int{rng.IntN(cfg.Shape.Layers)}
		}
	case 1:
		opt.Uniform = true
	case 2:
		opt.Random = true
	}
	if rng.IntN(3) == 0 {
		weight := []float32{1, -1e-3, 1e30}[rng.IntN(3)]
		opt.BiasWeight, opt.HeadBias = weight, &ref.HeadBias{Bins: []int32{0, 1 + rng.Int32N(30), 40, 41}[:1+rng.IntN(4)]}
		for range cfg.Shape.Layers {
			var layer [][]float32
			for range cfg.Shape.KVHeads {
				var bins []float32
				for range opt.HeadBias.Bins {
					bins = append(bins, 2*rng.Float32()-1)
				}
				layer = append(layer, bins)
			}
			opt.HeadBias.Bias = append(opt.HeadBias.Bias, layer)
		}
	}
	return cfg
}

// upload copies the content to a device's memory, sequence i in row i. Unused memory stays uninitialized, so
// that the device's checks find reads of it.
func (c *content) upload(t testing.TB, dev device.Device) *state {
	t.Helper()
	longest := 2048
	for _, q := range c.snap.Sequences {
		longest = max(longest, q.Len+1)
	}
	s, err := stateFor(dev, c.cfg, len(c.snap.Sequences), longest)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	row := c.cfg.Shape.HeadSize * c.cfg.DType.Size()
	must(dev.Write(s.free, encode(c.snap.Free)))
	for i, q := range c.snap.Sequences {
		var lengths []int32
		for j, h := range q.Heads {
			lengths = append(lengths, int32(h.Len))
			must(dev.Write(s.tablesOf(i)+device.Ptr(4*j*s.maxBlocks), encode(h.Table)))
			for logical, b := range h.Table {
				must(dev.Write(s.owners+device.Ptr(16*b), encode([]int32{int32(q.ID), int32(j / c.cfg.Shape.KVHeads), int32(j % c.cfg.Shape.KVHeads), int32(logical)})))
				slot, n := int(b)*c.cfg.BlockSize, min(c.cfg.BlockSize, h.Len-logical*c.cfg.BlockSize)
				must(dev.Write(s.metrics+device.Ptr(4*slot), encode(c.snap.Data[0][slot:][:n])))
				must(dev.Write(s.positions+device.Ptr(4*slot), encode(c.snap.Positions[slot:][:n])))
				must(dev.Write(s.keys+device.Ptr(slot*row), c.snap.Keys[slot*row:][:n*row]))
				must(dev.Write(s.values+device.Ptr(slot*row), c.snap.Values[slot*row:][:n*row]))
			}
		}
		must(dev.Write(s.lengthsOf(i), encode(lengths)))
	}
	return s
}

// differs returns the first difference between the device's state and a cache whose sequence i has row
// rows[i], or nil. It compares only memory that KVs use.
func differs(s *state, want *kv.Snapshot, rows []int) error {
	free, err := download[uint32](s, s.free, freeWords(s.cfg.Blocks))
	if err != nil {
		return err
	}
	if !slices.Equal(free, want.Free) {
		return fmt.Errorf("free blocks %x, not %x", free, want.Free)
	}
	owners, err := download[int32](s, s.owners, 4*s.cfg.Blocks)
	if err != nil {
		return err
	}
	for b, w := range want.Owners {
		expect := []int32{int32(w.Seq), w.Layer, w.Head, w.Logical}
		if w.Seq == kv.NoSeq {
			expect = []int32{-1, -1, -1, -1}
		}
		if got := owners[4*b:][:4]; !slices.Equal(got, expect) {
			return fmt.Errorf("block %d has owner %v, not %v", b, got, expect)
		}
	}
	for i, q := range want.Sequences {
		lengths, err := download[int32](s, s.lengthsOf(rows[i]), s.heads())
		if err != nil {
			return err
		}
		for j, h := range q.Heads {
			if int(lengths[j]) != h.Len {
				return fmt.Errorf("sequence %d, head %d has %d KVs, not %d", q.ID, j, lengths[j], h.Len)
			}
			table, err := download[int32](s, s.tablesOf(rows[i])+device.Ptr(4*j*s.maxBlocks), len(h.Table))
			if err != nil {
				return err
			}
			if !slices.Equal(table, h.Table) {
				return fmt.Errorf("sequence %d, head %d has blocks %v, not %v", q.ID, j, table, h.Table)
			}
		}
	}
	return nil
}

// kvsDiffer returns the first KV in which the device's state differs from a cache.
func kvsDiffer(s *state, want *kv.Snapshot) error {
	row := s.cfg.Shape.HeadSize * s.cfg.DType.Size()
	for _, q := range want.Sequences {
		for j, h := range q.Heads {
			for logical := range h.Len {
				slot := h.Slot(logical, s.cfg.BlockSize)
				for _, a := range []struct {
					name string
					from device.Ptr
					want []byte
				}{
					{"key", s.keys + device.Ptr(slot*row), want.Keys[slot*row:][:row]},
					{"value", s.values + device.Ptr(slot*row), want.Values[slot*row:][:row]},
					{"metric", s.metrics + device.Ptr(4*slot), encode(want.Data[0][slot:][:1])},
					{"position", s.positions + device.Ptr(4*slot), encode(want.Positions[slot:][:1])},
				} {
					got := make([]byte, len(a.want))
					if err := s.dev.Read(got, a.from); err != nil {
						return err
					}
					if !slices.Equal(got, a.want) {
						return fmt.Errorf("sequence %d, head %d, KV %d has %s % x, not % x", q.ID, j, logical, a.name, got, a.want)
					}
				}
			}
		}
	}
	return nil
}

// tokens are tensors with a number of tokens and no contents.
type tokens int

func (n tokens) Tokens() int  { return int(n) }
func (n tokens) Close() error { return nil }
func (n tokens) Read(dst []float32, t trace.Tensor, layer, from, count int) error {
	for i := range dst {
		dst[i] = float32((layer*31+from*7+i*3)%17) - 8
	}
	return nil
}

// compress runs one compression of the content's sequence i on a device, and compares decision, moves and the
// resulting cache with the reference.
func (c *content) compress(t *testing.T, dev device.Device, i int) {
	t.Helper()
	method, err := c.cfg.NewMethod()
	if err != nil {
		t.Fatal(err)
	}
	var plan, spec ref.Plan
	var moved []kv.Move
	engine, err := ref.NewEngine(c.cfg, func(kv.SeqID) (trace.Tensors, error) { return tokens(1 << 20), nil }, func(e ref.Event) {
		switch e.Stage {
		case ref.StageDecide:
			plan = *e.Plan
			spec = method.Spec(ref.View{Cache: e.Cache, Sequence: e.Cache.Sequence(e.Seqs[0])})
		case ref.StageMove:
			slots := e.Parts[0].Ints
			for i := 0; i < len(slots); i += 2 {
				moved = append(moved, kv.Move{Destination: slots[i], Source: slots[i+1]})
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	cache, err := c.copy().Cache(c.cfg.Config, c.cfg.Columns())
	if err != nil {
		t.Fatal(err)
	}
	if err := engine.Restore(cache); err != nil {
		t.Fatal(err)
	}
	q := c.snap.Sequences[i]
	if _, err := engine.Compress(q.ID); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(plan, spec) {
		t.Fatal("the reference disagrees with itself")
	}

	s := c.upload(t, dev)
	var lengths []int
	for _, h := range q.Heads {
		lengths = append(lengths, h.Len)
	}
	r, err := rankingOf(c.cfg, q.Len, lengths)
	if err != nil {
		t.Fatal(err)
	}
	by := change{Ranking: r}
	d, err := s.decide(i, q.ID, q.Len, lengths, by)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.readPlan(d, &by)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, plan) {
		t.Fatalf("the plan is %+v, not %+v, by quotas %v", got, plan, r.Quotas)
	}
	m, err := s.schedule(i, d)
	if err != nil {
		t.Fatal(err)
	}
	moves, err := s.readMoves(m)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(moves, moved) {
		t.Fatalf("moves %v, not %v", moves, moved)
	}
	if err := s.move(m); err != nil {
		t.Fatal(err)
	}
	if err := s.truncate(i, d); err != nil {
		t.Fatal(err)
	}
	rows := make([]int, len(c.snap.Sequences))
	for i := range rows {
		rows[i] = i
	}
	want := engine.Cache().Snapshot()
	if err := differs(s, want, rows); err != nil {
		t.Fatal(err)
	}
	if err := kvsDiffer(s, want); err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		if err := s.release(i); err != nil {
			t.Fatal(err)
		}
		if err := engine.Release(c.snap.Sequences[i].ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := differs(s, engine.Cache().Snapshot(), nil); err != nil {
		t.Fatalf("when all are released: %v", err)
	}
}

func (c *content) copy() *kv.Snapshot {
	s := *c.snap
	s.Keys, s.Values = slices.Clone(s.Keys), slices.Clone(s.Values)
	s.Data, s.Positions = [][]float32{slices.Clone(s.Data[0])}, slices.Clone(s.Positions)
	s.Owners, s.Free = slices.Clone(s.Owners), slices.Clone(s.Free)
	s.Sequences = nil
	for _, q := range c.snap.Sequences {
		q := *q
		q.Heads = slices.Clone(q.Heads)
		for i := range q.Heads {
			q.Heads[i].Table = slices.Clone(q.Heads[i].Table)
		}
		s.Sequences = append(s.Sequences, &q)
	}
	return &s
}

// stateFor is newState for the configuration's method.
func stateFor(dev device.Device, cfg ref.Config, rows, tokens int) (*state, error) {
	method, err := cfg.NewMethod()
	if err != nil {
		return nil, err
	}
	return newState(dev, cfg, method, rows, tokens)
}

// rankingOf returns how the configuration's method ranks the KVs of a sequence with the given number of
// tokens and lengths of its heads.
func rankingOf(cfg ref.Config, tokens int, lengths []int) (ref.Ranking, error) {
	method, err := cfg.NewMethod()
	if err != nil {
		return ref.Ranking{}, err
	}
	return method.(ref.Dropper).Rank(ref.Counts{Tokens: tokens, Heads: lengths}), nil
}

// parsed is shared by the devices of all tests, which load the same modules.
var parsed ptx.Cache

// checked returns a PTX machine with all checks on, which runs blocks and warps in an order that depends on
// the seed.
func checked(t *testing.T, shuffle uint64) *ptx.Device {
	dev := ptx.New(ptx.Options{Checks: ptx.AllChecks(), Shuffle: shuffle, Cache: &parsed})
	t.Cleanup(func() {
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
	return dev
}

// TestCompress compares compressions of random caches with the reference.
func TestCompress(t *testing.T) {
	cases := testsize.Of(15, 40, 150)
	for seed := range uint64(cases) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 31))
			c := randomContent(rng, []int{5, 40, 300, 1100}[rng.IntN(4)])
			if t.Failed() {
				t.Log(c.cfg)
			}
			c.compress(t, checked(t, seed%3), rng.IntN(len(c.snap.Sequences)))
			if t.Failed() {
				t.Log(c.cfg)
			}
		})
	}
}
