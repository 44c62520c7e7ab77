package cost

import (
	"testing"

	"kvcompress/sim"
	"kvcompress/sim/catalog"
)

// TestDepthByHand: attention over the layers' outputs holds and reads further hidden states of each token.
func TestDepthByHand(t *testing.T) {
	d := deploy(t, "llama-3.1-8b", "h100", 1)
	terms := func() (ns float64, peak int64) {
		p := d.Server().profiling()
		for _, term := range Terms() {
			if term.ID == "elementwise" {
				u := term.peak(d)
				ns = u[sim.PrefillTokens]
			}
		}
		return ns, d.layerPeak(&p)
	}
	ns, peak := terms()
	d.Model.Depth = catalog.Depth{Kept: 8, Read: 100}
	more, larger := terms()
	const token = 2 * 4096 // bytes of a hidden state
	if got, want := (more-ns)*3350e9/1e9, 100.0*token; got < want*0.999999 || got > want*1.000001 {
		t.Errorf("%v bytes more are read for a token, want %v", got, want)
	}
	if got, want := larger-peak, int64(d.MaxTokens)*8*token; got != want {
		t.Errorf("%d bytes more at the peak, want %d", got, want)
	}
}
