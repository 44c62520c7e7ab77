package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"kvcompress/heads"
	"kvcompress/report"
)

// headMapJSON is a map of heads as kvc heads … --json prints it.
type headMapJSON struct {
	Method    string           `json:"method"`
	Source    string           `json:"source"`
	Layers    int              `json:"layers"`
	KVHeads   int              `json:"kv_heads"`
	Full      int              `json:"full"`
	Streaming int              `json:"streaming"`
	Scores    []headScoreJSON  `json:"scores"`
	Heads     []headOfMapsJSON `json:"heads"`
}

// headScoreJSON is the rule by which a score selects heads, and the number that it selects.
type headScoreJSON struct {
	Name     string     `json:"name"`
	Rule     heads.Rule `json:"rule"`
	Value    float64    `json:"value"`
	Selected int        `json:"selected"`
}

type headOfMapsJSON struct {
	Layer  int                `json:"layer"`
	KVHead int                `json:"kv_head"`
	Class  heads.Class        `json:"class"`
	Scores map[string]float64 `json:"scores"`
}

func printHeadMap(cmd *cobra.Command, m *heads.Map, asJSON bool) error {
	out := cmd.OutOrStdout()
	if asJSON {
		return printJSON(out, newHeadMapJSON(m))
	}
	return report.HeadMapText(out, shownHeadMap(m), textOptions(out))
}

func newHeadMapJSON(m *heads.Map) headMapJSON {
	full := m.CountFull()
	j := headMapJSON{
		Method: m.Method, Source: m.Source, Layers: m.Layers, KVHeads: m.KVHeads,
		Full: full, Streaming: m.Layers*m.KVHeads - full,
		Scores: []headScoreJSON{}, Heads: []headOfMapsJSON{},
	}
	for i := range m.Scores {
		s := &m.Scores[i]
		selected := 0
		for _, row := range s.Selects() {
			for _, is := range row {
				if is {
					selected++
				}
			}
		}
		j.Scores = append(j.Scores, headScoreJSON{s.Name, s.Rule, s.Value, selected})
	}
	for l, row := range m.Classes {
		for h, class := range row {
			head := headOfMapsJSON{Layer: l, KVHead: h, Class: class, Scores: map[string]float64{}}
			for i := range m.Scores {
				head.Scores[m.Scores[i].Name] = m.Scores[i].KV[l][h]
			}
			j.Heads = append(j.Heads, head)
		}
	}
	return j
}

// shownHeadMap returns a map as a report shows it. Texts come from a file, and are made printable.
func shownHeadMap(m *heads.Map) *report.HeadMap {
	shown := &report.HeadMap{Title: "retrieval heads"}
	if title := printableLine(strings.TrimSuffix(m.Method+", "+m.Source, ", ")); title != "" && title != ", " {
		shown.Title = strings.TrimPrefix(title, ", ")
	}
	shown.Full = make([][]bool, m.Layers)
	for l := range shown.Full {
		for h := range m.KVHeads {
			shown.Full[l] = append(shown.Full[l], m.IsFull(l, h))
		}
	}
	for i := range m.Scores {
		s := &m.Scores[i]
		shown.Scores = append(shown.Scores, report.HeadScore{Name: printableLine(s.Name), Rule: ruleWords(s), Values: s.KV})
	}
	return shown
}

// ruleWords returns the rule by which a score selects full heads, in words.
func ruleWords(s *heads.Score) string {
	switch s.Rule {
	case heads.TopRatio:
		return fmt.Sprintf("the highest %.4g %% are full", 100*s.Value)
	case heads.Quantile:
		return fmt.Sprintf("full from the %.4g-quantile on", s.Value)
	}
	return fmt.Sprintf("full above %.4g", s.Value)
}
