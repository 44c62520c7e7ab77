package kernels

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"kvcompress/dtype"
	"kvcompress/internal/ceil"
	"kvcompress/kernels/device"
	"kvcompress/kv"
	"kvcompress/ref"
)

// measureSizes are the sizes of a run of measurements. The shape is Llama-3.1-8B's
// (32 layers of 8 KV heads of 4 query heads, head size 128, f16, blocks of 16) where
// they are the real ones.
type measureSizes struct {
	repeat       int
	layers       int
	kvHeads      int
	headSize     int
	copied       int64    // bytes
	prompt       int      // tokens of a prompt whose keys and values are stored, in one layer
	observed     int      // tokens of a prompt whose metrics are made, in one layer
	window       int      // queries that make them
	decodes      [][2]int // sequences and tokens of decode attention, in one layer
	batch        int      // sequences of a decode step
	decisions    []int    // KVs of each head, in all layers
	movedPerHead int      // KVs of each head, in all layers, half of which are evicted
}

var (
	realSizes = measureSizes{
		repeat: 20, layers: 32, kvHeads: 8, headSize: 128, copied: 1 << 30,
		prompt: 1 << 17, observed: 8192, window: 32,
		decodes: [][2]int{{64, 4096}, {1, 131072}, {256, 512}}, batch: 64,
		decisions: []int{6000, 19532, 195313}, movedPerHead: 16384,
	}
	tinySizes = measureSizes{
		repeat: 1, layers: 2, kvHeads: 2, headSize: 32, copied: 1 << 12,
		prompt: 40, observed: 130, window: 3,
		decodes: [][2]int{{2, 150}}, batch: 3,
		decisions: []int{70}, movedPerHead: 64,
	}
)

// all measures every stage.
func (m *measuring) all(z measureSizes) error {
	errs := []error{m.copies(z.copied), m.stores(z), m.observes(z)}
	for _, d := range z.decodes {
		errs = append(errs, m.decodes(z, d[0], d[1]))
	}
	errs = append(errs, m.steps(z))
	for _, n := range z.decisions {
		errs = append(errs, m.decides(z, n))
	}
	errs = append(errs, m.moves(z))
	return errors.Join(errs...)
}

// filled is a state with rows sequences that hold the same number of KVs in every
// head, in blocks that are scattered over the cache.
type filled struct {
	*state
	kvs       int // of each head
	tables    []int32
	lengths   []int32
	metrics   []float32 // by slot
	freeWords []byte    // of the free list, all set
}

// fill makes such a state with room for one more token. Keys and values are 1.
func (m *measuring) fill(z measureSizes, layers, headSize, rows, kvs int) (*filled, error) {
	cfg := ref.Default()
	cfg.Shape = kv.Shape{Layers: layers, KVHeads: z.kvHeads, Group: 4, HeadSize: headSize}
	heads := rows * layers * z.kvHeads
	used := ceil.Div(kvs, cfg.BlockSize)
	cfg.Blocks = heads * (used + 1)
	s, err := stateFor(m.dev, cfg, rows, kvs+1)
	if err != nil {
		return nil, err
	}
	f := &filled{state: s, kvs: kvs, tables: make([]int32, heads*s.maxBlocks), lengths: make([]int32, heads)}
	rng := rand.New(rand.NewPCG(1, 2))
	blocks := rng.Perm(cfg.Blocks)
	f.metrics = make([]float32, cfg.Blocks*cfg.BlockSize)
	positions := make([]int32, len(f.metrics))
	for h := range f.lengths {
		f.lengths[h] = int32(kvs)
		table := f.tables[h*s.maxBlocks : (h+1)*s.maxBlocks]
		for i := range table {
			if table[i] = -1; i >= used {
				continue
			}
			table[i] = int32(blocks[h*used+i])
			for o := range cfg.BlockSize {
				slot := int(table[i])*cfg.BlockSize + o
				positions[slot] = int32(i*cfg.BlockSize + o)
				f.metrics[slot] = float32(rng.ExpFloat64())
			}
		}
	}
	f.freeWords = make([]byte, 4*freeWords(cfg.Blocks))
	for b := range cfg.Blocks {
		f.freeWords[b/8] |= 1 << (b % 8)
	}
	slots := int64(len(f.metrics))
	row := make([]byte, headSize*cfg.DType.Size())
	ones := make([]float32, headSize)
	for i := range ones {
		ones[i] = 1
	}
	cfg.DType.Encode(row, ones)
	return f, errors.Join(
		f.reset(),
		m.dev.Write(s.metrics, encode(f.metrics)),
		m.dev.Write(s.positions, encode(positions)),
		m.dev.Fill(s.owners, 0, int64(cfg.Blocks)*16),
		m.tile(s.keys, row, slots*int64(len(row))),
		m.tile(s.values, row, slots*int64(len(row))),
	)
}

// reset writes tables, lengths and the free list as they were. That blocks are both
// in tables and free does not hurt: nothing that is measured looks.
func (f *filled) reset() error {
	return errors.Join(
		f.dev.Write(f.state.tables, encode(f.tables)),
		f.dev.Write(f.state.lengths, encode(f.lengths)),
		f.dev.Write(f.free, f.freeWords),
	)
}

// tile fills memory with copies of a piece.
func (m *measuring) tile(p device.Ptr, piece []byte, size int64) error {
	n := int64(min(len(piece), int(size)))
	if err := m.dev.Write(p, piece[:n]); err != nil {
		return err
	}
	for ; n < size; n *= 2 {
		if err := m.dev.Copy(p+device.Ptr(n), p, min(n, size-n)); err != nil {
			return err
		}
	}
	return nil
}

// numbers allocates n random float32 in [-1, 1): a million that repeat.
func (m *measuring) numbers(s *state, name string, n int) (device.Ptr, error) {
	rng := rand.New(rand.NewPCG(3, uint64(n)))
	some := make([]float32, min(n, 1<<20))
	for i := range some {
		some[i] = 2*rng.Float32() - 1
	}
	p, err := s.buffer(name, 4*n)
	if err != nil {
		return 0, err
	}
	return p, m.tile(p, encode(some), 4*int64(n))
}

// batch uploads a batch of the first n rows at a position.
func (f *filled) batch(n int) (batch, error) {
	rows, positions := make([]int32, n), make([]int32, n)
	for i := range rows {
		rows[i], positions[i] = int32(i), int32(f.kvs)
	}
	r, err := upload(f.state, "batch rows", rows)
	if err != nil {
		return batch{}, err
	}
	p, err := upload(f.state, "batch positions", positions)
	return batch{n: n, rows: r, ids: r, positions: p, times: p}, err
}

// stores measures the append of a prompt in one layer.
func (m *measuring) stores(z measureSizes) error {
	f, err := m.fill(z, 1, z.headSize, 1, z.prompt)
	if err != nil {
		return err
	}
	n := z.prompt * z.kvHeads
	k, err := m.numbers(f.state, "k", n*z.headSize)
	if err != nil {
		return err
	}
	v, err := m.numbers(f.state, "v", n*z.headSize)
	if err != nil {
		return err
	}
	bytes := int64(n) * int64(2*z.headSize*4+2*z.headSize*f.cfg.DType.Size()+8)
	return errors.Join(m.stage("append of a prompt", fmt.Sprintf("%d KVs", n), bytes, nil, func() error {
		return f.storePrompt(0, 0, z.prompt, k, v)
	}), f.close())
}

// observes measures the metrics of a prompt in one layer.
func (m *measuring) observes(z measureSizes) error {
	f, err := m.fill(z, 1, z.headSize, 1, z.observed)
	if err != nil {
		return err
	}
	shape := f.cfg.Shape
	q, err := m.numbers(f.state, "q", z.window*shape.KVHeads*shape.Group*shape.HeadSize)
	if err != nil {
		return err
	}
	k, err := m.numbers(f.state, "k", z.observed*shape.KVHeads*shape.HeadSize)
	if err != nil {
		return err
	}
	bytes := int64(z.observed*shape.KVHeads) * int64(shape.HeadSize*4+4)
	return errors.Join(m.stage("prefill metrics", fmt.Sprintf("%d tokens, %d queries", z.observed, z.window), bytes, nil, func() error {
		return f.prefillMetrics(f.watched, 0, 0, z.observed, z.window, q, k)
	}), f.close())
}

// decodes measures decode attention in one layer.
func (m *measuring) decodes(z measureSizes, sequences, tokens int) error {
	f, err := m.fill(z, 1, z.headSize, sequences, tokens)
	if err != nil {
		return err
	}
	shape := f.cfg.Shape
	row := shape.KVHeads * shape.Group * shape.HeadSize
	q, err := m.numbers(f.state, "q", sequences*row)
	if err != nil {
		return err
	}
	out, err := f.buffer("out", 4*sequences*row)
	if err != nil {
		return err
	}
	b, err := f.batch(sequences)
	if err != nil {
		return err
	}
	kvs := sequences * shape.KVHeads * tokens
	bytes := int64(kvs) * int64(2*shape.HeadSize*f.cfg.DType.Size()+12) // position, and metric read and written
	return errors.Join(m.stage("decode attention", fmt.Sprintf("%d × %d tokens", sequences, tokens), bytes, nil, func() error {
		return f.attend(b, 0, tokens, q, out)
	}), f.close())
}

// steps measures what a decode step does apart from attention, in all layers: room in
// every head, where every head needs a block, and the append in one layer.
func (m *measuring) steps(z measureSizes) error {
	tokens := 16 * ref.Default().BlockSize
	f, err := m.fill(z, z.layers, z.headSize, z.batch, tokens)
	if err != nil {
		return err
	}
	b, err := f.batch(z.batch)
	if err != nil {
		return err
	}
	heads := z.batch * f.heads()
	// A word of the free list for 32 blocks; a length read and written; a table
	// entry and an owner written.
	bytes := int64(4*freeWords(f.cfg.Blocks)) + int64(heads)*(8+4+16)
	if err := m.stage("allocation in a decode step", fmt.Sprintf("%d blocks", heads), bytes, f.reset, func() error {
		return f.allocateTokens(b, heads)
	}); err != nil {
		return err
	}
	n := z.batch * z.kvHeads
	k, err := m.numbers(f.state, "k", n*z.headSize)
	if err != nil {
		return err
	}
	bytes = int64(n) * int64(2*z.headSize*4+2*z.headSize*f.cfg.DType.Size()+8)
	return errors.Join(m.stage("append of a token", fmt.Sprintf("%d KVs", n), bytes, nil, func() error {
		return f.storeTokens(b, 0, k, k)
	}), f.close())
}

// decides measures the eviction decision of a sequence that loses half its blocks.
// It reads no keys and values, so their heads are small here.
func (m *measuring) decides(z measureSizes, kvs int) error {
	f, err := m.fill(z, z.layers, 8, 1, kvs)
	if err != nil {
		return err
	}
	heads := f.heads()
	n := heads * kvs
	keys := make([]float32, 0, n)
	for h := range heads {
		for i := range kvs {
			block := int(f.tables[h*f.maxBlocks+i/f.cfg.BlockSize])
			keys = append(keys, f.metrics[block*f.cfg.BlockSize+i%f.cfg.BlockSize])
		}
	}
	if err := m.saveKeys(keys, heads); err != nil {
		return err
	}
	lengths := make([]int, heads)
	for i := range lengths {
		lengths[i] = kvs
	}
	r, err := rankingOf(f.cfg, kvs, lengths)
	if err != nil {
		return err
	}
	r.Quotas = []ref.Quota{{First: 0, Heads: heads, Units: heads * ceil.Div(kvs, f.cfg.BlockSize) / 2}}
	bytes := int64(n)*8 + int64(n/2)*4 // metric and position read, what falls written
	if err := m.stage("eviction decision", fmt.Sprintf("%d KVs", n), bytes, nil, func() error {
		_, err := f.decide(0, 0, kvs, lengths, change{Ranking: r})
		return err
	}); err != nil {
		return err
	}
	scratch := int64(0)
	for _, b := range f.buffers {
		scratch += b.size
	}
	m.results[len(m.results)-1].scratch = float64(scratch) / float64(n)
	return f.close()
}

// moves measures the operations after a decision that evicts half of a sequence.
func (m *measuring) moves(z measureSizes) error {
	kvs := z.movedPerHead
	f, err := m.fill(z, z.layers, z.headSize, 1, kvs)
	if err != nil {
		return err
	}
	heads := f.heads()
	lengths := make([]int, heads)
	for i := range lengths {
		lengths[i] = kvs
	}
	r, err := rankingOf(f.cfg, kvs, lengths)
	if err != nil {
		return err
	}
	r.Quotas = []ref.Quota{{First: 0, Heads: heads, Units: heads * kvs / f.cfg.BlockSize / 2}}
	d, err := f.decide(0, 0, kvs, lengths, change{Ranking: r})
	if err != nil {
		return err
	}
	moves, err := f.schedule(0, d)
	if err != nil {
		return err
	}
	size := fmt.Sprintf("%d moves", moves.n)
	evicted := 0
	for _, h := range d.heads {
		evicted += h.kvs
	}
	row := int64(2*z.headSize*dtype.F16.Size() + 8)
	return errors.Join(
		m.stage("move scheduling", size, int64(4*evicted)+int64(moves.n)*(8+8), nil, func() error {
			_, err := f.schedule(0, d)
			return err
		}),
		m.stage("move execution", size, int64(moves.n)*(8+2*row), nil, func() error { return f.move(moves) }),
		m.stage("freeing of blocks", fmt.Sprintf("%d blocks", d.freed()), int64(d.freed())*(4+4+16), f.reset, func() error {
			return f.truncate(0, d)
		}),
		f.close(),
	)
}
