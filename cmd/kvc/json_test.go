package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// absentZeros are the numbers that JSON leaves out where they are 0, by package and key, under the
// reason why a 0 is no measurement. What may be measured to be 0 is a pointer, nil where it was
// not measured, or is always there.
var absentZeros = map[string][]string{
	"a setting: 0 is its default, or none": {
		"trace prefix_block_tokens", "trace low_freq_factor", "trace high_freq_factor", "trace original_max_position_embeddings",
		"trace beta_fast", "trace beta_slow", "trace attention_factor", "heads query_heads",
		"sim/stats ttft_ns", "sim/stats tpot_ns", "sim/stats e2e_ns", "sim/stats part",
		"sim max_model_len", "sim long_prefill_token_threshold", "sim prefix_block_tokens", "sim interval", "sim new_token_limit", "sim max_kv_per_compression",
		"sim/sweep concurrency", "sim/sweep replicas", "sim/sweep prefill_replicas", "sim/sweep decode_replicas", "sim/sweep kv_link_bytes_per_second",
		"sim/sweep max_model_len", "sim/sweep pipeline_parallel", "sim/sweep blocks", "sim/sweep prefix_block_tokens", "sim/sweep kv_link_latency_ns",
		"sim/sweep window", "sim/sweep new_token_limit", "cmd/kvc concurrency",
		"ref chunk", "ref max_cache_tokens", "ref rate", "ref seed", "ref bias_weight",
		"bench each", "bench max_tokens", "bench digits", "bench distractors", "validate before", "validate before_rows", "validate scale", "validate tokens", "validate deviations",
	},
	"of a file that was read, in which 0 is not known": {
		"sim/cost card_gib", "sim/cost max_num_seqs", "sim/cost max_num_batched_tokens", "sim/cost gpu_memory_utilization", "sim/cost concurrency", "sim/cost num_requests", "sim/cost length_spread", "sim/cost distinct_prompts",
		"sim/cost ttft_ms", "sim/cost tpot_ms", "sim/cost latency_s", "sim/cost total_tokens_per_s", "sim/cost weights_gib", "sim/cost activation_gib", "sim/cost kv_gib",
		"sim/cost gpu_blocks_of_16", "sim/cost max_cache_tokens", "sim/cost max_decoding_batch",
	},
	"a line, which is counted from 1": {"kernels/invoke line", "kernels/mutate line", "cmd/kvc line", "cmd/kvc ptx_line"},
	"more than 0 where there is one": {
		"trace kv_bytes_per_token", "trace kv_bytes", "trace kv_bytes_largest_request", // of a shape
		"sim/stats offered_request_rate", "cmd/kvc per_second", // of requests that do not come all at once
		"sim/plan over", "sim/plan usd_per_month", "sim/sweep usd_per_hour", "sim/sweep usd_per_million_output_tokens", "sim/sweep usd_per_million_tokens", // a price is
		"sim/sweep replica_probes", "sim/sweep load_probes", // a search has at least one
		"sim/cost compressor_bytes", "sim/cost sequences", "sim peak_payload_bytes", "kv payload_bytes",
		"validate ulp", "validate/kit ulp", "validate max_ulp", // of numbers that differ
		"cmd/kvc size", "cmd/kvc instructions", "cmd/kvc length", "cmd/kvc digits", "cmd/kvc bytes", "cmd/kvc needs",
	},
	"of golden.json, where 0 is absent, and reads as 0": {"validate moves", "validate asked", "validate needs"},
}

// TestAbsentZeros searches the source for numbers that JSON omits if they are 0.
func TestAbsentZeros(t *testing.T) {
	listed := map[string]bool{}
	for _, keys := range absentZeros {
		for _, key := range keys {
			listed[key] = false
		}
	}
	numbers := []string{"int", "int8", "int16", "int32", "int64", "uint", "uint8", "uint16", "uint32", "uint64", "float32", "float64", "time.Duration"}
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || len(d.Name()) > 2 && d.Name()[0] == '.') {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			field, ok := n.(*ast.Field)
			if !ok || field.Tag == nil {
				return true
			}
			text, err := strconv.Unquote(field.Tag.Value)
			name, options, _ := strings.Cut(reflect.StructTag(text).Get("json"), ",")
			if err != nil || !strings.Contains(options, "omit") || !slices.Contains(numbers, typeName(field.Type)) {
				return true
			}
			key := filepath.ToSlash(dir) + " " + name
			if _, ok := listed[key]; !ok {
				t.Errorf("%v: JSON leaves out a %s of 0: is that never measured? (%q)", files.Position(field.Pos()), name, key)
			}
			listed[key] = true
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for key, found := range listed {
		if !found {
			t.Errorf("%q is listed, and is not there", key)
		}
	}
}

// typeName is the name of a type as it is written, if it has one.
func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return typeName(e.X) + "." + e.Sel.Name
	}
	return ""
}
