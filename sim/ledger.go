package sim

import (
	"fmt"
	"math"
	"math/bits"
	"slices"

	"kvcompress/kv"
	"kvcompress/ref"
)

// MaxLedgerBlocks bounds the blocks of a ledger.
const MaxLedgerBlocks = 1 << 36

// Ledger is a cache without keys and values: it only counts the KVs and blocks of each head of each
// sequence, and has the same counts as an engine.
//
// Consecutive heads of a sequence with the same number of KVs are counted together, so an uncompressed
// sequence takes as much time as a single head. A decode step of all sequences takes constant time:
// lengths, which grow by one in each step, are stored relative to the number of steps so far.
type Ledger struct {
	cfg      ref.Config
	method   ref.Method
	blocks   bool        // the method is KV-Compress, which asks for blocks
	patient  ref.Patient // the method, if it is one
	spread   Spread
	counting Counting
	replays  bool // the spread replays an engine's compressions, so every compression must call it
	heads    int  // L·H
	blockSize
	full    int // heads without a sliding window: all, without a layout
	fixed   int // blocks that a sequence has, independent of its length: see Layout
	windows windows
	groups  []int // windows of the groups of layers, 0 for none, in V1's order: see Layout; nil if they are unknown

	own   map[kv.SeqID]*compressor // by sequence, for those with options of their own
	seqs  accounts
	spare []*account // released accounts, for reuse

	packer    packer     // nil if the method does not pack
	packing   packing    // of all sequences
	selection *Selection // nil if queries read all KVs held
	prefixes  *prefixes  // nil without prefix caching
	reserved  int        // number of reserved sequences
	pool      *blockPool // of vLLM V1, which then counts the blocks in use; else nil
	unit      int        // heads of a group of layers: a block of the pool is one block of each; 0 if there are no groups
	batches   int        // number of batches decoded
	courses   *courses   // nil if results of compressions cannot be cached
	scratch   outcome    // of predict and compressNew
	levels    *levels    // nil if compressions do not go by level

	steps       int         // decode steps so far, of all sequences at once
	used        int         // blocks that are not free; 0 with a pool
	tables      int         // entries of the block tables of all sequences; differs from used by shared and reserved blocks
	kvs         int         // of all sequences
	denseKVs    int         // Σ tokens·L·H
	denseBlocks int         // Σ ⌈tokens/B⌉·L·H
	growing     int         // heads that gain a KV in a decode step
	phases      [maxB]int   // number of heads, by their length at step 0 modulo B
	densePhases [maxB]int   // the same if nothing had been evicted
	quotas      []ref.Quota // of the last compression
	quotasOf    int         // sum of the units of quotas
	undone      int         // sequences whose heads each lost a single-KV block since the last decode step; far below 0 after an admission or release
	asked       Demand      // scratch, like runs, lost and lengths
	runs, lost  []Heads
	lengths     []int
}

// maxB bounds the tokens of a block. Without compression a block may be larger than an engine's.
const maxB = 256

// account is one sequence's share of the cache.
type account struct {
	id       kv.SeqID
	link     *account // next in a hash chain: see accounts
	prompt   int      // tokens of the prompt
	tokens   int      // its number of tokens minus Ledger.steps
	runs     []run    // its heads, in order; unused at a stage: see heads
	stage    *stage
	lookedUp bool // its state has been looked up in courses; if stage is nil, it was not found
	misses   int  // number of its last states in a row that were not found in courses
	asksAt   int  // its method asks for nothing while it has fewer tokens than this

	settled settled // set by compressions by level

	// If the last compression evicted exactly the KVs of the token before it, undoneAt is the
	// number of tokens then: with one token more, the result is undoneAs again. Else it is never.
	undoneAt int
	undoneAs ref.Compressed

	packed packed // KVs in quantized or merged pages

	batch    int          // the last batch that it was decoded in, except batches of all sequences
	reserved bool         // not admitted yet: it counts only in used
	last     *prefixBlock // the last full block of its prompt; nil without prefix caching
	shared   int          // blocks of the cache in its prefix blocks
}

// never is an undoneAt that matches no number of tokens.
const never = -1

// run is a number of consecutive heads of a sequence, each of which has lost gone KVs.
type run struct{ heads, gone int }

// NewLedger returns an empty ledger. It may have far more blocks than an engine. spread may be nil, for
// [Even].
func NewLedger(cfg *ref.Config, spread Spread) (*Ledger, error) {
	checked := *cfg
	checked.Blocks = 1
	if b := cfg.BlockSize; b > 0 && b <= maxB && b&(b-1) == 0 && !cfg.Compresses() {
		checked.BlockSize = min(b, slices.Max(kv.BlockSizes()))
	}
	if err := checked.Validate(); err != nil {
		return nil, err
	}
	if cfg.Blocks < 1 || cfg.Blocks > MaxLedgerBlocks {
		return nil, fmt.Errorf("sim: blocks %d is not from 1 to %d", cfg.Blocks, MaxLedgerBlocks)
	}
	if heads := cfg.Shape.Layers * cfg.Shape.KVHeads; heads > MaxLedgerHeads || cfg.Shape.Layers > MaxLedgerHeads {
		return nil, fmt.Errorf("sim: %d layers of %d KV heads are more than %d heads", cfg.Shape.Layers, cfg.Shape.KVHeads, MaxLedgerHeads)
	}
	if spread == nil {
		spread = Even()
	}
	method, err := checked.NewMethod()
	if err != nil {
		return nil, err
	}
	if err := countable(method); err != nil {
		return nil, err
	}
	if m, ok := method.(ref.Merger); ok {
		if _, known := m.Retains(1); !known {
			if _, ok := spread.(retainer); !ok {
				return nil, fmt.Errorf("sim: method %s: the number of tokens retained by threshold depends on keys and values, which a ledger does not have: set retain=ratio append=merge", method.Name())
			}
		}
	}
	patient, _ := method.(ref.Patient)
	_, replays := spread.(interface{ Refined() })
	packer := packerOf(&checked, method)
	courses := newCourses(cfg, spread)
	if packer != nil { // courses do not cover the packed state
		courses = nil
	}
	return &Ledger{
		cfg:       *cfg,
		method:    method,
		blocks:    method.Name() == ref.KVCompress,
		patient:   patient,
		spread:    spread,
		packer:    packer,
		replays:   replays,
		courses:   courses,
		levels:    newLevels(cfg, method.Name() == ref.KVCompress, spread),
		heads:     cfg.Shape.Layers * cfg.Shape.KVHeads,
		blockSize: blockSizeOf(cfg.BlockSize),
		full:      cfg.Shape.Layers * cfg.Shape.KVHeads,
		unit:      cfg.Shape.Layers * cfg.Shape.KVHeads,
		groups:    []int{0},
		own:       map[kv.SeqID]*compressor{},
	}, nil
}

// MaxLedgerHeads bounds the number of KV heads over all layers.
const MaxLedgerHeads = 1 << 20

// Blocks returns the total number of blocks.
func (l *Ledger) Blocks() int { return l.cfg.Blocks }

// Free returns the number of free blocks. They include blocks of cached prefixes that no
// sequence uses.
func (l *Ledger) Free() int {
	if l.pool != nil {
		return l.unit * l.pool.n
	}
	return l.cfg.Blocks - l.used
}

// PrefillNeed returns the number of blocks that a prompt of n tokens takes.
func (l *Ledger) PrefillNeed(n int) int {
	return l.full*l.blocksOf(n) + l.windows.heads*l.blocksOf(l.windows.window(n)) + l.fixed
}

// DecodeNeed returns the number of blocks that the sequence's next token takes: one for each head whose
// last block is full.
func (l *Ledger) DecodeNeed(id kv.SeqID) int {
	need := 0
	if a := l.seqs.of(id); a != nil {
		for _, r := range a.heads() {
			if l.length(a, r)%l.cfg.BlockSize == 0 {
				need += r.heads
			}
		}
		if n := a.tokens + l.steps; n < l.windows.size && n%l.cfg.BlockSize == 0 {
			need += l.windows.heads
		}
	}
	return need
}

// Config returns the ledger's configuration.
func (l *Ledger) Config() ref.Config { return l.cfg }

// Held returns the number of blocks that a sequence holds.
func (l *Ledger) Held(id kv.SeqID) int {
	if a := l.seqs.of(id); a != nil {
		_, blocks := l.holds(a)
		return blocks
	}
	return 0
}

// Prefill adds a sequence of n tokens. If there are not enough blocks it returns a *kv.ErrNoBlocks and
// changes nothing.
func (l *Ledger) Prefill(id kv.SeqID, n int) error {
	if l.seqs.of(id) != nil {
		return fmt.Errorf("sim: sequence %d is already in the ledger", id)
	}
	if n < 1 {
		return fmt.Errorf("sim: a prompt of %d tokens", n)
	}
	need := l.PrefillNeed(n)
	if need > l.Free() {
		return &kv.ErrNoBlocks{Need: need, Free: l.Free()}
	}
	a := l.open()
	a.reserved, a.last, a.shared = false, nil, 0
	a.prompt, a.asksAt, a.undoneAt = n, 0, never
	a.tokens = n - l.steps
	a.runs = l.growingRuns(a.runs[:0])
	l.seqs.add(id, a)
	l.undone = math.MinInt
	l.take(need)
	l.enter(a, 1)
	return nil
}

// Decode adds a token to each sequence of a batch. If there are not enough blocks it returns a
// *kv.ErrNoBlocks and changes nothing.
func (l *Ledger) Decode(batch []kv.SeqID) error {
	all := len(batch) == l.seqs.len()-l.reserved
	need := 0
	l.batches++
	for _, id := range batch {
		a := l.seqs.of(id)
		if a == nil || a.reserved {
			return fmt.Errorf("sim: sequence %d is not in the ledger", id)
		}
		if a.batch == l.batches {
			return fmt.Errorf("sim: sequence %d is twice in a batch", id)
		}
		a.batch = l.batches
		need += l.DecodeNeed(id)
	}
	if all {
		return l.DecodeAll(1)
	}
	if need > l.Free() {
		return &kv.ErrNoBlocks{Need: need, Free: l.Free()}
	}
	l.undone = 0
	l.take(need)
	for _, id := range batch {
		a := l.seqs.of(id)
		l.enter(a, -1)
		a.tokens++
		l.enter(a, 1)
	}
	return nil
}

// NeedAll returns the number of blocks that the next decode steps of all sequences take. If a pool
// counts blocks, the blocks that leave a window in these steps are not subtracted.
func (l *Ledger) NeedAll(steps int) int {
	need := l.grown(steps)
	switch w := &l.windows; {
	case w.heads == 0:
	case l.pool == nil:
		need += w.ahead(l.steps, steps, l.cfg.BlockSize).need
	default:
		need += w.heads * crossings(&w.all, w.seqs, l.cfg.BlockSize, l.steps, steps)
	}
	return need
}

// grown returns the number of blocks that the heads without windows take in the next decode steps.
func (l *Ledger) grown(steps int) int {
	return crossings(&l.phases, l.growing, l.cfg.BlockSize, l.steps, steps)
}

// DecodeAll adds steps tokens to each sequence. If there are not enough blocks it returns a
// *kv.ErrNoBlocks and changes nothing.
func (l *Ledger) DecodeAll(steps int) error {
	need := l.NeedAll(steps)
	if need > l.Free() {
		return &kv.ErrNoBlocks{Need: need, Free: l.Free()}
	}
	l.undone = 0
	l.take(need)
	if l.windows.heads > 0 {
		need = l.grown(steps)
		l.windows.advance(l.steps, steps, l.cfg.BlockSize)
	}
	l.tables += need
	l.kvs += steps * l.growing
	l.denseKVs += steps * l.growing
	l.denseBlocks += crossings(&l.densePhases, l.growing, l.cfg.BlockSize, l.steps, steps)
	l.steps += steps
	return nil
}

// ReadAll returns the numbers of KVs and blocks that the attention of the next decode steps of all
// sequences reads, including the token of each step itself. KVs with a quantized or merged key or value
// are not counted: see ReadQuantized.
func (l *Ledger) ReadAll(steps int) (kvs, blocks int64) {
	if l.selection != nil {
		return l.selectAll(steps)
	}
	kvs, blocks = readSteps(l.kvs-l.packing.kvs, l.tables, l.growing, &l.phases, l.steps, steps, l.cfg.BlockSize)
	if l.windows.heads > 0 {
		more := l.windows.ahead(l.steps, steps, l.cfg.BlockSize)
		kvs, blocks = kvs+more.kvs, blocks+more.blocks
	}
	return kvs, blocks
}

// phase returns the number of heads whose lengths are n modulo B.
func (l *Ledger) phase(n int) *int {
	return &l.phases[uint8(n-l.steps)&uint8(l.cfg.BlockSize-1)] // maxB is 256
}

// readSteps returns the numbers of KVs and blocks that the next steps read from heads that hold held KVs
// in tables blocks. growing of these heads gain a KV in each step; phases counts them by length modulo
// the block size.
func readSteps(held, tables, growing int, phases *[maxB]int, now, steps, size int) (kvs, blocks int64) {
	n, b := int64(steps), int64(size)
	kvs = n*int64(held) + int64(growing)*(n*(n+1)/2)
	blocks = n * int64(tables)
	if n <= b {
		taken := 0 // blocks taken by the steps so far
		for k := range steps {
			taken += phases[-(now+k)&(size-1)]
			blocks += int64(taken)
		}
		return kvs, blocks
	}
	// Heads that take a block in step first take another in every B-th step after it, and each block is
	// read from then on.
	shift := bits.TrailingZeros(uint(size))
	for first := range b {
		times := (n - first + b - 1) >> shift
		blocks += int64(phases[-(now+int(first))&int(b-1)]) * (times*(n-first) - b*(times*(times-1)/2))
	}
	return kvs, blocks
}

// crossings returns the number of blocks that the next steps take: one for each head in every B-th step.
// phases counts the heads by length modulo B, heads is their sum, and B is a power of two.
func crossings(phases *[maxB]int, heads, b, now, steps int) int {
	n := steps >> bits.TrailingZeros(uint(b)) * heads
	for k := range steps & (b - 1) {
		n += phases[-(now+k)&(b-1)]
	}
	return n
}

// Release removes a sequence and frees its blocks.
func (l *Ledger) Release(id kv.SeqID) error {
	a := l.seqs.of(id)
	if a == nil {
		return fmt.Errorf("sim: sequence %d is not in the ledger", id)
	}
	if a.reserved {
		l.use(-l.PrefillNeed(a.tokens))
		l.reserved--
	} else {
		_, blocks := l.holds(a)
		l.use(-blocks)
		l.enter(a, -1)
	}
	if l.prefixes != nil {
		l.used += a.shared - l.prefixes.leave(a)
	}
	l.seqs.remove(a)
	delete(l.own, id)
	a.leave()
	l.undone = math.MinInt // the sequence may have been counted in undone
	l.spare = append(l.spare, a)
	return nil
}

// enter adds an account to the sums, or removes it if sign is −1. The caller counts the blocks in use.
func (l *Ledger) enter(a *account, sign int) {
	b := l.cfg.BlockSize
	for _, r := range a.heads() {
		n := l.length(a, r)
		l.kvs += sign * r.heads * n
		l.tables += sign * r.heads * l.blocksOf(n)
		l.phases[(a.tokens-r.gone)&(b-1)] += sign * r.heads
	}
	tokens := a.tokens + l.steps
	l.growing += sign * l.full
	l.denseKVs += sign * l.full * tokens
	l.denseBlocks += sign * l.full * l.blocksOf(tokens)
	l.densePhases[a.tokens&(b-1)] += sign * l.full
	l.windows.enter(a.tokens, l.steps, b, sign)
	l.tables += sign * a.more()
	l.packing.add(&a.packed.sum, sign)
}

// growingRuns appends the runs of a sequence whose heads hold every token.
func (l *Ledger) growingRuns(to []run) []run {
	if l.full > 0 {
		to = append(to, run{l.full, 0})
	}
	return to
}

// take takes n blocks. At least n must be free.
func (l *Ledger) take(n int) {
	l.use(n)
	if l.prefixes != nil {
		l.prefixes.shrink((l.cfg.Blocks - l.used) / l.prefixes.blocks)
	}
}

// use counts n more blocks in use, unless a pool counts them.
func (l *Ledger) use(n int) {
	if l.pool == nil {
		l.used += n
	}
}

func (l *Ledger) open() *account {
	if n := len(l.spare); n > 0 {
		a := l.spare[n-1]
		l.spare = l.spare[:n-1]
		a.packed, a.misses, a.settled.level = packed{}, 0, 0
		return a
	}
	return &account{}
}

// holds returns the numbers of KVs and blocks that a sequence holds.
func (l *Ledger) holds(a *account) (kvs, blocks int) {
	for _, r := range a.heads() {
		n := l.length(a, r)
		kvs += r.heads * n
		blocks += r.heads * l.blocksOf(n)
	}
	n := l.windows.window(a.tokens + l.steps)
	return kvs + l.windows.heads*n, blocks + l.windows.heads*l.blocksOf(n) + l.fixed + a.more()
}

func (l *Ledger) length(a *account, r run) int { return a.tokens + l.steps - r.gone }
