package record

import (
	"math"
	"testing"
)

func TestPick(t *testing.T) {
	// Probabilities 1/8, 1/2, 1/4, 1/8.
	logits := []float32{0, float32(math.Log(4)), float32(math.Log(2)), 0}
	for _, c := range []struct {
		topP, u float64
		want    int
	}{
		{0, 0, 1}, {0, 0.49, 1}, {0, 0.51, 2}, {0, 0.76, 0}, {0, 0.9, 3}, {0, math.Nextafter(1, 0), 3},
		{1, 0.9, 3},
		{0.4, 0.99, 1},                 // 1 alone is enough
		{0.6, 0.66, 1}, {0.6, 0.67, 2}, // 1 and 2: 2/3 and 1/3
		{0.9, 0.99, 3},
		{1e-300, 0.5, 1},
	} {
		s := Sampling{Temperature: 1, TopP: c.topP}
		if got := s.pick(s.candidates(logits), c.u); got != c.want {
			t.Errorf("top-p %g, u %g: token %d, want %d", c.topP, c.u, got, c.want)
		}
	}
}

// Half the temperature squares the odds.
func TestTemperature(t *testing.T) {
	s := Sampling{Temperature: 0.5}
	list := s.candidates([]float32{0, float32(math.Log(3))})
	if odds := list[0].weight / list[1].weight; list[0].token != 1 || math.Abs(odds-9) > 1e-6 {
		t.Errorf("token %d at odds of %g, want token 1 at 9", list[0].token, odds)
	}
}

func TestSamplesFollowTheirProbabilities(t *testing.T) {
	logits := []float32{0, float32(math.Log(3))}
	sample := Sampling{Temperature: 1, Seed: 3}.sampler(0)
	counts := [2]int{}
	for range 10_000 {
		counts[sample(logits)]++
	}
	if counts[1] < 7300 || counts[1] > 7700 { // 7500 ± 4.6 standard deviations
		t.Errorf("%d of 10,000, want about 7,500", counts[1])
	}
	a, b := Sampling{Temperature: 1, Seed: 3}.sampler(0), Sampling{Temperature: 1, Seed: 3}.sampler(1)
	same := 0
	for range 100 {
		if a(logits) == b(logits) {
			same++
		}
	}
	if same == 100 {
		t.Error("two requests have the same random numbers")
	}
}
