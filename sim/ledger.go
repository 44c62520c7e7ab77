package sim

import (
	"fmt"
	"math"

	"kvcompress/ref"
)

// MaxLedgerBlocks bounds the blocks of a ledger.
const MaxLedgerBlocks = 1 << 36

// Ledger is a cache that only counts: how many KVs and blocks every head of every
// sequence has, exactly as an engine has them, and no K or V.
//
// Heads of a sequence that hold as many KVs are counted together, so an
// uncompressed sequence costs as much as a single head. And a decode step costs the
// same for any number of sequences: what grows by one token in each step is kept
// relative to the number of steps so far.
type Ledger struct {
	cfg    ref.Config
	spread Spread
	heads  int // L·H

	seqs  map[ref.SeqID]*account
	spare []*account // closed ones, to be used again

	prefixes *prefixes // nil without prefix caching
	reserved int       // sequences that are

	steps       int         // decode steps so far, of all sequences at once
	used        int         // blocks that are not free
	tables      int         // entries of the block tables of all sequences; the same, but for shared and reserved blocks
	kvs         int         // of all sequences
	denseKVs    int         // Σ tokens·L·H
	denseBlocks int         // Σ ⌈tokens/B⌉·L·H
	growing     int         // heads that gain a KV in a decode step
	phases      [maxB]int   // heads, by what their length was at step 0, modulo B
	densePhases [maxB]int   // likewise, had nothing been evicted
	quotas      []ref.Quota // of the last compression
	quotasOf    int         // what they share out
	undone      int         // sequences of which every head, since the last decode step, lost a KV that was a block; far below 0 where sequences came or left
	asked       Demand      // scratch, as are
	runs, lost  []Heads
}

const maxB = 32

// account is one sequence's share of the cache.
type account struct {
	tokens int   // at step 0 it would have had so many: its length is tokens + steps
	runs   []run // its heads, in order

	reserved bool  // not admitted: it is in no sum but the blocks used
	last     *part // the last of the parts of its prompt that others may use, and those before it
	shared   int   // blocks of them
}

// run is consecutive heads of equal length, which is base + steps.
type run struct{ heads, base int }

// NewLedger returns an empty ledger. Blocks may be far more than an engine's cache
// can have. spread is nil for [Even].
func NewLedger(cfg *ref.Config, spread Spread) (*Ledger, error) {
	checked := *cfg
	checked.Blocks = 1
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
	return &Ledger{
		cfg:    *cfg,
		spread: spread,
		heads:  cfg.Shape.Layers * cfg.Shape.KVHeads,
		seqs:   map[ref.SeqID]*account{},
	}, nil
}

// MaxLedgerHeads bounds the KV heads of all layers.
const MaxLedgerHeads = 1 << 20

// Blocks returns the number of blocks in all.
func (l *Ledger) Blocks() int { return l.cfg.Blocks }

// Free returns the number of free blocks. Those of cached prefixes that no sequence
// uses are free.
func (l *Ledger) Free() int { return l.cfg.Blocks - l.used }

// PrefillNeed returns how many blocks a prompt of n tokens takes.
func (l *Ledger) PrefillNeed(n int) int { return l.heads * l.blocksOf(n) }

// DecodeNeed returns how many blocks the sequence's next token takes: one for every
// head whose last block is full.
func (l *Ledger) DecodeNeed(id ref.SeqID) int {
	need := 0
	if a := l.seqs[id]; a != nil {
		for _, r := range a.runs {
			if l.length(r)%l.cfg.BlockSize == 0 {
				need += r.heads
			}
		}
	}
	return need
}

// Held returns how many blocks a sequence has.
func (l *Ledger) Held(id ref.SeqID) int {
	if a := l.seqs[id]; a != nil {
		_, blocks := l.holds(a)
		return blocks
	}
	return 0
}

// Prefill enters the first n tokens of a sequence. It returns *ref.ErrNoBlocks,
// with nothing changed, if the blocks are not there.
func (l *Ledger) Prefill(id ref.SeqID, n int) error {
	if l.seqs[id] != nil {
		return fmt.Errorf("sim: sequence %d is already in the ledger", id)
	}
	if n < 1 {
		return fmt.Errorf("sim: a prompt of %d tokens", n)
	}
	need := l.PrefillNeed(n)
	if need > l.Free() {
		return &ref.ErrNoBlocks{Need: need, Free: l.Free()}
	}
	a := l.open()
	a.reserved, a.last, a.shared = false, nil, 0
	a.tokens = n - l.steps
	a.runs = append(a.runs[:0], run{l.heads, a.tokens})
	l.seqs[id] = a
	l.undone = math.MinInt
	l.take(need)
	l.enter(a, 1)
	return nil
}

// Decode enters one more token of every sequence of a batch. It returns
// *ref.ErrNoBlocks, with nothing changed, if the blocks are not there.
func (l *Ledger) Decode(batch []ref.SeqID) error {
	all := len(batch) == len(l.seqs)-l.reserved
	need := 0
	for i, id := range batch {
		a := l.seqs[id]
		if a == nil || a.reserved {
			return fmt.Errorf("sim: sequence %d is not in the ledger", id)
		}
		if !all {
			need += l.DecodeNeed(id)
			for _, other := range batch[:i] {
				if other == id {
					return fmt.Errorf("sim: sequence %d is twice in a batch", id)
				}
			}
		}
	}
	if all {
		return l.DecodeAll(1)
	}
	if need > l.Free() {
		return &ref.ErrNoBlocks{Need: need, Free: l.Free()}
	}
	l.undone = 0
	l.take(need)
	for _, id := range batch {
		a := l.seqs[id]
		l.enter(a, -1)
		a.tokens++
		for i := range a.runs {
			a.runs[i].base++
		}
		l.enter(a, 1)
	}
	return nil
}

// NeedAll returns the blocks that so many decode steps of all sequences take.
func (l *Ledger) NeedAll(steps int) int {
	return crossings(&l.phases, l.growing, l.cfg.BlockSize, l.steps, steps)
}

// DecodeAll enters so many more tokens of every sequence. It returns
// *ref.ErrNoBlocks, with nothing changed, if the blocks are not there.
func (l *Ledger) DecodeAll(steps int) error {
	need := l.NeedAll(steps)
	if need > l.Free() {
		return &ref.ErrNoBlocks{Need: need, Free: l.Free()}
	}
	l.undone = 0
	l.take(need)
	l.tables += need
	l.kvs += steps * l.growing
	l.denseKVs += steps * l.growing
	l.denseBlocks += crossings(&l.densePhases, l.growing, l.cfg.BlockSize, l.steps, steps)
	l.steps += steps
	return nil
}

// ReadAll returns how many KVs, and how many blocks, the attention of so many
// decode steps of all sequences would read, each the token of its own step too.
func (l *Ledger) ReadAll(steps int) (kvs, blocks int64) {
	n, b := int64(steps), int64(l.cfg.BlockSize)
	kvs = n*int64(l.kvs) + int64(l.growing)*(n*(n+1)/2)
	blocks = n * int64(l.tables)
	// The heads that take a block in step first do so in every B-th step after it,
	// and each block is read from its step on.
	for first := range min(b, n) {
		times := (n - first + b - 1) / b
		blocks += int64(l.phases[-(l.steps+int(first))&int(b-1)]) * (times*(n-first) - b*(times*(times-1)/2))
	}
	return kvs, blocks
}

// Repeats reports whether, from now on, a decode step of all sequences and then a
// compression of each would come back to what there is now, again and again: the
// last ones have, for every head lost the KV that it had gained, and nothing that
// decides on that depends on how many tokens a sequence has.
func (l *Ledger) Repeats() bool {
	if l.undone != len(l.seqs) || l.cfg.Compression.MaxCacheTokens == 0 {
		return false
	}
	_, ok := l.spread.(interface{ ByHeadsOnly() })
	return ok
}

// Repeat does what so many compressions and decode steps would do, each a
// compression of every sequence and then a decode step, after the decode step that
// followed on Repeats.
func (l *Ledger) Repeat(times int) {
	l.denseKVs += times * l.growing
	l.denseBlocks += crossings(&l.densePhases, l.growing, l.cfg.BlockSize, l.steps, times)
	l.steps += times
	// Lengths stay what they are, while the steps go on.
	l.phases = [maxB]int{}
	for _, a := range l.seqs {
		for i := range a.runs {
			r := &a.runs[i]
			r.base -= times
			l.phases[r.base&(l.cfg.BlockSize-1)] += r.heads
		}
	}
}

// crossings returns how many blocks so many steps take from now on: of each
// phase's heads, one in every B-th step. heads is their sum.
func crossings(phases *[maxB]int, heads, b, now, steps int) int {
	n := steps / b * heads
	for k := range steps % b {
		n += phases[-(now+k)&(b-1)]
	}
	return n
}

// Count returns how many blocks Compress would ask a sequence for.
func (l *Ledger) Count(id ref.SeqID) int {
	a := l.seqs[id]
	if a == nil {
		return 0
	}
	return sumQuotas(l.demand(a))
}

// demand returns what each group of heads has to lose.
func (l *Ledger) demand(a *account) []ref.Quota {
	kvs, blocks := l.holds(a)
	e := l.cfg.Count(a.tokens+l.steps, kvs, blocks)
	if l.quotas == nil || e != l.quotasOf {
		l.quotas, l.quotasOf = l.cfg.Quotas(e), e
	}
	return l.quotas
}

func sumQuotas(quotas []ref.Quota) int {
	n := 0
	for _, q := range quotas {
		n += q.Blocks
	}
	return n
}

// Compress has a sequence lose what stage 1 counts, spread over its heads by the
// ledger's [Spread].
//
// How many blocks fall in all is exact: a head can lose the blocks that its KVs
// outside the sinks and the protected window fill. What is moved is estimated: the
// evicted are taken to lie evenly among the candidates.
func (l *Ledger) Compress(id ref.SeqID) (ref.Compressed, error) {
	a := l.seqs[id]
	if a == nil {
		return ref.Compressed{}, fmt.Errorf("sim: compress: sequence %d is not in the ledger", id)
	}
	quotas := l.demand(a)
	c := ref.Compressed{Asked: sumQuotas(quotas)}
	if c.Asked == 0 {
		return c, nil
	}
	opt := &l.cfg.Compression
	tokens := a.tokens + l.steps
	protected := min(tokens, opt.Sinks+opt.ProtectedWindow)
	l.runs = l.runs[:0]
	first := 0
	for _, r := range a.runs {
		h := Heads{First: first, N: r.heads, KVs: l.length(r)}
		h.Blocks = l.blocksOf(h.KVs)
		if c, candidates := l.lastBlock(h.KVs), h.KVs-protected; c > 0 && candidates >= c {
			h.Can = 1 + (candidates-c)/l.cfg.BlockSize
		}
		l.runs = append(l.runs, h)
		first += r.heads
	}
	l.asked = Demand{Seq: id, Tokens: tokens, DenseBlocks: l.blocksOf(tokens) * l.heads, Quotas: quotas, Heads: l.runs}
	l.lost = l.spread.Spread(l.lost[:0], &l.asked)
	if err := l.checkSpread(l.lost, quotas); err != nil {
		return c, fmt.Errorf("sim: compress: sequence %d: %w", id, err)
	}

	l.enter(a, -1)
	a.runs = a.runs[:0]
	undone := tokens >= opt.Sinks+opt.ProtectedWindow
	for _, h := range l.lost {
		undone = undone && h.Lost == 1 && l.lastBlock(h.KVs) == 1
		if h.Lost > 0 {
			evicted := l.lastBlock(h.KVs) + (h.Lost-1)*l.cfg.BlockSize
			c.Freed += h.N * h.Lost
			c.Evicted += h.N * evicted
			c.Moved += h.N * moved(evicted, h.KVs-protected, min(tokens, opt.ProtectedWindow))
			h.KVs -= evicted
		}
		base := h.KVs - l.steps
		if n := len(a.runs); n > 0 && a.runs[n-1].base == base {
			a.runs[n-1].heads += h.N
		} else {
			a.runs = append(a.runs, run{h.N, base})
		}
	}
	l.enter(a, 1)
	l.used -= c.Freed
	if undone {
		l.undone++
	}
	return c, nil
}

// moved estimates how many KVs of a head move when so many of its candidates are
// evicted: those that stay of as many slots at its end. The protected window, which
// lies there, always stays; of the candidates as large a part as of all.
func moved(evicted, candidates, window int) int {
	return evicted - int(int64(evicted)*int64(max(0, evicted-window))/int64(candidates))
}

// lastBlock returns c, the number of KVs in a head's last block; 0 for an empty
// head.
func (l *Ledger) lastBlock(kvs int) int {
	return kvs - (l.blocksOf(kvs)-1)*l.cfg.BlockSize*min(1, kvs)
}

// checkSpread sees that every head occurs once, in order, loses no more than it
// can, and that the blocks of each quota fall as far as there are any.
func (l *Ledger) checkSpread(lost []Heads, quotas []ref.Quota) error {
	next, q, fell, can := 0, 0, 0, 0
	for _, h := range lost {
		if h.First != next || h.N < 1 || h.Lost < 0 || h.Lost > h.Can {
			return fmt.Errorf("the spread gives heads %d to %d, after head %d, a loss of %d blocks of %d", h.First, h.First+h.N-1, next-1, h.Lost, h.Can)
		}
		next += h.N
		for q < len(quotas) && h.First >= quotas[q].First+quotas[q].Heads {
			q++
		}
		if q == len(quotas) || next <= quotas[q].First {
			if h.Lost > 0 {
				return fmt.Errorf("the spread takes blocks from heads %d to %d, which have no quota", h.First, h.First+h.N-1)
			}
			continue
		}
		fell += h.N * h.Lost
		can += h.N * h.Can
		if end := quotas[q].First + quotas[q].Heads; next >= end {
			if next > end || fell != min(can, quotas[q].Blocks) {
				return fmt.Errorf("the spread takes %d blocks from heads %d to %d: %d can fall and %d are to", fell, quotas[q].First, next-1, can, quotas[q].Blocks)
			}
			fell, can = 0, 0
		}
	}
	if next != l.heads {
		return fmt.Errorf("the spread knows %d heads of %d", next, l.heads)
	}
	return nil
}

// Release frees all that a sequence holds.
func (l *Ledger) Release(id ref.SeqID) error {
	a := l.seqs[id]
	if a == nil {
		return fmt.Errorf("sim: sequence %d is not in the ledger", id)
	}
	if a.reserved {
		l.used -= l.heads * l.blocksOf(a.tokens)
		l.reserved--
	} else {
		_, blocks := l.holds(a)
		l.used -= blocks
		l.enter(a, -1)
	}
	if l.prefixes != nil {
		l.used += a.shared - l.prefixes.leave(a)
	}
	delete(l.seqs, id)
	l.undone = math.MinInt // it may have been one of them
	l.spare = append(l.spare, a)
	return nil
}

// Lengths appends how many KVs each head of a sequence holds, in (layer, head)
// order.
func (l *Ledger) Lengths(to []int, id ref.SeqID) []int {
	if a := l.seqs[id]; a != nil {
		for _, r := range a.runs {
			for range r.heads {
				to = append(to, l.length(r))
			}
		}
	}
	return to
}

// Usage says how the cache is filled.
func (l *Ledger) Usage() ref.Usage {
	return ref.Usage{
		KVs:         l.kvs,
		DenseKVs:    l.denseKVs,
		DenseBlocks: l.denseBlocks,
		Allocated:   l.used,
		Free:        l.Free(),
		Wasted:      l.used*l.cfg.BlockSize - l.kvs,
	}
}

// HeadUsage says how many KVs and blocks each head has.
func (l *Ledger) HeadUsage() ref.HeadUsage {
	kvs, blocks := make([]int, l.heads), make([]int, l.heads)
	for _, a := range l.seqs {
		head := 0
		for _, r := range a.runs {
			n := l.length(r)
			for range r.heads {
				kvs[head] += n
				blocks[head] += l.blocksOf(n)
				head++
			}
		}
	}
	var u ref.HeadUsage
	for first := 0; first < l.heads; first += l.cfg.Shape.KVHeads {
		end := first + l.cfg.Shape.KVHeads
		u.KVs = append(u.KVs, kvs[first:end:end])
		u.Blocks = append(u.Blocks, blocks[first:end:end])
	}
	return u
}

// enter adds an account to the sums, or, with sign −1, takes it out again. The
// blocks are the caller's to count.
func (l *Ledger) enter(a *account, sign int) {
	b := l.cfg.BlockSize
	for _, r := range a.runs {
		n := l.length(r)
		l.kvs += sign * r.heads * n
		l.tables += sign * r.heads * l.blocksOf(n)
		l.phases[r.base&(b-1)] += sign * r.heads
	}
	tokens := a.tokens + l.steps
	l.growing += sign * l.heads
	l.denseKVs += sign * l.heads * tokens
	l.denseBlocks += sign * l.heads * l.blocksOf(tokens)
	l.densePhases[a.tokens&(b-1)] += sign * l.heads
}

// take takes free blocks, of which there are enough.
func (l *Ledger) take(n int) {
	l.used += n
	if l.prefixes != nil {
		l.prefixes.shrink((l.cfg.Blocks - l.used) / l.prefixes.blocks)
	}
}

func (l *Ledger) open() *account {
	if n := len(l.spare); n > 0 {
		a := l.spare[n-1]
		l.spare = l.spare[:n-1]
		return a
	}
	return &account{}
}

// holds returns how many KVs and blocks a sequence has.
func (l *Ledger) holds(a *account) (kvs, blocks int) {
	for _, r := range a.runs {
		n := l.length(r)
		kvs += r.heads * n
		blocks += r.heads * l.blocksOf(n)
	}
	return kvs, blocks
}

func (l *Ledger) length(r run) int { return r.base + l.steps }

// blocksOf returns ⌈n/B⌉.
func (l *Ledger) blocksOf(n int) int { return (n + l.cfg.BlockSize - 1) / l.cfg.BlockSize }

// audit counts everything anew and returns an error where a sum is wrong.
func (l *Ledger) audit() error {
	var want Ledger
	used := 0
	for _, a := range l.seqs {
		if a.reserved {
			used += l.heads*l.blocksOf(a.tokens) - a.shared
			continue
		}
		kvs, blocks := l.holds(a)
		want.kvs += kvs
		want.tables += blocks
		used += blocks - a.shared
		want.growing += l.heads
		want.denseKVs += l.heads * (a.tokens + l.steps)
		want.denseBlocks += l.heads * l.blocksOf(a.tokens+l.steps)
	}
	if p := l.prefixes; p != nil {
		used += (len(p.parts) - p.idle) * p.blocks
		if p.idle*p.blocks > l.Free() {
			return fmt.Errorf("sim: audit: %d unused parts of prefixes of %d blocks, and %d are free", p.idle, p.blocks, l.Free())
		}
	}
	if l.used != used || l.kvs != want.kvs || l.tables != want.tables || l.growing != want.growing || l.denseKVs != want.denseKVs || l.denseBlocks != want.denseBlocks {
		return fmt.Errorf("sim: audit: the ledger has %d blocks, %d in tables, %d KVs, %d heads, %d and %d dense; counted anew %d, %d, %d, %d, %d, %d",
			l.used, l.tables, l.kvs, l.growing, l.denseKVs, l.denseBlocks, used, want.tables, want.kvs, want.growing, want.denseKVs, want.denseBlocks)
	}
	return nil
}
