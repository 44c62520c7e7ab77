package ref

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"kvcompress/kv"
)

// Razor is the options of RazorAttention.
type Razor struct {
	Variant   RazorVariant `json:"variant" help:"paper; or golden-stick: a fixed capacity, and stand-ins that count as one KV"`
	Decode    RazorDecode  `json:"decode" help:"static: generated tokens are kept; rolling: tokens that leave the buffer are folded into the stand-in"`
	Sinks     int          `json:"sinks" help:"N0, first tokens that every head keeps"`
	Threshold int          `json:"threshold" help:"S0, minimum number of recent tokens that a head keeps"`
	Ratio     float64      `json:"ratio" help:"C: of N tokens a head keeps N/C recent ones; --rate replaces it by 1/rate"`
	Capacity  int          `json:"capacity" help:"with golden-stick: entries of a head, sinks and stand-in included; --max-cache-tokens replaces it"`
	StandIn   bool         `json:"stand_in" help:"false: tokens between sinks and buffer are dropped instead of folded"`
	Full      FullHeads    `json:"full" help:"retrieval heads: for each layer a list with 1 for each KV head that keeps everything and 0 for others; or the word none; --set map=FILE reads a map made by kvc heads"`
}

// RazorVariant names an implementation of RazorAttention.
type RazorVariant string

// The variants.
const (
	RazorPaper       RazorVariant = "paper"
	RazorGoldenStick RazorVariant = "golden-stick" // mindspore-ai/golden-stick@a50ddc9
)

// RazorDecode says what happens to generated tokens.
type RazorDecode string

// The values of RazorDecode.
const (
	RazorStatic  RazorDecode = "static"
	RazorRolling RazorDecode = "rolling"
)

// DefaultRazor returns the paper's options. Full, the retrieval heads, is unset.
func DefaultRazor() Razor {
	return Razor{Variant: RazorPaper, Decode: RazorStatic, Sinks: 4, Threshold: 4000, Ratio: 5, Capacity: 256, StandIn: true}
}

func razorEntry() Entry {
	e := Entry{
		Name:        "razor",
		Paper:       "RazorAttention (Tang et al., arXiv 2407.15891)",
		Watches:     "nothing",
		Does:        "folds all but the sinks and the most recent KVs into a stand-in with their number as its weight",
		From:        "the same number from each head; retrieval heads keep everything",
		When:        "once after the prompt; decode=rolling: every step",
		Reads:       "all held KVs",
		Payload:     "2·D·b + 4 (position) + 4 (weight); decode=rolling: + 8·D (exact means)",
		CacheTokens: "entries that a non-retrieval head keeps, sinks and stand-in included; replaces threshold and ratio",
		Rate:        "size of the recent buffer as a fraction of the tokens: ratio = 1/rate; the threshold still applies",
		HeldAgainst: "mindspore-ai/golden-stick (compaction); the paper's equation in float64",
		Defaults:    func() any { o := DefaultRazor(); return &o },
	}
	e.New = func(c *Config) (Method, error) {
		o := DefaultRazor()
		if err := c.Set.Into(&e, &o); err != nil {
			return nil, err
		}
		return newRazor(o, c)
	}
	return e
}

// razor is RazorAttention. For N tokens, N0 sinks and a recent buffer of L_h = max(S0, ⌈N/C⌉) tokens, a head
// that is not a retrieval head keeps the sinks, the buffer, and one stand-in for the N_d = N − N0 − L_h
// tokens between them.
type razor struct {
	Razor
	shape    kv.Shape
	rate     float64 // 1/C, set by rate; else 0
	capacity int     // entries of a head, if set by max_cache_tokens or golden-stick; else 0
	full     []bool  // [L·H]
}

func newRazor(o Razor, c *Config) (Method, error) {
	m := &razor{Razor: o, shape: c.Shape, rate: c.Compression.Rate, capacity: c.Compression.MaxCacheTokens}
	bad := func(format string, args ...any) (Method, error) {
		return nil, fmt.Errorf("method razor: "+format, args...)
	}
	switch o.Variant {
	case RazorPaper:
	case RazorGoldenStick:
		m.capacity = cmp.Or(m.capacity, o.Capacity)
		if o.Decode == RazorRolling {
			return bad("golden-stick compresses once: set decode=static, or variant=paper")
		}
		if m.rate > 0 {
			return bad("golden-stick has a fixed capacity and no rate: set max_cache_tokens, or variant=paper")
		}
	default:
		return bad("variant %q is neither %s nor %s", o.Variant, RazorPaper, RazorGoldenStick)
	}
	switch {
	case o.Decode != RazorStatic && o.Decode != RazorRolling:
		return bad("decode %q is neither %s nor %s", o.Decode, RazorStatic, RazorRolling)
	case o.Sinks < 0 || o.Sinks > math.MaxInt32:
		return bad("sinks %d is not from 0 to %d", o.Sinks, math.MaxInt32)
	case o.Threshold < 0 || o.Threshold > math.MaxInt32:
		return bad("threshold %d is not from 0 to %d", o.Threshold, math.MaxInt32)
	case !(o.Ratio >= 1) || o.Ratio > math.MaxInt32:
		return bad("ratio %v is not from 1 to %d", o.Ratio, math.MaxInt32)
	case m.capacity < 0 || o.Capacity < 0:
		return bad("capacity %d is negative", min(m.capacity, o.Capacity))
	case m.capacity > 0 && m.capacity < o.Sinks+m.standIns():
		return bad("a capacity of %d entries has no room for %d sinks and %d stand-in: it must be at least %d",
			m.capacity, o.Sinks, m.standIns(), o.Sinks+m.standIns())
	}
	var err error
	if m.full, err = o.Full.heads(c.Shape); err != nil {
		return bad("%w", err)
	}
	return m, nil
}

func (m *razor) Name() string { return "razor" }

// Columns declares the weight of every entry, and for rolling the exact means, which are 0 for entries that
// are not stand-ins. Golden-stick has neither.
func (m *razor) Columns() []kv.Column {
	if !m.StandIn || m.Variant == RazorGoldenStick {
		return nil
	}
	columns := []kv.Column{{Name: "weights", Value: "weight", Width: 1, Initial: 1}}
	if m.Decode == RazorRolling {
		columns = append(columns,
			kv.Column{Name: "key_means", Value: "element of a mean key", Width: m.shape.HeadSize},
			kv.Column{Name: "value_means", Value: "element of a mean value", Width: m.shape.HeadSize})
	}
	return columns
}

// StandIns implements [Folder].
func (m *razor) StandIns() StandIns {
	switch len(m.Columns()) {
	case 0:
		return StandIns{None, None, None}
	case 1:
		return StandIns{0, None, None}
	default:
		return StandIns{0, 1, 2}
	}
}

func (m *razor) Observe() *Observation { return nil }

// standIns returns how many stand-ins a compressed head has: 1, or 0 if StandIn is off.
func (m *razor) standIns() int {
	if m.StandIn {
		return 1
	}
	return 0
}

// recent returns L_h for N tokens, folded ones included. It never decreases with N, so the buffer always
// holds the newest tokens.
func (m *razor) recent(n int) int {
	switch {
	case m.capacity > 0:
		return m.capacity - m.Sinks - m.standIns()
	case m.rate > 0:
		return max(m.Threshold, int(math.Ceil(float64(n)*m.rate)))
	default:
		return max(m.Threshold, int(math.Ceil(float64(n)/m.Ratio)))
	}
}

// folds returns how many KVs of each head to fold now, and how many slots that empties, which is one fewer if
// they become a new stand-in; both are [L·H]. If no slot would become free, nothing is folded.
func (m *razor) folds(c Counts) (folded, gone []int) {
	folded, gone = make([]int, len(c.Heads)), make([]int, len(c.Heads))
	if m.Decode == RazorStatic && !c.Whole() {
		return folded, gone
	}
	keep := m.Sinks + m.recent(c.Tokens)
	for i, held := range c.Heads {
		if m.full[i] {
			continue
		}
		made := 0 // 1 if a new stand-in is made
		if m.hasStandIn(c, i) {
			held--
		} else {
			made = m.standIns()
		}
		if held-keep > made {
			folded[i], gone[i] = held-keep, held-keep-made
		}
	}
	return folded, gone
}

// hasStandIn reports whether a head has a stand-in, at logical index N0, which represents all tokens that the
// head lacks.
func (m *razor) hasStandIn(c Counts, head int) bool { return m.StandIn && c.Heads[head] < c.Tokens }

// Evicts implements [Counter].
func (m *razor) Evicts(c Counts) []int {
	_, gone := m.folds(c)
	return gone
}

// Protects implements [Protector].
func (m *razor) Protects(c Counts) (sinks, newest int) { return m.Sinks, m.recent(c.Tokens) }

// Asks returns the number of slots that become free.
func (m *razor) Asks(c Counts) int {
	n := 0
	for _, gone := range m.Evicts(c) {
		n += gone
	}
	return n
}

// Quiet returns math.MaxInt with decode=static. With rolling it returns how many tokens fit until a buffer of
// the current size is full, which is a lower bound if the buffer grows with N.
func (m *razor) Quiet(c Counts) int {
	if m.Decode == RazorStatic {
		return math.MaxInt
	}
	quiet, keep := math.MaxInt, m.Sinks+m.standIns()+m.recent(c.Tokens)
	for i, held := range c.Heads {
		if !m.full[i] {
			quiet = min(quiet, max(0, keep-held))
		}
	}
	return quiet
}

// Folding implements [Folder]: it folds the oldest KVs after the sinks and the stand-in. The stand-in has
// position N0, as does the KV that a new stand-in starts from.
func (m *razor) Folding(c Counts) Folding {
	f := Folding{Ranking: Ranking{Unit: 1, Sinks: m.Sinks + m.standIns(), Key: ByPosition}, Into: None}
	if m.StandIn {
		f.Into, f.New = m.Sinks, make([]bool, len(c.Heads))
		for i := range f.New {
			f.New[i] = !m.hasStandIn(c, i)
		}
	}
	for i, n := range m.Evicts(c) {
		f.Quotas = append(f.Quotas, Quota{First: i, Heads: 1, Units: n})
	}
	return f
}

func (m *razor) Plan(v View) Plan { return m.plan(v, m.oldest) }
func (m *razor) Spec(v View) Plan { return m.plan(v, m.oldestByRank) }

// plan builds the plan. choose returns the n oldest KVs of a head that are neither sinks nor the stand-in.
func (m *razor) plan(v View, choose func(v View, head, n int, standIn bool) []int32) Plan {
	c := v.Counts()
	folded, gone := m.folds(c)
	var p Plan
	for i, n := range folded {
		if n == 0 {
			continue
		}
		p.Asked += gone[i]
		has := m.hasStandIn(c, i)
		edit := Edit{Op: Drop, Head: i, KVs: choose(v, i, n, has)}
		if m.StandIn {
			edit.Op, edit.Into = StandIn, None
			if has {
				edit.Into = int32(m.Sinks)
			}
		}
		p.Edits = append(p.Edits, edit)
	}
	return p
}

// oldestByRank is the specification: in order of position a head has the sinks, then the stand-in, which has
// the position of the first token folded into it, then the n KVs.
func (m *razor) oldestByRank(v View, head, n int, standIn bool) []int32 {
	h := &v.Sequence.Heads[head]
	ranked := make([]int32, h.Len)
	for i := range ranked {
		ranked[i] = int32(i)
	}
	position := func(logical int32) int32 { return v.Cache.Positions[v.Cache.Slot(h, int(logical))] }
	slices.SortFunc(ranked, func(a, b int32) int { return cmp.Compare(position(a), position(b)) })
	first := m.Sinks
	if standIn {
		first++
	}
	oldest := ranked[first:][:n]
	slices.Sort(oldest)
	return oldest
}

// oldest returns the same KVs as oldestByRank without sorting: the buffer holds the newest tokens, so they
// are the n KVs before it.
func (m *razor) oldest(v View, head, n int, standIn bool) []int32 {
	h, size := &v.Sequence.Heads[head], v.Cache.Config().BlockSize
	kvs := make([]int32, 0, n)
	if h.Len == v.Sequence.Len { // nothing has been folded, so no KV has moved
		for i := range n {
			kvs = append(kvs, int32(m.Sinks+i))
		}
		return kvs
	}
	buffer := int32(v.Sequence.Len - m.recent(v.Sequence.Len)) // position of the buffer's first token
	for b := m.Sinks / size; len(kvs) < n && b < len(h.Table); b++ {
		slots := v.Cache.Positions[int(h.Table[b])*size:][:min(size, h.Len-b*size)]
		for i, position := range slots {
			logical := b*size + i
			if position < buffer && logical >= m.Sinks && !(standIn && logical == m.Sinks) && len(kvs) < n {
				kvs = append(kvs, int32(logical))
			}
		}
	}
	return kvs
}
