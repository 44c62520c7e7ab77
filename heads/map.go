package heads

import (
	"encoding/json"
	"fmt"
	"io"
	"math"

	"kvcompress/kv"
	"kvcompress/strictjson"
	"kvcompress/trace/regular"
)

// Class says which of a KV head's KVs a method keeps.
type Class string

// The classes of KV heads.
const (
	Full      Class = "full"      // a retrieval head: all KVs are kept
	Streaming Class = "streaming" // only sinks and the newest KVs are kept; some methods fold the others into one entry
)

// Map says for each KV head of a model whether it is a retrieval head, and why.
//
// Methods use Classes. The scores are what the classes were computed from: a head is Full if one of the
// scores selects it. In a map that was edited by hand the two may differ.
type Map struct {
	FormatVersion int       `json:"format_version"`
	Method        string    `json:"method,omitempty"` // razorattention, duoattention, retrieval_head or another
	Source        string    `json:"source,omitempty"` // the model, and the text it was run on
	Layers        int       `json:"layers"`           // L
	KVHeads       int       `json:"kv_heads"`         // H
	QueryHeads    int       `json:"query_heads,omitempty"`
	Classes       [][]Class `json:"classes"` // [L][H]
	Scores        []Score   `json:"scores,omitempty"`
}

// Score has one score of every KV head, and the rule that selects heads by it.
type Score struct {
	Name  string      `json:"name"` // induction, echo, gate, retrieval, …
	Rule  Rule        `json:"rule"`
	Value float64     `json:"value"` // the rule's number
	KV    [][]float64 `json:"kv_heads"`
	Query [][]float64 `json:"query_heads,omitempty"` // [L][H·G], if query heads have their own; then KV has the maxima
}

// Selects returns which KV heads the score selects, [L][H].
func (s *Score) Selects() [][]bool { return s.Rule.selects(s.KV, s.Value) }

// FormatVersion is the version of the map's format.
const FormatVersion = 1

const (
	maxHeads    = 1 << 16  // query heads of a whole model
	maxScores   = 16       // of one map
	maxMapBytes = 64 << 20 // of one file
)

// RazorOptions are the shares of all KV heads that RazorAttention's search selects.
type RazorOptions struct {
	InductionRatio, EchoRatio float64
}

// PublishedRatios returns the ratios of the RazorAttention paper: 14 % and 1 %.
func PublishedRatios() RazorOptions { return RazorOptions{InductionRatio: 0.14, EchoRatio: 0.01} }

// Check returns an error unless both ratios are from 0 to 1.
func (o RazorOptions) Check() error {
	if err := TopRatio.check(o.InductionRatio); err != nil {
		return fmt.Errorf("heads: induction: %w", err)
	}
	if err := TopRatio.check(o.EchoRatio); err != nil {
		return fmt.Errorf("heads: echo: %w", err)
	}
	return nil
}

// Razor makes a map from the scores of a search. The score of a KV head is the maximum of its query heads'
// scores; the head is full if it is among the highest in either score.
func Razor(s *Scores, kvHeads int, o RazorOptions, source string) (*Map, error) {
	return newMap("razorattention", source, kvHeads, []Score{
		{Name: "induction", Rule: TopRatio, Value: o.InductionRatio, Query: s.Induction},
		{Name: "echo", Rule: TopRatio, Value: o.EchoRatio, Query: s.Echo},
	})
}

// Gates makes a map from DuoAttention's trained gates [L][H]. sparsity is the share of streaming heads, ties
// aside.
func Gates(gates [][]float64, kvHeads int, sparsity float64, source string) (*Map, error) {
	return newMap("duoattention", source, kvHeads, []Score{{Name: "gate", Rule: Quantile, Value: sparsity, Query: gates}})
}

// Retrieval makes a map from Retrieval_Head's scores of query heads [L][H·G].
func Retrieval(scores [][]float64, kvHeads int, rule Rule, value float64, source string) (*Map, error) {
	return newMap("retrieval_head", source, kvHeads, []Score{{Name: "retrieval", Rule: rule, Value: value, Query: scores}})
}

// newMap makes a map from scores that have only Query, all of the same shape.
func newMap(method, source string, kvHeads int, scores []Score) (*Map, error) {
	query := scores[0].Query
	if kvHeads < 1 || len(query) == 0 || len(query[0]) == 0 || len(query[0])%kvHeads != 0 {
		return nil, fmt.Errorf("heads: %d layers of scores: want a multiple of %d KV heads in each", len(query), kvHeads)
	}
	m := &Map{
		FormatVersion: FormatVersion,
		Method:        method,
		Source:        source,
		Layers:        len(query),
		KVHeads:       kvHeads,
		QueryHeads:    len(query[0]),
		Classes:       make([][]Class, len(query)),
		Scores:        scores,
	}
	for l := range m.Classes {
		m.Classes[l] = make([]Class, kvHeads)
		for h := range m.Classes[l] {
			m.Classes[l][h] = Streaming
		}
	}
	for i := range m.Scores {
		s := &m.Scores[i]
		if err := checkRows("query_heads", s.Query, m.Layers, m.QueryHeads); err != nil {
			return nil, fmt.Errorf("heads: %s: %w", s.Name, err)
		}
		s.KV = groupMax(s.Query, kvHeads)
		if m.QueryHeads == kvHeads {
			s.Query = nil // query heads are KV heads
		}
		if err := s.Rule.check(s.Value); err != nil {
			return nil, fmt.Errorf("heads: %s: %w", s.Name, err)
		}
		for l, row := range s.Selects() {
			for h, selected := range row {
				if selected {
					m.Classes[l][h] = Full
				}
			}
		}
	}
	return m, m.Check()
}

// IsFull reports whether a KV head is a retrieval head.
func (m *Map) IsFull(layer, kvHead int) bool { return m.Classes[layer][kvHead] == Full }

// CountFull returns the number of retrieval heads of the model.
func (m *Map) CountFull() int {
	n := 0
	for _, row := range m.Classes {
		for _, c := range row {
			if c == Full {
				n++
			}
		}
	}
	return n
}

// FullHeads returns 1 for every retrieval head and 0 for every other, [L][H]: the value of the option full of
// a method.
func (m *Map) FullHeads() [][]int {
	full := make([][]int, len(m.Classes))
	for l, row := range m.Classes {
		full[l] = make([]int, len(row))
		for h, c := range row {
			if c == Full {
				full[l][h] = 1
			}
		}
	}
	return full
}

// Check returns an error that says what is wrong with the map, and where.
func (m *Map) Check() error {
	if err := m.check(); err != nil {
		return fmt.Errorf("head map: %w", err)
	}
	return nil
}

func (m *Map) check() error {
	switch {
	case m.FormatVersion != FormatVersion:
		return fmt.Errorf("format_version %d, want %d", m.FormatVersion, FormatVersion)
	case m.Layers < 1 || m.Layers > kv.MaxLayers:
		return fmt.Errorf("layers: %d, want 1 to %d", m.Layers, kv.MaxLayers)
	case m.KVHeads < 1 || m.KVHeads > maxHeads/m.Layers:
		return fmt.Errorf("kv_heads: %d, want 1 to %d", m.KVHeads, maxHeads/m.Layers)
	case m.QueryHeads < 0 || m.QueryHeads > maxHeads/m.Layers || m.QueryHeads%m.KVHeads != 0:
		return fmt.Errorf("query_heads: %d, want a multiple of kv_heads up to %d, or 0 if unknown", m.QueryHeads, maxHeads/m.Layers)
	case len(m.Classes) != m.Layers:
		return fmt.Errorf("classes: %d layers, want %d", len(m.Classes), m.Layers)
	case len(m.Scores) > maxScores:
		return fmt.Errorf("scores: %d, want at most %d", len(m.Scores), maxScores)
	}
	for l, row := range m.Classes {
		if len(row) != m.KVHeads {
			return fmt.Errorf("classes[%d]: %d heads, want %d", l, len(row), m.KVHeads)
		}
		for h, c := range row {
			if c != Full && c != Streaming {
				return fmt.Errorf("classes[%d][%d]: %q, want %s or %s", l, h, strictjson.Excerpt(string(c)), Full, Streaming)
			}
		}
	}
	names := map[string]bool{}
	for i := range m.Scores {
		s := &m.Scores[i]
		err := s.Rule.check(s.Value)
		switch {
		case s.Name == "":
			err = fmt.Errorf("it has no name")
		case names[s.Name]:
			err = fmt.Errorf("another score has the name %q", strictjson.Excerpt(s.Name))
		case err == nil:
			err = checkRows("kv_heads", s.KV, m.Layers, m.KVHeads)
		}
		if err == nil && s.Query != nil {
			err = checkRows("query_heads", s.Query, m.Layers, m.QueryHeads)
		}
		if err != nil {
			return fmt.Errorf("scores[%d]: %w", i, err)
		}
		names[s.Name] = true
	}
	return nil
}

func checkRows(name string, rows [][]float64, layers, heads int) error {
	if len(rows) != layers {
		return fmt.Errorf("%s: %d layers, want %d", name, len(rows), layers)
	}
	for l, row := range rows {
		if len(row) != heads {
			return fmt.Errorf("%s[%d]: %d heads, want %d", name, l, len(row), heads)
		}
		for h, v := range row {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return fmt.Errorf("%s[%d][%d]: %v is not a finite number", name, l, h, v)
			}
		}
	}
	return nil
}

// Write writes the map as JSON. Equal maps give equal bytes.
func (m *Map) Write(w io.Writer) error {
	if err := m.Check(); err != nil {
		return err
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("head map: %w", err)
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

// ReadMap reads a map that Write wrote. An unknown or duplicate name is an error, and so is everything that
// Check reports.
func ReadMap(r io.Reader) (*Map, error) {
	text, err := regular.ReadAll(r, maxMapBytes)
	if err != nil {
		return nil, fmt.Errorf("head map: %w", err)
	}
	var m Map
	if err := strictjson.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("head map: %w", err)
	}
	if err := m.Check(); err != nil {
		return nil, err
	}
	return &m, nil
}
