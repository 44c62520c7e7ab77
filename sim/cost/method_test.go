package cost

import (
	"slices"
	"strings"
	"testing"

	"kvcompress/ref"
)

// TestMethodNotes checks the assumptions that are printed for each method.
func TestMethodNotes(t *testing.T) {
	const alike, copies, nothing = "all are assumed to keep the same number", "a copy of K and V for each query head: 4 times", "It frees nothing"
	for method, want := range map[string][]string{
		"streaming-llm":    nil,
		"snapkv":           nil,
		"ada-snapkv":       {alike},
		"h2o-mask":         {nothing},
		"snapkv-published": {copies},
	} {
		d := onRoundCard(t, "llama-3.1-8b", func(d *Deployment) {
			d.Method = ref.Config{Method: method, Compression: ref.Compression{MaxCacheTokens: 128}}
		})
		notes := strings.Join(d.Notes(), "\n")
		if !strings.Contains(notes, "The kernels of the method are not measured") {
			t.Errorf("%s: %s", method, notes)
		}
		for _, note := range []string{alike, copies, nothing} {
			if strings.Contains(notes, note) != slices.Contains(want, note) {
				t.Errorf("%s: %s\nwant %v", method, notes, want)
			}
		}
	}
}

// TestMethodsWithoutBudget: with neither max_cache_tokens nor rate, a method is planned if it asks
// a long prompt for anything by its own options, and refused otherwise.
func TestMethodsWithoutBudget(t *testing.T) {
	for _, c := range []struct {
		method  string
		set     ref.Settings
		budget  int
		refused bool
	}{
		{"razor", ref.Settings{FullShare: []byte("0.25")}, 0, false}, // a fifth of the other heads, or 4,000 tokens
		{"kivi", nil, 0, false}, // all but a residual is quantized
		{"", nil, 0, false},     // nothing is compressed, which is no method's fault
		{"snapkv", nil, 0, true},
		{"snapkv", nil, 128, false},
		{"h2o-mask", nil, 0, true},
	} {
		d := onRoundCard(t, "llama-3.1-8b", func(d *Deployment) {
			d.Method = ref.Config{Method: c.method, Set: c.set, Compression: ref.Compression{MaxCacheTokens: c.budget}}
		})
		err := d.checkMethod()
		if (err != nil) != c.refused || c.refused && !strings.Contains(err.Error(), "compresses nothing without") {
			t.Errorf("%q with a budget of %d: %v", c.method, c.budget, err)
		}
	}
}

// TestHostLink: InfLLM needs a card with a known link to the host. For each sequence, the missed
// fraction of the looked-up blocks, of all heads, is fetched over the links of all cards.
func TestHostLink(t *testing.T) {
	d := onRoundCard(t, "llama-3.1-8b", func(d *Deployment) {
		d.TP = 2
		d.Method = ref.Config{Method: infLLM, Compression: ref.Compression{MaxCacheTokens: 4096}}
	})
	if err := d.Validate(); err != nil {
		t.Error(err)
	}
	p, err := d.Method.InfLLMReads()
	if err != nil {
		t.Fatal(err)
	}
	// 256 heads of 512 bytes a KV at 10 GB/s.
	if got, want := d.fetches(), p.Missed*float64(p.LookedUp)*256*512/10/2; !near(got, want) {
		t.Errorf("%v ns, want %v", got, want)
	}
	d.Card.Host = 0
	if err := d.Validate(); err == nil || !strings.Contains(err.Error(), "host_bytes_per_sec is not known") {
		t.Errorf("%v", err)
	}
	l := onRoundCard(t, "llama-3.1-8b", func(d *Deployment) {
		d.TP = 2
		d.Method = ref.Config{Method: llmLingua2, Compression: ref.Compression{Rate: 0.25}}
	})
	plan, err := l.Method.PromptCompression()
	if err != nil {
		t.Fatal(err)
	}
	// On one card, two operations a weight for each of the four tokens that came for one.
	if got, want := l.compressesPrompt(), 2*plan.Matrices*4/1e5; !near(got, want) {
		t.Errorf("%v ns, want %v", got, want)
	}
	if l.PromptRate() != 0.25 || d.PromptRate() != 1 {
		t.Errorf("rates %v and %v", l.PromptRate(), d.PromptRate())
	}
}
