package cost

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"kvcompress/dtype"
	"kvcompress/sim"
	"kvcompress/sim/catalog"
)

// Serving is a measured run of a server without compression: a closed loop with a number of clients, or
// a batch of equal requests that all arrive at the start. Times are means over requests; 0 is unknown.
type Serving struct {
	Line        int             `json:"line"` // of the file
	GPU         string          `json:"gpu"`
	TakenFor    string          `json:"gpu_taken_for,omitempty"` // the card, if GPU is the name of several: see [Profile.TakeCards]
	Overruled   string          `json:"gpu_overruled,omitempty"` // the card of the file, if the run is projected on another that was asked for
	CardGiB     float64         `json:"card_gib,omitempty"`      // memory of the card; 0 if the file does not state it
	Model       string          `json:"model"`
	Backend     string          `json:"backend,omitempty"`       // see [RulesOf]
	Version     string          `json:"version,omitempty"`       // of the backend
	Chosen      sim.Scheduler   `json:"server_chosen,omitempty"` // the server, if the file does not name it: see [Profile.NewServingCases]
	TP          int             `json:"tensor_parallel"`
	Weights     catalog.Weights `json:"weights,omitempty"` // "" is the model's
	KV          dtype.DType     `json:"kv_dtype"`
	KVAuto      bool            `json:"-"`                                // the file does not state KV: see [Rules.QuantizedKV]
	MaxSeqs     int             `json:"max_num_seqs,omitempty"`           // 0 is the server's default
	MaxTokens   int             `json:"max_num_batched_tokens,omitempty"` // likewise
	Whole       bool            `json:"whole_prompts"`                    // chunked prefill is off
	First       *bool           `json:"prefill_first,omitempty"`          // nil if the file does not state it: see [Rules.PrefillFirst]
	Utilization float64         `json:"gpu_memory_utilization,omitempty"` // 0 if the file does not state it: see [Rules.Utilization]
	ISL         int             `json:"isl"`                              // tokens of a prompt
	OSL         int             `json:"osl"`                              // tokens of an output
	Concurrency int             `json:"concurrency,omitempty"`            // clients of a closed loop; 0 if all requests arrive at the start
	Requests    int             `json:"num_requests,omitempty"`           // 0 is unknown: see [Serving.Count]
	Spread      float64         `json:"length_spread,omitempty"`          // of a closed loop; 0 if the file does not state it: see [Rules.Jitter]
	Prompts     int             `json:"distinct_prompts,omitempty"`       // how many different prompts the clients choose from at random, with prefix caching; 0: no two prompts are equal

	TTFT    float64 `json:"ttft_ms,omitempty"`
	TPOT    float64 `json:"tpot_ms,omitempty"`
	Latency float64 `json:"latency_s,omitempty"`          // duration of the run of a batch
	Tokens  float64 `json:"total_tokens_per_s,omitempty"` // input and output
}

// waves is the number of requests that each client of a closed loop is assumed to send if the file does
// not state it. With fewer, the first wave, in which all prompts arrive at once, would dominate the
// mean time to first token; more make no difference.
const waves = 8

// Count returns the number of requests of the run.
func (s *Serving) Count() int {
	switch {
	case s.Requests > 0:
		return s.Requests
	case s.Concurrency > 0:
		return waves * s.Concurrency
	}
	return 1
}

// ServingColumns returns the columns that a file of serving runs must have, and those that
// it may have.
func ServingColumns() (required, optional []string) {
	return []string{"model", "isl", "osl"}, []string{
		"gpu", "card", "card_gib", "tensor_parallel", "tp", "weights", "kv_dtype", "max_num_seqs", "max_num_batched_tokens", "chunked_prefill", "prefill_first", "gpu_memory_utilization",
		"concurrency", "batch", "num_requests", "length_spread", "distinct_prompts", "ttft_ms", "tpot_ms", "latency_s", "total_tokens_per_s", "backend", "version",
	}
}

// ReadServing reads a CSV of serving runs. The columns gpu (or card), model, isl, osl and
// one of concurrency and batch must be there, and at least one of ttft_ms, tpot_ms,
// latency_s and total_tokens_per_s must have a value in each row; the others may be missing
// or empty: [ServingColumns]. The error names the line and column.
func ReadServing(r io.Reader, name string) ([]Serving, error) {
	var list []Serving
	required, optional := ServingColumns()
	err := readCSV(r, name, required, optional, func(line int, get func(string) string) error {
		either := func(a, b string) string {
			if s := get(a); s != "" {
				return s
			}
			return get(b)
		}
		s := Serving{Line: line, GPU: either("gpu", "card"), Model: get("model"), Backend: get("backend"), Version: get("version"), TP: 1, KV: dtype.F16}
		if s.GPU == "" {
			return fmt.Errorf("gpu: want the name of a card, in a column gpu or card")
		}
		batch := 0
		for _, c := range []struct {
			column, value string
			to            *int
			least         int
		}{
			{"tensor_parallel", either("tensor_parallel", "tp"), &s.TP, 0},
			{"isl", get("isl"), &s.ISL, 1}, {"osl", get("osl"), &s.OSL, 1},
			{"concurrency", get("concurrency"), &s.Concurrency, 0}, {"batch", get("batch"), &batch, 0}, {"num_requests", get("num_requests"), &s.Requests, 0}, {"distinct_prompts", get("distinct_prompts"), &s.Prompts, 0},
			{"max_num_seqs", get("max_num_seqs"), &s.MaxSeqs, 0}, {"max_num_batched_tokens", get("max_num_batched_tokens"), &s.MaxTokens, 0},
		} {
			if err := parseCount(c.to, c.value, c.least); err != nil {
				return fmt.Errorf("%s: %w", c.column, err)
			}
		}
		if batch > 0 {
			s.Requests = batch
		}
		switch n := s.Count(); {
		case s.Concurrency > 0 == (batch > 0):
			return fmt.Errorf("want one of concurrency and batch")
		case s.Prompts > maxRunRequests:
			return fmt.Errorf("distinct_prompts: %d: want at most %d", s.Prompts, maxRunRequests)
		case n > maxRunRequests || float64(n)*(float64(s.ISL)+float64(s.OSL)) > maxRunTokens:
			return fmt.Errorf("%d requests of %d and %d tokens: want at most %d requests and %d tokens in all", n, s.ISL, s.OSL, maxRunRequests, maxRunTokens)
		}
		var known bool
		if s.Weights = catalog.Weights(get("weights")); s.Weights != "" && !s.Weights.Valid() {
			return fmt.Errorf("weights: want one of %v, got %q", catalog.AllWeights(), s.Weights)
		}
		if v := get("kv_dtype"); v != "" && v != "auto" {
			d, err := dtype.Parse(v)
			if err != nil {
				return fmt.Errorf("kv_dtype: %w", err)
			}
			s.KV = d
		} else {
			s.KVAuto = true
		}
		chunked, err := parseSwitch("chunked_prefill", get)
		if err != nil {
			return err
		}
		s.Whole = chunked != nil && !*chunked
		if s.First, err = parseSwitch("prefill_first", get); err != nil {
			return err
		}
		for _, c := range []struct {
			column string
			to     *float64
			most   float64
		}{
			{"ttft_ms", &s.TTFT, 1e9}, {"tpot_ms", &s.TPOT, 1e9}, {"latency_s", &s.Latency, 1e7}, {"total_tokens_per_s", &s.Tokens, 1e9}, {"gpu_memory_utilization", &s.Utilization, 1},
			{"card_gib", &s.CardGiB, 1 << 20}, {"length_spread", &s.Spread, 1},
		} {
			text := get(c.column)
			if text == "" {
				continue
			}
			v, err := strconv.ParseFloat(text, 64)
			if err != nil || !(v > 0 && v <= c.most) || math.IsInf(v, 0) {
				return fmt.Errorf("%s: want a number above 0 and at most %g, got %q", c.column, c.most, text)
			}
			*c.to = v
			known = known || c.to != &s.Utilization && c.to != &s.CardGiB && c.to != &s.Spread
		}
		if !known {
			return fmt.Errorf("nothing was measured: want a value in one of ttft_ms, tpot_ms, latency_s, total_tokens_per_s")
		}
		list = append(list, s)
		return nil
	})
	return list, err
}

// parseSwitch parses a column that is on, off or, as nil, empty.
func parseSwitch(column string, get func(string) string) (*bool, error) {
	on := false
	switch v := strings.ToLower(get(column)); v {
	case "":
		return nil, nil
	case "true", "1", "on":
		on = true
	case "false", "0", "off":
	default:
		return nil, fmt.Errorf("%s: want true or false, got %q", column, v)
	}
	return &on, nil
}
