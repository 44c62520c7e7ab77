package cost

import (
	"strings"
	"testing"

	"kvcompress/sim/catalog"
)

// TestUnpackedNotes: a note says which weights a card unpacks, and none is said of others.
func TestUnpackedNotes(t *testing.T) {
	for _, c := range []struct {
		card    string
		weights catalog.Weights
		want    string
	}{
		{"a100-80gb", catalog.FP8, "a100-80gb: servers have no kernels here that multiply fp8 as it is"},
		{"h100", catalog.FP8, ""},
		{"h100", catalog.NVFP4, "h100: servers have no kernels here that multiply nvfp4"},
		{"b200", catalog.NVFP4, ""},
		{"b200", catalog.INT8, "b200: servers have no kernels here that multiply int8"},
	} {
		d := deploy(t, "llama-3.1-8b", c.card, 1)
		d.Weights = c.weights
		notes := strings.Join(d.Notes(), " ")
		if !strings.Contains(notes, c.want) || strings.Contains(notes, "unpack") != (c.want != "") {
			t.Errorf("%s on %s: %q, want %q", c.weights, c.card, notes, c.want)
		}
	}
}
