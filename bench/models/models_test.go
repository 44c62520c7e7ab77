package models

import (
	"encoding/json"
	"math"
	"os"
	"testing"
)

// The logits of the bundled models agree with NumPy's in float64 within 97·2⁻²⁴·20, the
// rounding error bound of a logit's own dot product in binary32: 96 products whose
// magnitudes add up to at most 20.
func TestGoldenLogits(t *testing.T) {
	for _, name := range Names() {
		m, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(name + "/golden.json")
		if err != nil {
			t.Fatal(err)
		}
		var golden struct {
			Cases []struct {
				Category string
				Tokens   []int
				Logits   []float64
			}
		}
		if err := json.Unmarshal(text, &golden); err != nil {
			t.Fatal(err)
		}
		if len(golden.Cases) != 7 {
			t.Fatalf("%s: %d cases, want one of each category", name, len(golden.Cases))
		}
		worst := 0.0
		for _, c := range golden.Cases {
			logits, err := m.NewSession().Feed(c.Tokens, nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(logits) != len(c.Logits) {
				t.Fatalf("%s: %s: %d logits, want %d", name, c.Category, len(logits), len(c.Logits))
			}
			for i, want := range c.Logits {
				worst = max(worst, math.Abs(float64(logits[i])-want))
			}
		}
		if t.Logf("%s: the largest difference of a logit is %.2g", name, worst); !(worst < 97*20*0x1p-24) {
			t.Errorf("%s: a logit is %g from float64", name, worst)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	if _, err := Load("../recall-0"); err == nil {
		t.Error("a name that is none is taken")
	}
}
