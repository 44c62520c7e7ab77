package cost

import (
	"bytes"
	"context"
	"math"
	"os"
	"testing"
)

// published is what KV-Compress's author measured; the README beside it has the source.
const published = "testdata/published/kv-compress.csv"

func readPublished(t *testing.T) []Measurement {
	t.Helper()
	text, err := os.ReadFile(published)
	if err != nil {
		t.Fatal(err)
	}
	list, err := ReadMeasurements(bytes.NewReader(text), "kv-compress.csv")
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestPublished compares the largest batches and, after calibration, the throughputs with the published
// ones.
func TestPublished(t *testing.T) {
	p, cases, err := Calibrate(context.Background(), readPublished(t), "kv-compress.csv")
	if err != nil {
		t.Fatal(err)
	}
	s := Summarize(cases)
	t.Logf("%+v", s)
	for _, c := range cases {
		if c.MaxDecodingBatch > 0 && c.Batch != c.MaxDecodingBatch {
			t.Logf("%s, %d tokens, %s: a batch of %d, measured %d", c.GPU, c.InputLen, c.CompressionRate, c.Batch, c.MaxDecodingBatch)
		}
	}
	if float64(s.BatchExact) < 0.97*float64(s.Rows) || s.BatchMaxError > 1 {
		t.Errorf("%d of %d batches are exact, and one is off by %d", s.BatchExact, s.Rows, s.BatchMaxError)
	}
	for card, want := range map[string]Quality{"l4": publishedL4(), "h100-nvl": publishedH100()} {
		var sum errorSum
		for _, c := range cases {
			if c.Deployment.Card.Name != card {
				continue
			}
			if err := c.Predict(DefaultProfile()); err != nil {
				t.Fatal(err)
			}
			sum.addKnown(c.Off)
		}
		if !(math.Abs(val(sum.mape())-*want.MAPE) <= 0.0005) || !(math.Abs(val(sum.maxError())-*want.MaxError) <= 0.0005) {
			t.Errorf("%s: the defaults are off by %+v, and say %+v", card, sum, want)
		}
	}
	for _, fit := range p.Fits {
		q := fit.Quality
		t.Logf("%s: %+v\n%v", fit.Card, q, fit.Factors)
		if !(val(q.CompressedMAPE) <= 0.04 && val(q.MaxError) <= 0.15 && val(q.VanillaMAPE) <= 0.08 && val(q.CrossMAPE) <= 0.05) {
			t.Errorf("%s: %+v", fit.Card, q)
		}
	}
}
