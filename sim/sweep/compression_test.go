package sweep

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"kvcompress/ref"
	"kvcompress/sim/catalog"
)

func TestParseCompressionOfMethods(t *testing.T) {
	for in, want := range map[string]struct{ text, title, method string }{
		"none":                          {"none", "uncompressed", "none"},
		"rate:0.250":                    {"rate:0.25", "keep 25 %", ref.KVCompress},
		"kv-compress:tokens:64":         {"tokens:64", "keep 64 KVs a head", ref.KVCompress},
		"razor":                         {"razor", "razor", "razor"},
		"snapkv:tokens:1024":            {"snapkv:tokens:1024", "snapkv, keep 1024 KVs a head", "snapkv"},
		"streaming-llm-kvpress:rate:.5": {"streaming-llm-kvpress:rate:0.5", "streaming-llm-kvpress, keep 50 %", "streaming-llm-kvpress"},
	} {
		c, err := ParseCompression(in)
		if err != nil || c.String() != want.text || c.Title() != want.title || c.MethodName() != want.method {
			t.Errorf("%q: %q, %q, %q, %v; want %q", in, c, c.Title(), c.MethodName(), err, want)
		}
	}
	for in, want := range map[string]string{
		"zip": "there is no method", "kv-compress": "want rate:R", "snapkv:": "want rate:R", "snapkv:tokens": "want rate:R", "snapkv:rate:2": "want rate:R",
		"snapkv:tokens:0": "want rate:R", "snapkv:rate:0.5:1": "want rate:R", "tokens:5:5": "want rate:R", "none:tokens:5": "there is no method", ":rate:0.5": "there is no method",
	} {
		if c, err := ParseCompression(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v; want %q", in, c, err, want)
		}
	}
}

// FuzzParseCompression checks that a parsed compression, written as text, parses to the same.
func FuzzParseCompression(f *testing.F) {
	for _, s := range []string{"none", "rate:0.25", "tokens:1024", "razor", "snapkv:tokens:1024", "kv-compress:rate:1e-3", "quest:tokens:2147483647", "tova:rate:nan"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCompression(s)
		if err != nil {
			return
		}
		if again, err := ParseCompression(c.String()); err != nil || again != c {
			t.Errorf("%q is written as %q, which is read as %+v, %v", s, c, again, err)
		}
		text, err := json.Marshal(c)
		var back Compression
		if err != nil || json.Unmarshal(text, &back) != nil || back != c {
			t.Errorf("%q: %s", s, text)
		}
	})
}

// An outcome of a sweep from before there were methods is still read.
func TestOldOutcome(t *testing.T) {
	line := `{"index":3,"model":"llama-3.1-8b","gpu":"l4","tensor_parallel":1,"memory_budget":"0.9","compression":"rate:0.25","max_num_seqs":8,"load":1}`
	file, err := Read(strings.NewReader(fmt.Sprintf("{\"kvc_sweep\":1,\"sweep\":\"x\",\"points\":4,\"shard\":\"0/1\",\"inputs\":{}}\n%s\n", line)))
	if err != nil || len(file.Items) != 1 || file.Items[0].Compression != (Compression{Rate: 0.25}) {
		t.Errorf("%+v, %v", file, err)
	}
}

// TestSweepOfMethods projects methods at equal memory.
func TestSweepOfMethods(t *testing.T) {
	j := &Projector{Settings: DefaultSettings(), Requests: requests(60, 50e6)}
	j.MaxNumBatchedTokens = 8192
	j.Set = map[string]ref.Settings{"razor": {"full_share": []byte("0.15"), "threshold": []byte("100")}}
	a := axes()
	a.Cards, a.Budgets, a.MaxNumSeqs = []string{"l4"}, []Budget{must(ParseBudget("50000tokens"))}, []int{64}
	a.Compressions = nil
	for _, s := range []string{"none", "tokens:256", "snapkv:tokens:256", "streaming-llm:tokens:256", "razor", "quest:tokens:64", "snapkv-published:rate:0.25"} {
		a.Compressions = append(a.Compressions, must(ParseCompression(s)))
	}
	points := must(a.Points())
	outcomes := must(Run(t.Context(), points, All(len(points)), 0, j.Project, nil))
	for _, o := range outcomes {
		if o.Error != "" || o.Metrics.Finished != 60 || o.Memory.Blocks != outcomes[0].Memory.Blocks {
			t.Errorf("%v: %s, %d finished, %d blocks", &o.Point, o.Error, o.Metrics.Finished, o.Memory.Blocks)
		}
		if measured := o.Compression.Method == ""; measured != (len(o.Notes) == 0) {
			t.Errorf("%v: notes %q", &o.Point, o.Notes)
		}
	}

	model := must(catalog.FindModel("llama-3.1-8b"))
	for s, want := range map[string]string{"duo-attention": "full_share", "snapkv": "compresses nothing", "quest:rate:0.5": "no rate", "snapkv:tokens:32": "must be larger"} {
		if err := j.CheckMethod(model, must(ParseCompression(s))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", s, err, want)
		}
	}
}
