package mutate

import (
	"errors"
	"fmt"
	"slices"

	"kvcompress/kernels/ptx"
)

// bounded has the engine's arrays of at most 2 GiB in any deployment of up to 256 sequences of 2¹⁷ tokens,
// models of up to 1,024 KV heads in all layers and 64 in one, 128 query heads of up to 256 elements, and 2³¹ slots in
// blocks of 16 or more. The value is the array's size in units of 4 bytes. Other arrays, such as one number per slot, may
// be larger, and offsets in them need 64 bits.
var bounded = map[string]string{
	"lengths":                 "sequences × heads",
	"owners":                  "blocks × 4",
	"batch rows":              "sequences",
	"batch ids":               "sequences",
	"batch positions":         "sequences",
	"batch times":             "sequences",
	"out":                     "sequences × query heads × elements",
	"outputs":                 "sequences × query heads × elements",
	"norms":                   "heads of a layer × tokens",
	"score weights":           "query heads × tokens",
	"covariances":             "query heads × elements²",
	"sums over tokens":        "tokens/128 × query heads × elements",
	"means over tokens":       "query heads × elements",
	"angles":                  "tokens × elements",
	"future angles":           "elements",
	"directions":              "tokens × elements",
	"decision's quotas":       "heads",
	"decision's counts":       "heads × 2,048",
	"decision's losses":       "heads × 4",
	"shares":                  "heads",
	"head bias":               "heads × bins",
	"bias bins":               "bins",
	"first moves":             "heads",
	"full heads":              "sequences × heads",
	"free":                    "blocks/32",
	"free blocks":             "blocks/32",
	"taken blocks":            "blocks of a prompt",
	"hidden tokens":           "sequences × heads of a layer",
	"tokens retained":         "heads",
	"retained KVs":            "sequences × heads × 2",
	"limits of distances":     "sequences × heads × 2",
	"offsets of pairs":        "heads",
	"stand-ins made":          "heads",
	"k scales":                "layers",
	"v scales":                "layers",
	"prefill gains":           "query heads × tokens",
	"partition maxima":        "sequences × query heads × tokens/128",
	"partition sums":          "sequences × query heads × tokens/128",
	"partition factors":       "sequences × query heads × tokens/128",
	"decision's keys":         "heads × tokens",
	"decision's list":         "heads × tokens",
	"moves":                   "heads × tokens × 2",
	"positions held":          "sequences × heads of a layer × tokens/32",
	"positions held before":   "sequences × heads of a layer × tokens/32",
	"distances":               "heads × tokens",
	"list of retained tokens": "heads × tokens",
	"zero":                    "1",
	"position":                "1",
}

// ofOneSequence has the kernels that get the block tables of one sequence, of up to 1,024 heads × 131,072 blocks × 4 bytes:
// for them, "tables" is bounded too. Others get those of all sequences.
var ofOneSequence = []string{
	"append_prompt", "fill_prompt", "fold", "free_blocks", "free_entries", "give_prompt", "hide_kvs", "layer_mean",
	"measure_pairs", "merge_pairs", "merge_pairs_quantized", "pair_moves", "prefill_finish", "prefill_numbers",
	"quantize_channels", "quantize_tokens", "retain_rows", "score_cosines", "score_expected", "score_lag_rest", "score_lags",
	"score_norms",
}

// listsOfOneSequence has the kernels that get the page lists of one sequence, of up to 1,024 heads × 4 lists × 131,072 pages × 4
// bytes: for them, "pages of their own" is bounded too. Those of attention get the lists of all sequences.
var listsOfOneSequence = []string{
	"give_merged", "give_quantized", "merge_pairs", "merge_pairs_quantized", "quantize_channels", "quantize_tokens", "retain_rows",
}

// ofTokens has the kernels that get the queries, keys and values of one token of each sequence, not of a prompt: for them
// these arrays are bounded too.
var ofTokens = []string{
	"append_tokens", "attend_partitions", "attend_partitions_adjusted", "attend_partitions_merged",
	"attend_partitions_merged_quantized", "attend_partitions_quantized",
}

// size returns the size of an array of a kernel, in units of 4 bytes; "" if it may have 2 GiB.
func size(kernel, array string) string {
	if array == "tables" && slices.Contains(ofOneSequence, EngineGroup(kernel)) {
		return "heads × blocks of a sequence"
	}
	if array == "pages of their own" && slices.Contains(listsOfOneSequence, EngineGroup(kernel)) {
		return "heads × 4 × pages of a sequence"
	}
	if slices.Contains([]string{"q", "k", "v"}, array) && slices.Contains(ofTokens, EngineGroup(kernel)) {
		return "sequences × query heads × elements"
	}
	return bounded[array]
}

// far is the offset in bytes that Astray adds to an address. It is larger than all allocated memory.
const far = 1 << 46

// Astray returns the text of the kernel alone with far added to the result of the instruction, so an access
// whose address depends on the result is out of bounds. It is nil unless the instruction writes a single 64-bit register.
func (m *Mutant) Astray() []byte {
	w := read(m.Old)
	d := w.writes()
	if w.guard != "" || d == "" || class(d) != "%rd" {
		return nil
	}
	return m.alone(fmt.Sprintf("%s add.s64 %s, %s, %d;", w, d, d, int64(far)))
}

// oneOfSeveral is the array of an access whose address may be derived from several: a report names the one that is nearest to
// where Astray made it point.
const oneOfSeveral = "one of several arrays"

// array returns the allocation or memory that an access of Astray was meant for; "" if the error is none of such an access.
func array(err error) string {
	report := (*ptx.Report)(nil)
	switch {
	case !errors.As(err, &report) || report.Kind != ptx.OutOfBounds:
		return ""
	case report.Space == "shared" || report.Space == "local":
		return report.Space + " memory"
	case uint64(report.Offset)%far >= uint64(report.Extent): // far times a number was added to the offset
		return oneOfSeveral
	}
	return report.Allocation
}
