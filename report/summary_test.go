package report

import (
	"context"
	"io"
	"strings"
	"testing"

	"kvcompress/sim"
	"kvcompress/traces"
)

// TestHiddenSummary: if a method hides KVs, the summary says how many, instead of saying that
// there was nothing to compress.
func TestHiddenSummary(t *testing.T) {
	b, err := traces.Bundled("story")
	if err != nil {
		t.Fatal(err)
	}
	opt := b.Options
	opt.UseMethod("h2o-mask")
	opt.Compression.Rate, opt.Compression.MaxCacheTokens = 0, 24
	opt.Schedule.Interval = 4
	r, err := sim.Replay(context.Background(), b.Trace, opt, sim.Hooks{})
	if err != nil {
		t.Fatal(err)
	}
	last := r.Steps[len(r.Steps)-1]
	// 105 tokens enter each of 20 heads. After the last compression it holds 101, 24 of them
	// visible.
	if last.Usage.KVs != 20*105 || r.Totals.MaxHidden != 20*(101-24) || r.Totals.KVsShort != 0 {
		t.Errorf("%d KVs at last, %d hidden, %d short", last.Usage.KVs, r.Totals.MaxHidden, r.Totals.KVsShort)
	}
	var text strings.Builder
	if err := Text(&text, r, TextOptions{}); err != nil {
		t.Fatal(err)
	}
	said := strings.Join(strings.Fields(text.String()), " ")
	for _, want := range []string{"At most 1,540 KVs of one sequence were hidden at a time, of request 1, which had 2,100 KVs in the end.", "All KVs that were to be hidden were hidden."} {
		if !strings.Contains(said, want) {
			t.Errorf("the summary lacks %q", want)
		}
	}
	for _, wrong := range []string{"Shortfall", " short", "no sequence grew"} {
		if strings.Contains(said, wrong) {
			t.Errorf("it says %q", wrong)
		}
	}
	if err := JSON(io.Discard, r); err != nil {
		t.Error(err)
	}
}
