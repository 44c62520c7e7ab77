package sim

import (
	"slices"

	"kvcompress/kv"
	"kvcompress/ref"
)

// Holding says what a head holds of a token.
type Holding uint8

// What a head holds of a token.
const (
	Gone          Holding = iota // nothing
	Whole                        // its KV
	Hidden                       // its KV, which queries do not see
	StandIn                      // at its position, a KV that stands for it and others
	HeldQuantized                // its KV, of which the key, the value or both are quantized
	HeldMerged                   // its KV, of which both are merged with another layer's
	HeldRetained                 // likewise, of which the key, the value or both are retained as they were
)

// Held is what the cache holds of a sequence.
type Held struct {
	Prompt int         // tokens that entered as the prompt
	Tokens int         // that have entered
	Heads  [][]Holding // [L·H][Tokens]
}

// KVs returns how many KVs the heads hold together, and how many they would uncompressed.
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

// HeldMeter reads what the cache holds of one sequence from the events of an engine.
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

// Observe takes in an event of the engine.
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

// markPacked marks what a head has in pages of other formats. Where there are any nothing is dropped, so that logical indices
// are positions.
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

// Held returns what was held after the last stage before the sequence left, or now. Its
// Tokens are 0 if the sequence never entered the cache.
func (m *HeldMeter) Held() *Held { return &m.held }
