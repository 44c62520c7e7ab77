package cost

import (
	"context"
	"testing"
)

// TestCarried predicts the rows of one card by a fit to those of the other, scaled by the
// cards' figures.
func TestCarried(t *testing.T) {
	var l4, all []Measurement
	for _, m := range readPublished(t) {
		if all = append(all, m); m.GPU == "NVIDIA L4" {
			l4 = append(l4, m)
		}
	}
	p, _, err := Calibrate(context.Background(), l4, "the rows of the L4")
	if err != nil {
		t.Fatal(err)
	}
	cases, err := NewCases(context.Background(), all[len(l4):], "kv-compress.csv", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if err := c.Predict(p); err != nil {
			t.Fatal(err)
		}
	}
	s := Summarize(cases)
	t.Logf("%+v", s)
	if s.ThroughputMAPE > 0.15 {
		t.Errorf("carried from the L4 to the H100: %+v", s)
	}
}
