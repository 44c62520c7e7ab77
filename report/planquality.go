package report

import (
	"cmp"
	"fmt"
	"slices"

	"gonum.org/v1/plot/plotter"

	"kvcompress/sim/plan"
)

// qualityFigure plots the throughput per card of each candidate against its quality relative to
// the full cache, with the Pareto front. It is nil if fewer than two candidates have a known
// quality.
func qualityFigure(a *plan.Answer) *Figure {
	var curves []curve
	var all plotter.XYs
	names := map[string]int{}
	of := ""
	for i := range a.Candidates {
		c := &a.Candidates[i]
		if c.Quality == nil || c.Quality.Why != "" || c.Error != "" || c.Metrics.Finished == 0 {
			continue
		}
		of = c.Quality.Of
		name := c.Compression.MethodName()
		if !c.Compression.Enabled() {
			name = "none"
		}
		k, known := names[name]
		if !known {
			k = len(curves)
			names[name] = k
			curves = append(curves, curve{name: name, dots: true})
		}
		at := plotter.XY{X: c.Quality.Kept, Y: c.ThroughputPerCard}
		curves[k].points = append(curves[k].points, at)
		all = append(all, at)
	}
	if len(all) < 2 {
		return nil
	}
	if front := front(all); len(front) > 1 {
		curves = append(curves, curve{name: "the front", points: front, line: true})
	}
	return newFigure("quality", "Throughput against quality", "part of the full cache's score that is kept", "tokens/s of each card",
		fmt.Sprintf("Up and to the right is better. The quality is that of %s.", of), curves)
}

// front returns the Pareto front: the points for which no other has more of both x and y. They
// are sorted by x.
func front(points plotter.XYs) plotter.XYs {
	sorted := slices.Clone(points)
	slices.SortFunc(sorted, func(a, b plotter.XY) int { return cmp.Or(cmp.Compare(b.X, a.X), cmp.Compare(b.Y, a.Y)) })
	var best plotter.XYs
	for _, p := range sorted {
		if len(best) == 0 || p.Y > best[len(best)-1].Y {
			best = append(best, p)
		}
	}
	slices.Reverse(best)
	return best
}
