package report

import (
	"slices"
	"testing"

	"gonum.org/v1/plot/plotter"

	"kvcompress/sim/plan"
)

// The front omits points that another point exceeds in both coordinates.
func TestFront(t *testing.T) {
	points := plotter.XYs{{X: 1, Y: 10}, {X: 0.9, Y: 30}, {X: 0.8, Y: 20}, {X: 0.7, Y: 40}, {X: 0.9, Y: 5}}
	want := plotter.XYs{{X: 0.7, Y: 40}, {X: 0.9, Y: 30}, {X: 1, Y: 10}}
	if got := front(points); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// Candidates of unknown quality are not drawn, and a single candidate makes no figure.
func TestQualityFigure(t *testing.T) {
	candidate := func(kept float64, why string) plan.Candidate {
		c := plan.Candidate{Quality: &plan.Quality{Kept: kept, Of: "tiny", Why: why}}
		c.Metrics.Finished, c.ThroughputPerCard = 1, 100*kept
		return c
	}
	a := &plan.Answer{Candidates: []plan.Candidate{candidate(1, ""), candidate(0, "unknown"), {}}}
	if f := qualityFigure(a); f != nil {
		t.Error("one candidate is drawn")
	}
	a.Candidates = append(a.Candidates, candidate(0.5, ""))
	f := qualityFigure(a)
	if f == nil {
		t.Fatal("two candidates are not drawn")
	}
	if svg, err := f.svg(true); err != nil || len(svg) == 0 {
		t.Error(err)
	}
}
