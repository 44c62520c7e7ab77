package validate

import (
	"encoding/json"
	"fmt"
	"slices"

	"kvcompress/heads"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/strictjson"
)

// compareStreaming compares which tokens StreamingLLM's cache holds after each of a list of events: "call"
// enters n tokens and compresses, "add" enters n tokens, "space" makes room for n, "range" evicts a range of
// the cache.
func compareStreaming(c *methodCase) (CaseResult, error) {
	var (
		sinks, recent int
		events        [][]json.RawMessage
		after         [][]int32
	)
	if err := (fields{"start": &sinks, "recent": &recent, "events": &events, "after": &after}).decode(c.found); err != nil {
		return CaseResult{}, err
	}
	if sinks < 0 || recent < 0 || sinks > maxCaseTokens || recent > maxCaseTokens {
		return CaseResult{}, fmt.Errorf("start %d and recent %d, want 0 to %d", sinks, recent, maxCaseTokens)
	}
	if len(events) != len(after) || len(events) > maxCaseTokens {
		return CaseResult{}, fmt.Errorf("%d events with recorded tokens for %d, want the same number, at most %d", len(events), len(after), maxCaseTokens)
	}
	result := CaseResult{
		Detail:   fmt.Sprintf("%d sinks, %d recent, %d events", sinks, recent, len(events)),
		Compared: "the tokens held after each event",
	}
	s := streamingCase{sinks: sinks, recent: recent}
	for i, event := range events {
		if err := s.event(event); err != nil {
			return CaseResult{}, fmt.Errorf("event %d: %w", i, err)
		}
		result.Values += len(after[i])
		if want := sorted(after[i]); !slices.Equal(s.held, want) && result.Mismatch == "" {
			result.Mismatch = fmt.Sprintf("event %d: holds tokens %v, %v recorded", i, s.held, want)
		}
	}
	result.KVs = new(s.tokens - len(s.held))
	return result, nil
}

// streamingCase is one head of a cache: the positions of the KVs that it holds, ascending.
type streamingCase struct {
	sinks, recent, tokens int
	held                  []int32
}

func (s *streamingCase) event(event []json.RawMessage) error {
	var name string
	if len(event) != 2 {
		return fmt.Errorf("%d elements, want a name and a number", len(event))
	}
	if err := json.Unmarshal(event[0], &name); err != nil {
		return strictjson.Plain(err)
	}
	if name == "range" {
		var r [2]int
		if err := json.Unmarshal(event[1], &r); err != nil {
			return strictjson.Plain(err)
		}
		if r[0] < 0 || r[0] > r[1] || r[1] > len(s.held) {
			return fmt.Errorf("range %d to %d of %d KVs", r[0], r[1], len(s.held))
		}
		s.held = slices.Delete(s.held, r[0], r[1])
		return nil
	}
	var n int
	if err := json.Unmarshal(event[1], &n); err != nil {
		return strictjson.Plain(err)
	}
	if n < 0 || n > maxCaseTokens-s.tokens {
		return fmt.Errorf("%s of %d tokens, want 0 to %d in all", name, n, maxCaseTokens)
	}
	switch name {
	case "call":
		s.add(n)
		s.evict(0)
	case "add":
		s.add(n)
	case "space":
		s.evict(n)
	default:
		return fmt.Errorf("%q is none of call, add, space and range", name)
	}
	return nil
}

func (s *streamingCase) add(n int) {
	for range n {
		s.held = append(s.held, int32(s.tokens))
		s.tokens++
	}
}

// evict evicts what the method evicts when coming tokens are about to enter. Sinks are the first held KVs,
// which after a "range" event need not be the first tokens.
func (s *streamingCase) evict(coming int) {
	n := len(s.held)
	ranks := make([]int32, n)
	for i := range ranks {
		ranks[i] = int32(i)
	}
	counts := ref.Counts{Tokens: n, Heads: []int{n}}
	d := ref.Decide(&ref.Problem{
		Ranking:   ref.SinksAndRecent(counts, s.sinks, coming, func(int) int { return s.recent }),
		Length:    n,
		KVHeads:   1,
		BlockSize: 1,
		Heads:     []kv.Head{{Segment: kv.Segment{Table: ranks, Len: n}}},
		Positions: ranks,
	})
	kept := s.held[:0]
	evicted := d.Heads[0].KVs
	for i, position := range s.held {
		if len(evicted) > 0 && int(evicted[0]) == i {
			evicted = evicted[1:]
			continue
		}
		kept = append(kept, position)
	}
	s.held = kept
}

// compareDuo compares which heads DuoAttention's trained gates make full heads at a given sparsity.
func compareDuo(c *methodCase) (CaseResult, error) {
	var (
		layers, kvHeads   int
		sparsity, reached float64
		scores            [][]float64
		full              [][]int
	)
	if err := (fields{"layers": &layers, "kv_heads": &kvHeads, "sparsity": &sparsity, "sparsity_reached": &reached, "scores": &scores, "full": &full}).decode(c.found); err != nil {
		return CaseResult{}, err
	}
	m, err := heads.Gates(scores, kvHeads, sparsity, c.id)
	if err != nil {
		return CaseResult{}, err
	}
	if m.Layers != layers || len(full) != layers {
		return CaseResult{}, fmt.Errorf("scores of %d layers and full heads of %d, want %d", m.Layers, len(full), layers)
	}
	result := CaseResult{
		Detail:   fmt.Sprintf("%d×%d heads, sparsity %g", layers, kvHeads, sparsity),
		Compared: "which heads are full, and the sparsity that this reaches",
		Values:   layers*kvHeads + 1,
	}
	for l, row := range full {
		if len(row) != kvHeads {
			return CaseResult{}, fmt.Errorf("full: layer %d has %d heads, want %d", l, len(row), kvHeads)
		}
		for h, want := range row {
			if m.IsFull(l, h) != (want != 0) && result.Mismatch == "" {
				result.Mismatch = fmt.Sprintf("layer %d, head %d: full is %t, %t recorded", l, h, m.IsFull(l, h), want != 0)
			}
		}
	}
	if got := 1 - float64(m.CountFull())/float64(layers*kvHeads); !(got-reached < 1e-9 && reached-got < 1e-9) && result.Mismatch == "" {
		result.Mismatch = fmt.Sprintf("a sparsity of %g is reached, %g recorded", got, reached)
	}
	return result, nil
}

func sorted(x []int32) []int32 { return slices.Sorted(slices.Values(x)) }
