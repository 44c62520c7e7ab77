package sim

import (
	"slices"

	"kvcompress/kv"
	"kvcompress/ref"
)

// Holding is the state of a token's KV in a head.
type Holding uint8

// The states of a token's KV in a head.
const (
	Gone          Holding = iota // evicted
	Whole                        // held
	Hidden                       // held and masked: queries do not read it
	StandIn                      // a stand-in at its position replaces it and other KVs
	HeldQuantized                // key, value or both are quantized
	HeldMerged                   // key and value are merged with another layer's
	HeldRetained                 // merged, and key, value or both are retained unmerged too
)

// Held is what the cache holds of a sequence.
type Held struct {
	Prompt int         // tokens of the prompt
	Tokens int         // tokens that have entered the cache
	Heads  [][]Holding // [L·H][Tokens]
}

// KVs returns the number of KVs that all heads hold, and the number that they would hold uncompressed.
func (h *Held) KVs() (kvs, dense int) {
	for _, head := range h.Heads {
		for _, holding := range head {
			if holding != Gone {
				kvs++
			}
		}
	}
	return kvs, h.Tokens * len(h.Heads)
}

// HeldMeter tracks what the cache holds of one sequence, from the events of an engine.
type HeldMeter struct {
	seq             kv.SeqID
	hidden, weights int // columns, or ref.None
	held            Held
}

// NewHeldMeter returns a meter of a sequence for an engine whose method is m.
func NewHeldMeter(seq kv.SeqID, m ref.Method) *HeldMeter {
	meter := &HeldMeter{seq: seq, hidden: ref.None, weights: ref.None}
	if masker, ok := m.(ref.Masker); ok {
		meter.hidden = masker.Hidden()
	}
	if folder, ok := m.(ref.Folder); ok {
		meter.weights = folder.StandIns().Weight
	}
	return meter
}

// Observe processes an event of the engine.
func (m *HeldMeter) Observe(e ref.Event) {
	if e.Stage == ref.StageRelease || e.Stage == ref.StageDecide || !slices.Contains(e.Seqs, m.seq) {
		return
	}
	s := e.Cache.Sequence(m.seq)
	m.held.Prompt, m.held.Tokens = s.Prompt, s.Len
	if len(m.held.Heads) == 0 {
		m.held.Heads = make([][]Holding, len(s.Heads))
	}
	for i := range s.Heads {
		h := &s.Heads[i]
		head := slices.Grow(m.held.Heads[i][:0], s.Len)[:s.Len]
		clear(head)
		for logical := h.First; logical < h.KVs(); logical++ {
			slot := e.Cache.Slot(h, logical)
			holding := Whole
			switch {
			case m.hidden != ref.None && e.Cache.Data[m.hidden][slot] != 0:
				holding = Hidden
			case m.weights != ref.None && e.Cache.Data[m.weights][slot] > 1:
				holding = StandIn
			}
			head[e.Cache.Positions[slot]] = holding
		}
		markPacked(head, h)
		m.held.Heads[i] = head
	}
}

// markPacked marks the tokens whose KVs are in quantized or merged pages. Methods with such pages evict
// nothing, so logical indices are positions.
func markPacked(head []Holding, h *kv.Head) {
	for _, part := range []kv.Part{kv.Keys, kv.Values} {
		for _, g := range h.List(part) {
			switch g.Format.Kind {
			case kv.Merged:
				for i := g.First; i < g.End(); i++ {
					if head[i] != HeldRetained {
						head[i] = HeldMerged
					}
				}
			case kv.Exact:
				for _, i := range g.Index {
					head[i] = HeldRetained
				}
			default:
				for i := g.First; i < g.End(); i++ {
					head[i] = HeldQuantized
				}
			}
		}
	}
}

// Held returns what the cache holds of the sequence, or held before it was released. Tokens is 0 if the
// sequence never entered the cache.
func (m *HeldMeter) Held() *Held { return &m.held }
