package cost

import (
	"strings"
	"testing"

	"kvcompress/dtype"
	"kvcompress/sim/catalog"
)

// TestUnlike checks the kinds of models and deployments that a fit's error does not apply to.
func TestUnlike(t *testing.T) {
	card, err := catalog.FindCard("h100")
	if err != nil {
		t.Fatal(err)
	}
	dense := Fit{Models: []string{"qwen3-32b"}}
	for _, c := range []struct {
		fit     Fit
		model   string
		weights catalog.Weights
		tp, pp  int
		want    string
	}{
		{dense, "llama-3.1-8b", "", 1, 1, ""},
		{dense, "llama-3.1-8b", "int4", 1, 2, "weights in int4 or 2 stages"},
		{dense, "mixtral-8x7b", "", 1, 1, "a mixture of experts"},
		{dense, "gemma-3-12b", "", 1, 1, "layers with windows"},
		{dense, "mamba-2.8b", "", 1, 1, "linear-time layers"},
		{dense, "llama-3.1-70b-fp8", "", 1, 1, "weights in fp8"},
		{Fit{Models: []string{"qwen3-32b", "llama-3.1-70b-fp8"}}, "llama-3.1-8b", "fp8", 1, 1, ""},
		{Fit{Models: []string{"qwen3-32b"}, Formats: []string{"bf16", "fp8"}}, "llama-3.1-8b", "fp8", 1, 1, ""},
		{Fit{Models: []string{"llama-3.1-70b-fp8"}, Formats: []string{"bf16"}}, "llama-3.1-8b", "fp8", 1, 1, "weights in fp8"},
		{Fit{Models: []string{"qwen3-30b-a3b"}}, "mixtral-8x7b", "", 1, 1, ""},
		{Fit{Models: []string{"somebody's"}}, "mixtral-8x7b", "", 1, 1, ""},
		{Fit{}, "mixtral-8x7b", "", 1, 1, ""},
		{Fit{Models: []string{"llama-3.1-70b", "gpt-oss-120b"}, Formats: []string{"fp8", "mxfp4"}}, "qwen3-235b-a22b", "fp8", 1, 1, "experts in fp8"},
		{Fit{Models: []string{"llama-3.1-70b", "gpt-oss-120b"}, Formats: []string{"fp8", "mxfp4"}}, "gpt-oss-20b", "", 1, 1, ""},
		{Fit{Models: []string{"llama-3.1-70b", "gpt-oss-120b"}, Formats: []string{"fp8", "mxfp4"}}, "llama-3.1-8b", "fp8", 1, 1, ""},
		{Fit{Models: []string{"gpt-oss-120b", "qwen3-30b-a3b"}, Formats: []string{"fp8", "mxfp4"}}, "qwen3-235b-a22b", "fp8", 1, 1, ""},
		{Fit{Models: []string{"gpt-oss-120b", "qwen3-30b-a3b"}, Formats: []string{"mxfp4"}}, "qwen3-235b-a22b", "fp8", 1, 1, "weights in fp8"},
		{Fit{Models: []string{"llama-3.1-70b", "deepseek-v3"}, Formats: []string{"fp8", "nvfp4"}, Experts: []string{"nvfp4"}}, "deepseek-v3", "nvfp4", 1, 1, ""},
		{Fit{Models: []string{"llama-3.1-70b", "deepseek-v3"}, Formats: []string{"fp8", "nvfp4"}, Experts: []string{"nvfp4"}}, "deepseek-v3", "fp8", 1, 1, "experts in fp8"},
		{Fit{Models: []string{"llama-3.1-70b"}, Formats: []string{"nvfp4"}, Unpacked: []string{}}, "llama-3.1-8b", "nvfp4", 1, 1, "weights in nvfp4 that were unpacked"},
		{Fit{Models: []string{"llama-3.1-70b"}, Formats: []string{"nvfp4"}, Unpacked: []string{"nvfp4"}}, "llama-3.1-8b", "nvfp4", 1, 1, ""},
		{Fit{Models: []string{"llama-3.1-70b"}, Formats: []string{"fp8"}, Unpacked: []string{}}, "llama-3.1-8b", "fp8", 1, 1, ""},
		{dense, "llama-3.1-8b", "", 2, 1, "several cards"},
		{Fit{Models: []string{"qwen3-32b"}, Fitted: []string{"weights", allReduce}}, "llama-3.1-8b", "", 2, 1, ""},
	} {
		m, err := catalog.FindModel(c.model)
		if err != nil {
			t.Fatal(err)
		}
		d := New(m, card)
		if d.TP, d.PP = c.tp, c.pp; c.weights != "" {
			d.Weights = c.weights
		}
		got := c.fit.Unlike(&d)
		if c.want == "" && got != "" || c.want != "" && !strings.HasSuffix(got, "none of which had "+c.want+".") {
			t.Errorf("%s %s: %q, want %q", c.model, c.weights, got, c.want)
		}
	}
}

// TestRan: a model is the same with and without its format in its name, and an unstated format
// is the models' own.
func TestRan(t *testing.T) {
	card, err := catalog.FindCard("h100")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		fit     Fit
		model   string
		weights catalog.Weights // "" is the model's
		want    bool
	}{
		{Fit{Models: []string{"llama-3.1-70b"}, Formats: []string{"fp8"}}, "llama-3.1-70b-fp8", "", true},
		{Fit{Models: []string{"llama-3.1-70b"}, Formats: []string{"fp8"}}, "llama-3.1-70b", "fp8", true},
		{Fit{Models: []string{"llama-3.1-70b"}, Formats: []string{"fp8"}}, "llama-3.1-70b", "", false},
		{Fit{Models: []string{"llama-3.1-70b-fp8"}}, "llama-3.1-70b-fp8", "", true},
		{Fit{Models: []string{"llama-3.1-70b-fp8"}}, "llama-3.1-70b", "fp8", true},
		{Fit{Models: []string{"llama-3.1-70b-fp8"}}, "llama-3.1-70b", "", false},
		{Fit{Models: []string{"llama-3.1-70b"}}, "llama-3.1-70b", "", true},
		{Fit{Models: []string{"llama-3.1-70b"}}, "llama-3.1-70b", "fp8", false},
		{Fit{Models: []string{"llama-3.1-8b"}, Formats: []string{"bf16"}}, "llama-3.1-70b", "", false},
		{Fit{Models: []string{"llama-3.1-70b"}, Formats: []string{"nvfp4"}, Unpacked: []string{}}, "llama-3.1-70b", "nvfp4", false},
		{Fit{Models: []string{"llama-3.1-70b"}, Formats: []string{"nvfp4"}, Unpacked: []string{"nvfp4"}}, "llama-3.1-70b", "nvfp4", true},
		{Fit{}, "llama-3.1-70b", "", false},
	} {
		m, err := catalog.FindModel(c.model)
		if err != nil {
			t.Fatal(err)
		}
		d := New(m, card)
		if c.weights != "" {
			d.Weights = c.weights
		}
		if got := c.fit.Ran(&d); got != c.want {
			t.Errorf("%v in %v: %s in %s: %t", c.fit.Models, c.fit.Formats, c.model, d.Weights, got)
		}
	}
}

// TestUnlikeOfOldProfile: a profile of before there was a factor for KVs of 8 bits may be of such runs.
func TestUnlikeOfOldProfile(t *testing.T) {
	d := onRoundCard(t, "llama-3.1-8b", func(d *Deployment) { d.KV = dtype.E4M3 })
	for factors, want := range map[string]bool{`"kv":2`: false, `"kv":2,"kv8":2`: true} {
		p, err := ReadProfile(strings.NewReader(`{"version":1,"file":"f","fits":[{"card":"l4","models":["llama-3.1-8b"],"of":"f","rows":1,"factors":{` + factors + `},"fitted":["kv"],"quality":{}}]}`))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(p.Fits[0].Unlike(d), "a cache in 8 bits"); got != want {
			t.Errorf("%s: %v, want %v", factors, got, want)
		}
	}
}
