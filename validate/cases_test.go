package validate

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kvcompress/internal/testsize"
)

// shared opens a file of ../shared/data, or skips the test if it does not exist.
func shared(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "shared", "data", name))
	if err != nil {
		t.Skipf("needs ../shared/data beside the repository: %v", err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestOracle(t *testing.T) {
	for name, want := range map[string]int{"oracle/eviction.json": 12, "oracle/prefill_metrics.json": 4} {
		t.Run(name, func(t *testing.T) {
			results, err := Cases(t.Context(), shared(t, name))
			if err != nil {
				t.Fatal(err)
			}
			if len(results) != want {
				t.Errorf("%d cases, want %d", len(results), want)
			}
			for _, r := range results {
				t.Logf("%+v", r)
				if r.Mismatch != "" {
					t.Errorf("case %d: %s", r.Case, r.Mismatch)
				}
			}
		})
	}
}

func TestCasesRefused(t *testing.T) {
	const head = `{"layer":0,"head":0,"blocks":[0],"positions":[0,1],"metrics":[1,2],"evicted_blocks":0,"evicted":[],"moves":[]}`
	eviction := func(layers, blockSize, heads string) string {
		return `[{"layers":` + layers + `,"kv_heads":1,"block_size":` + blockSize + `,"sequence_length":2,"protected_window":0,"attention_sinks":0,` +
			`"metric_reduction":"sum","blocks_to_evict":0,"heads":` + heads + `}]`
	}
	metrics := func(window, norm, q string) string {
		return `[{"kv_heads":1,"group":1,"head_dim":8,"tokens":1,"window":` + window + `,"buffer":0,"norm":"` + norm + `","max_pool":0,` +
			`"q":` + q + `,"k":[1,0,0,0,0,0,0,0],"metrics":[1]}]`
	}
	swap := func(old, new string) string { return eviction("1", "4", "["+strings.Replace(head, old, new, 1)+"]") }
	for _, c := range []struct{ name, in, want string }{
		{"empty", ``, "empty"},
		{"no array", `{}`, "an array of cases"},
		{"no case", `[]`, "the file has none"},
		{"cut off", `[{"heads":[`, "it ends in the middle of a value"},
		{"two arrays", `[{}][{}]`, "want \"heads\""},
		{"something after", eviction("1", "4", "["+head+"]") + "]", "there is data after"},
		{"neither kind", `[{}]`, "case 0: want \"heads\""},
		{"heads missing", eviction("2", "4", "["+head+"]"), "1 heads are given for 2 layers"},
		{"absurd layers", eviction("9223372036854775807", "4", "["+head+"]"), "heads are given"},
		{"block size", eviction("1", "0", "["+head+"]"), "block_size 0"},
		{"blocks do not fit", eviction("1", "1", "["+head+"]"), "are inconsistent"},
		{"far block", swap("[0]", "[2147483647]"), "blocks[0] = 2147483647 is not from 0 to 536870910"},
		{"position", swap("[0,1]", "[0,2]"), "positions[1] = 2"},
		{"position twice", swap("[0,1]", "[1,1]"), "positions[1] = 1"},
		{"move of three", swap(`"moves":[]`, `"moves":[[0,1,2]]`), "moves[0] has 3 numbers"},
		{"field missing", swap(`"evicted":[],`, ""), `heads[0]: "evicted" is missing`},
		{"field null", swap(`"evicted":[],`, `"evicted":null,`), `"evicted" is missing`},
		{"field twice", swap(`"evicted":[],`, `"evicted":[],"evicted":[],`), "twice"},
		{"metrics shape", metrics("1", "L1", "[]"), "q has 0 numbers"},
		{"absurd window", metrics("1048577", "L1", "[]"), "window 1048577"},
		{"absurd group", `[{"kv_heads":1,"group":1048576,"head_dim":8,"tokens":512,"window":1,"buffer":0,"norm":"L1","max_pool":0,` +
			`"q":[` + strings.Repeat("0,", 8<<20-1) + `0],"k":[` + strings.Repeat("0,", 8*512-1) + `0],"metrics":[` + strings.Repeat("0,", 511) + `0]}]`, "more than can be held at once"},
		{"metrics norm", metrics("1", "L7", "[1,0,0,0,0,0,0,0]"), "L7"},
		{"metrics magnitude", metrics("1", "L1", "[1,0,0,0,0,0,0,3e38]"), "q[7] = 3e+38"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if len(c.in) > testsize.Of(1<<20, 1<<20, math.MaxInt) {
				t.Skip("it reads millions of numbers")
			}
			_, err := Cases(t.Context(), strings.NewReader(c.in))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestCasesDisagree(t *testing.T) {
	const in = `[{"layers":1,"kv_heads":1,"block_size":1,"sequence_length":3,"protected_window":0,"attention_sinks":0,"metric_reduction":"sum","blocks_to_evict":1,"heads":[
		{"layer":0,"head":0,"blocks":[4,1,7],"positions":[0,1,2],"metrics":[3,1,2],"evicted_blocks":1,"evicted":[EVICTED],"moves":[MOVES]}]}]`
	for _, c := range []struct{ evicted, moves, want string }{
		{"1", "[1,7]", ""},
		{"0", "[1,7]", "[0] is 1, 0 recorded"},
		{"1", "[1,4]", "[1] is 7, 4 recorded"},
	} {
		results, err := Cases(t.Context(), strings.NewReader(strings.NewReplacer("EVICTED", c.evicted, "MOVES", c.moves).Replace(in)))
		if err != nil {
			t.Fatal(err)
		}
		if got := results[0].Mismatch; !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("evicted %s, moves %s: %q, want %q", c.evicted, c.moves, got, c.want)
		}
	}
}

func FuzzCases(f *testing.F) {
	f.Add([]byte(`[{"layers":1,"kv_heads":1,"block_size":1,"sequence_length":3,"protected_window":0,"attention_sinks":0,"metric_reduction":"avg","blocks_to_evict":1,"heads":[
		{"layer":0,"head":0,"blocks":[4,1,7],"positions":[0,1,2],"metrics":[3,1,2],"evicted_blocks":1,"evicted":[0],"moves":[]}]}]`))
	f.Add([]byte(`[{"kv_heads":1,"group":1,"head_dim":8,"tokens":1,"window":1,"buffer":0,"max_pool":0,"norm":"L1","q":[1,0,0,0,0,0,0,0],"k":[1,0,0,0,0,0,0,0],"metrics":[1]}]`))
	f.Fuzz(func(t *testing.T, in []byte) {
		Cases(t.Context(), strings.NewReader(string(in)))
	})
}
