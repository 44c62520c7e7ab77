package bench

import (
	"encoding/json"

	"fmt"
	"slices"
	"strconv"
	"strings"

	"kvcompress/dtype"
	"kvcompress/internal/near"
	"kvcompress/kv"
	"kvcompress/ref"
)

// Row is a method as a bench runs it: a method of [ref.Methods] with options that suit short
// contexts, and a knob: the option that is set to reach a budget.
type Row struct {
	Name   string
	Method string // of ref.Methods
	Fixed  string // options that are the same at all budgets, in words
	Knob   string // options that are set to reach a budget, in words

	format   dtype.DType
	set      string // the method's own options, as JSON
	choose   func(*knobSearch) []choice
	apply    func(*ref.Config) // options of KV-Compress
	measured bool              // the number of KVs that a head keeps depends on values, so the search measures it
	streamed bool              // the prompt is read through the compressed cache
	drop     dropRule          // rule by which tokens of the context are dropped before prefill
	linear   string            // a bundled model with linear attention, which runs in place of the plan's
}

// choice is one combination of options that may reach a budget. The first of a row's choices
// that does is taken.
type choice struct {
	text    string            // "2 whole heads"; "" where there is one choice
	tunable tunable           // the zero value if no number is searched
	set     map[string]string // further options of the method, as JSON
}

// tunable is an option with a number, searched for the largest that is within the budget.
type tunable struct {
	max  func(request) int // largest number to try; the smallest is 1
	set  func(c *ref.Config, n int)
	text func(n int) string
}

// byTokens searches max_cache_tokens.
func byTokens() tunable {
	return tunable{
		max:  func(c request) int { return c.prompt + c.fed },
		set:  func(c *ref.Config, n int) { c.Compression.MaxCacheTokens = n },
		text: func(n int) string { return fmt.Sprintf("max_cache_tokens %d", n) },
	}
}

// byRate searches KV-Compress's rate in steps of 1/4096, which are finer than the whole blocks
// of max_cache_tokens.
func byRate() tunable {
	const steps = 1 << 12
	return tunable{
		max:  func(request) int { return steps },
		set:  func(c *ref.Config, n int) { c.Compression.Rate = float64(n) / steps },
		text: func(n int) string { return fmt.Sprintf("rate %.4f", float64(n)/steps) },
	}
}

// Heads are the KV heads of a model by retrieval score, highest first.
type Heads struct {
	Shape  kv.Shape
	Ranked [][2]int // layer and KV head of each
}

// Full is the name of the row that keeps every KV. All others are compared with it.
const Full = "full"

// columnless is a method that evicts nothing unless it has a budget, and keeps no columns
// besides K, V and position. Rows of a full cache use it.
const columnless = "streaming-llm"

// The choices of most rows, of KV-Compress's, and of rows without a knob.
func tokens(*knobSearch) []choice { return []choice{{tunable: byTokens()}} }

func rate(*knobSearch) []choice { return []choice{{tunable: byRate()}} }

func fixedChoice(*knobSearch) []choice { return []choice{{}} }

// Rows returns all rows: [Full] and fp8, then the others by name. A method that is not named
// here has a row with its default options and the knob max_cache_tokens.
func Rows() []Row {
	kvc := func(name string, format dtype.DType) Row {
		return Row{
			Name: name, Method: ref.KVCompress, Fixed: "window 8, protected window 8, max-pool 7", Knob: "rate",
			format: format, choose: rate,
			apply: func(c *ref.Config) { c.Metric.Window, c.Compression.ProtectedWindow = 8, 8 },
		}
	}
	fp8 := kvc("kv-compress+fp8", dtype.E4M3)
	fp8.Fixed = "as kv-compress, in fp8_e4m3"
	rows := []Row{
		{Name: Full, Method: columnless, Fixed: "f16, nothing compressed", Knob: "none", format: dtype.F16, choose: fixedChoice},
		{Name: "fp8", Method: columnless, Fixed: "fp8_e4m3, nothing compressed", Knob: "none", format: dtype.E4M3, choose: fixedChoice},
		kvc(ref.KVCompress, dtype.F16),
		fp8,
		withSet("ada-snapkv", "window 8", `{"window": 8}`),
		headsRow("duo-attention", "duo-attention", "sinks 4", `{"sinks": 4}`, mostRetrieving),
		withSet("expected-attention", "future 64", `{"future": 64}`),
		withSet("lagkv", "lag 32", `{"lag": 32}`),
		headsRow("razor", "razor", "sinks 4, one stand-in", `{}`, mostRetrieving),
		headsRow("razor-wrong-heads", "razor", "sinks 4, one stand-in; the heads that retrieve least are whole", `{}`, leastRetrieving),
		withSet("snapkv", "window 8", `{"window": 8}`),
		withSet("snapkv-kvpress", "window 8", `{"window": 8}`),
		withSet("snapkv-published", "window 8", `{"window": 8}`),
		windowedRow(),
		infLLMRow(),
		shortenedRow(bySurprise, "the tokens that the model itself expects most are dropped from the context before it is read"),
		shortenedRow(atRandom, "random tokens are dropped from the context before it is read"),
		linearRow("linear-model", "linear-0", "another model: three layers of linear attention"),
		linearRow("hybrid-model", "hybrid-0", "another model: a layer of full attention between two of linear attention"),
	}
	for i := range rows {
		rows[i].measured = rows[i].Method == "ada-snapkv"
	}
	rows = append(rows, keepingAll()...)
	for _, e := range ref.Methods() {
		if !e.Planned && !slices.ContainsFunc(rows, func(r Row) bool { return r.Name == e.Name }) {
			rows = append(rows, withSet(e.Name, "as by default", `{}`))
		}
	}
	slices.SortStableFunc(rows[2:], func(a, b Row) int { return strings.Compare(a.Name, b.Name) })
	return rows
}

// byBudget reports whether max_cache_tokens or the rate is part of the row's knob.
func (r *Row) byBudget() bool {
	return strings.Contains(r.Knob, "max_cache_tokens") || r.Knob == "rate"
}

func withSet(method, fixed, set string) Row {
	return Row{Name: method, Method: method, Fixed: fixed, Knob: "max_cache_tokens", format: dtype.F16, set: set, choose: tokens}
}

// windowedRow is StreamingLLM as longctx_bench ran it: int(0.021·C) of the C tokens are sinks,
// and the prompt too attends only to the KVs that the cache holds.
func windowedRow() Row {
	r := withSet(columnless, "the prompt is read through the cache; int(0.021·C) sinks", "")
	r.Name, r.streamed = columnless+"-windowed", true
	r.choose = func(*knobSearch) []choice {
		tune := byTokens()
		tune.set = func(c *ref.Config, n int) {
			c.Compression.MaxCacheTokens = n
			c.Set = ref.Settings{"sinks": json.RawMessage(strconv.Itoa(n * 21 / 1000))}
		}
		return []choice{{tunable: tune}}
	}
	return r
}

// shortenedRow drops tokens of the context before prefill. The cache keeps the KVs of the rest.
func shortenedRow(drop dropRule, fixed string) Row {
	return Row{Name: "prompt-" + string(drop), Method: columnless, Fixed: fixed, Knob: "tokens of the context that are left, in whole blocks", format: dtype.F16, choose: fixedChoice, drop: drop}
}

// headsRow is a row whose knob is the number of KV heads that keep everything ("whole" heads,
// the first in the order), and then how much the other heads keep.
func headsRow(name, method, fixed, set string, order func(Heads) [][2]int) Row {
	r := withSet(method, fixed, set)
	r.Name, r.Knob = name, "whole heads, as many as leave the others 16 KVs each; then max_cache_tokens of the others"
	r.choose = func(ks *knobSearch) []choice {
		h := ks.heads
		ranked := order(h)
		var choices []choice
		for n := len(ranked) - 1; n >= 1; n-- {
			text := fmt.Sprintf("%d whole heads", n)
			if n == 1 {
				text = "1 whole head"
			}
			choices = append(choices, choice{text: text, tunable: byTokens(), set: map[string]string{"full": fullHeads(h.Shape, ranked[:n])}})
		}
		return choices
	}
	return r
}

// leastOthers is the least number of KVs that a head keeps that is not whole.
const leastOthers = 16

func mostRetrieving(h Heads) [][2]int { return h.Ranked }

func leastRetrieving(h Heads) [][2]int {
	least := slices.Clone(h.Ranked)
	slices.Reverse(least)
	return least
}

// fullHeads writes the method's option "full": [layers][KV heads], 1 for a head that keeps
// everything.
func fullHeads(shape kv.Shape, heads [][2]int) string {
	table := make([][]int, shape.Layers)
	for l := range table {
		table[l] = make([]int, shape.KVHeads)
	}
	for _, h := range heads {
		table[h[0]][h[1]] = 1
	}
	text, err := json.Marshal(table)
	if err != nil { // integers can always be written
		return "[]"
	}
	return string(text)
}

// keepingAll returns the rows of methods that evict nothing: they quantize or merge, and their
// options set the bytes per token. The options are listed by expected quality, best first, and
// the first that fits the budget is taken.
func keepingAll() []Row {
	var rows []Row
	for _, r := range []struct {
		method, knob string
		sets         []string
	}{
		{"kivi", "bits, and then the residual", []string{
			`{"bits": 4, "residual": 128}`, `{"bits": 4, "residual": 64}`, `{"bits": 4, "residual": 32}`,
			`{"bits": 2, "residual": 128}`, `{"bits": 2, "residual": 64}`, `{"bits": 2, "residual": 32}`,
		}},
		{"flexgen", "bits", []string{`{"bits": 4}`, `{"bits": 3}`, `{"bits": 2}`, `{"bits": 1}`}},
		{"minicache", "from which layer on", []string{`{"from": -1}`, `{"from": 1}`, `{"from": 0}`}},
		{"minicache+kivi", "residual, and then bits and from which layer on", []string{
			`{"bits": 4, "residual": 128}`, `{"bits": 4, "residual": 32}`, `{"bits": 4, "residual": 32, "from": 0}`,
			`{"bits": 2, "residual": 32}`, `{"bits": 2, "residual": 32, "from": 0}`,
		}},
	} {
		if _, err := ref.FindMethod(r.method); err != nil {
			continue
		}
		row := Row{Name: r.method, Method: r.method, Fixed: "as by default", Knob: r.knob, format: dtype.F16}
		row.choose = func(*knobSearch) []choice {
			var choices []choice
			for _, text := range r.sets {
				var options ref.Settings
				if err := json.Unmarshal([]byte(text), &options); err != nil {
					continue // the literals above are valid JSON
				}
				c := choice{text: strings.Trim(strings.ReplaceAll(text, `"`, ""), "{}"), set: map[string]string{}}
				for key, value := range options {
					c.set[key] = string(value)
				}
				choices = append(choices, c)
			}
			return choices
		}
		rows = append(rows, row)
	}
	return rows
}

// FindRows returns [Full] and the rows of the given names, in the order of [Rows]; all rows if
// no name is given. The error for an unknown name lists the known ones.
func FindRows(names []string) ([]Row, error) {
	all := Rows()
	if len(names) == 0 {
		return all, nil
	}
	known := make([]string, len(all))
	for i, r := range all {
		known[i] = r.Name
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("bench: there is no method %q%s: there are %s", name, near.Hint(name, known), strings.Join(known, ", "))
		}
	}
	return slices.DeleteFunc(all, func(r Row) bool { return r.Name != Full && !slices.Contains(names, r.Name) }), nil
}

// config returns base, which has the shape of the model, with the options of the row and of a
// choice, whose searched number is n.
func (r *Row) config(base ref.Config, c choice, n int) (ref.Config, error) {
	cfg := base
	cfg.DType = r.format
	cfg.UseMethod(r.Method)
	if r.apply != nil {
		r.apply(&cfg)
	}
	if c.tunable.set != nil {
		c.tunable.set(&cfg, n)
	}
	set := ref.Settings{}
	if r.set != "" {
		if err := json.Unmarshal([]byte(r.set), &set); err != nil {
			return cfg, fmt.Errorf("bench: %s: %w", r.Name, err)
		}
	}
	for key, value := range c.set {
		set[key] = json.RawMessage(value)
	}
	if len(set) > 0 {
		cfg.Set = set
	}
	if r.Method == infLLM { // no engine runs it, so Validate refuses it
		if cfg.Rope == nil {
			return cfg, fmt.Errorf("bench: %s: the rotary embedding of the model depends on the length of the sequence", r.Name)
		}
		_, err := cfg.InfLLMReads()
		return cfg, err
	}
	cfg.Shape = cfg.CacheShape(base.Shape)
	if c.set["full"] != "" && n < leastOthers {
		return cfg, fmt.Errorf("bench: %d KVs for a head that is not whole: want at least %d", n, leastOthers)
	}
	return cfg, cfg.Validate()
}
