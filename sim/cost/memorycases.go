package cost

import (
	"fmt"
	"io"
	"strconv"

	"kvcompress/sim/catalog"
)

// MemoryMeasurement is the size of a server's KV cache, with the settings that it depends on.
type MemoryMeasurement struct {
	Line        int     `json:"line"` // of the file
	Source      string  `json:"source,omitempty"`
	Model       string  `json:"model"`
	Card        string  `json:"card"`
	CardGiB     float64 `json:"card_gib,omitempty"` // the card's memory as the server sees it; 0 is the catalogue's
	TP          int     `json:"tensor_parallel"`
	Utilization float64 `json:"gpu_memory_utilization"`
	MaxTokens   int     `json:"max_num_batched_tokens"`
	MaxSeqs     int     `json:"max_num_seqs"`
	Version     string  `json:"vllm,omitempty"` // as EngineOf reads it

	// The measured values, of one card in GiB; 0 is unknown.
	WeightsGiB    float64 `json:"weights_gib,omitempty"`
	ActivationGiB float64 `json:"activation_gib,omitempty"`
	KVGiB         float64 `json:"kv_gib,omitempty"`
	Blocks        int     `json:"gpu_blocks_of_16,omitempty"` // blocks of 16 tokens with all heads
}

// Stated reports whether the version and the card's memory are known. Beside the settings, the cache
// depends on them most.
func (m *MemoryMeasurement) Stated() bool { return m.Version != "" && m.CardGiB > 0 }

// MemoryColumns returns the columns that a file of memory measurements must have, and those
// that it may have.
func MemoryColumns() (required, optional []string) {
	return []string{"model", "card", "utilization", "max_num_batched_tokens", "max_num_seqs"},
		[]string{"source", "card_gib", "tp", "vllm", "weights_gib", "activation_gib", "kv_gib", "gpu_blocks_of_16"}
}

// ReadMemoryMeasurements reads a CSV with the columns of [MemoryColumns], in any order. Fields
// of optional columns may be empty; tp is then 1. The error names the line and column.
func ReadMemoryMeasurements(r io.Reader, name string) ([]MemoryMeasurement, error) {
	var list []MemoryMeasurement
	required, optional := MemoryColumns()
	err := readCSV(r, name, required, optional, func(line int, get func(string) string) error {
		m := MemoryMeasurement{Line: line, Source: get("source"), Model: get("model"), Card: get("card"), Version: get("vllm"), TP: 1}
		for _, c := range []struct {
			column string
			to     *int
			least  int
		}{
			{"tp", &m.TP, 0}, {"max_num_batched_tokens", &m.MaxTokens, 1}, {"max_num_seqs", &m.MaxSeqs, 1}, {"gpu_blocks_of_16", &m.Blocks, 0},
		} {
			if err := parseCount(c.to, get(c.column), c.least); err != nil {
				return fmt.Errorf("%s: %w", c.column, err)
			}
		}
		for _, c := range []struct {
			column string
			to     *float64
		}{
			{"utilization", &m.Utilization}, {"card_gib", &m.CardGiB}, {"weights_gib", &m.WeightsGiB}, {"activation_gib", &m.ActivationGiB}, {"kv_gib", &m.KVGiB},
		} {
			s := get(c.column)
			if s == "" && c.to != &m.Utilization {
				continue
			}
			v, err := strconv.ParseFloat(s, 64)
			if err != nil || !(v > 0 && v <= 4096) {
				return fmt.Errorf("%s: want a number above 0 and up to 4096, got %q", c.column, s)
			}
			*c.to = v
		}
		list = append(list, m)
		return nil
	})
	return list, err
}

// MemoryCase is a measured cache, projected. Sizes are of one card.
type MemoryCase struct {
	MemoryMeasurement
	Error                  string   `json:"error,omitempty"` // why it cannot be projected; then the following is not set
	Engine                 Engine   `json:"engine"`
	Settings               bool     `json:"settings_stated"`
	Memory                 Memory   `json:"memory"`
	PredictedWeightsGiB    float64  `json:"predicted_weights_gib"`
	PredictedActivationGiB float64  `json:"predicted_activation_gib"`
	PredictedKVGiB         float64  `json:"predicted_kv_gib"`
	PredictedBlocks        int      `json:"predicted_gpu_blocks_of_16"`
	Measured               bool     `json:"measured"`
	Off                    *float64 `json:"kv_error,omitempty"` // of the predicted cache, as a part of the measured; nil where none was
}

const gib = 1 << 30

// Deployment returns the deployment that was measured.
func (m *MemoryMeasurement) Deployment() (Deployment, error) {
	model, err := catalog.FindModel(m.Model)
	if err != nil {
		return Deployment{}, err
	}
	card, err := catalog.FindCard(m.Card)
	if err != nil {
		return Deployment{}, err
	}
	d := New(model, card)
	if d.Engine, err = EngineOf(m.Version); err != nil {
		return d, fmt.Errorf("vllm: %w", err)
	}
	d.TP, d.Utilization, d.MaxTokens, d.MaxSeqs, d.CardMemory = m.TP, m.Utilization, m.MaxTokens, m.MaxSeqs, int64(m.CardGiB*gib)
	return d, nil
}

// NewMemoryCase projects a measurement.
func NewMemoryCase(m MemoryMeasurement) *MemoryCase {
	c := &MemoryCase{MemoryMeasurement: m, Settings: m.Stated()}
	d, err := m.Deployment()
	if err == nil {
		c.Memory, err = d.Memory()
	}
	if err != nil {
		c.Error, c.Memory = err.Error(), Memory{}
		return c
	}
	c.Engine = d.Engine
	of := func(bytes int64) float64 { return float64(bytes) / gib }
	c.PredictedWeightsGiB, c.PredictedActivationGiB, c.PredictedKVGiB = of(c.Memory.Weights), of(c.Memory.Activations), of(c.Memory.KV)
	c.PredictedBlocks = c.Memory.Blocks / d.Heads()
	switch {
	case m.Blocks > 0:
		c.Measured, c.Off = true, off(float64(c.PredictedBlocks), float64(m.Blocks))
	case m.KVGiB > 0:
		c.Measured, c.Off = true, off(c.PredictedKVGiB, m.KVGiB)
	}
	return c
}

// MemorySummary compares predicted caches with measured ones. Errors are fractions: 0.04 is 4 %.
type MemorySummary struct {
	Rows       int      `json:"rows"`
	Refused    int      `json:"refused_rows"` // rows that cannot be projected
	Measured   int      `json:"measured_rows"`
	KVMAPE     *float64 `json:"kv_mape,omitempty"`       // mean absolute error; nil where nothing was measured
	KVMean     *float64 `json:"kv_mean_error,omitempty"` // signed: positive if the caches are projected too large; likewise
	KVMaxError *float64 `json:"kv_max_error,omitempty"`  // absolute; likewise

	// The largest absolute errors of rows that state version and card's memory, and of the others.
	StatedRows     int      `json:"stated_rows"`
	StatedMaxError *float64 `json:"stated_kv_max_error,omitempty"` // nil where no such row was measured
	OtherMaxError  *float64 `json:"other_kv_max_error,omitempty"`  // likewise
}

// SummarizeMemory compares cases with what was measured.
func SummarizeMemory(cases []*MemoryCase) MemorySummary {
	s := MemorySummary{Rows: len(cases)}
	var all, stated, others errorSum
	for _, c := range cases {
		if c.Error != "" {
			s.Refused++
		}
		all.addKnown(c.Off)
		if c.Settings {
			stated.addKnown(c.Off)
		} else {
			others.addKnown(c.Off)
		}
	}
	s.Measured, s.KVMAPE, s.KVMean, s.KVMaxError = all.n, all.mape(), all.mean(), all.maxError()
	s.StatedRows, s.StatedMaxError, s.OtherMaxError = stated.n, stated.maxError(), others.maxError()
	return s
}
