package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"gonum.org/v1/plot/plotter"

	"kvcompress/sim/sweep"
)

// mostFigures is the largest number of figures of each kind; the table has everything.
const mostFigures = 12

// SweepFigures returns the figures of a sweep: throughput against the batch limit, the memory budget,
// the cache size and the load, with a curve for each compression, and throughput per card against
// latency. A quantity with only one value in the sweep has no figure.
func SweepFigures(s *Sweep) []*Figure {
	var figures []*Figure
	for _, axis := range []struct {
		name, title, x string
		at             func(*sweep.Outcome) (float64, bool)
		fix            func(*sweep.Point) // the point's value on the x axis
	}{
		{"batch", "Throughput against the batch limit", "sequences that may run at a time",
			func(o *sweep.Outcome) (float64, bool) { return float64(o.MaxNumSeqs), true },
			func(p *sweep.Point) { p.MaxNumSeqs = 0 }},
		{"memory", "Throughput against the memory budget", "GB of each card that the server may take",
			func(o *sweep.Outcome) (float64, bool) {
				return float64(o.Memory.Card-o.Memory.Reserved) / 1e9, o.Budget.Tokens == 0
			},
			func(p *sweep.Point) { p.Budget = sweep.Budget{} }},
		{"tokens", "Throughput against the size of the cache", "tokens that the cache holds uncompressed",
			func(o *sweep.Outcome) (float64, bool) { return float64(o.Memory.Tokens), o.Budget.Tokens > 0 },
			func(p *sweep.Point) { p.Budget = sweep.Budget{} }},
		{"load", "Throughput against the load", "requests per second that come",
			func(o *sweep.Outcome) (float64, bool) { return o.Metrics.OfferedRate, o.Metrics.OfferedRate > 0 },
			func(p *sweep.Point) { p.Load = 0 }},
	} {
		if axis.name == "load" && s.Searched {
			continue
		}
		figures = append(figures, panels(s, axis.name, axis.title, axis.x, axis.at, axis.fix)...)
	}
	if f := frontFigure(s); f != nil {
		figures = append(figures, f)
	}
	return figures
}

// panels returns a figure for each combination of the sweep's other parameters: all except the x axis
// and the compression.
func panels(s *Sweep, name, title, x string, at func(*sweep.Outcome) (float64, bool), fix func(*sweep.Point)) []*Figure {
	type panel struct {
		key    sweep.Point
		curves []curve
		names  map[string]int
		along  map[float64]bool
	}
	var all []*panel
	byKey := map[sweep.Point]*panel{}
	for i := range s.Outcomes {
		o := &s.Outcomes[i]
		v, ok := at(o)
		if o.Error != "" || o.Metrics.Finished == 0 || !ok {
			continue
		}
		key := o.Point
		key.Compression = sweep.Compression{}
		fix(&key)
		if s.Searched {
			key.Load = 0
		}
		p := byKey[key]
		if p == nil {
			p = &panel{key: key, names: map[string]int{}, along: map[float64]bool{}}
			byKey[key] = p
			all = append(all, p)
		}
		c := o.Compression.String()
		k, known := p.names[c]
		if !known {
			k = len(p.curves)
			p.names[c] = k
			p.curves = append(p.curves, curve{name: o.Compression.Title(), line: true, dots: true})
		}
		p.curves[k].points = append(p.curves[k].points, plotter.XY{X: v, Y: o.Metrics.TotalThroughput})
		p.along[v] = true
	}
	var figures []*Figure
	for _, p := range all {
		if len(p.along) < 2 || len(figures) == mostFigures {
			continue
		}
		for _, c := range p.curves {
			slices.SortStableFunc(c.points, func(a, b plotter.XY) int { return cmp.Compare(a.X, b.X) })
		}
		of := panelTitle(&p.key)
		figures = append(figures, newFigure(fileName("throughput", name, of), title, x, "tokens/s, input and output", "Of "+of+".", p.curves))
	}
	return figures
}

// panelTitle returns the parameters that all points of a panel have in common.
func panelTitle(p *sweep.Point) string {
	parts := []string{fmt.Sprintf("%s on %d × %s", p.Model, p.TP, p.CardName())}
	if p.Budget != (sweep.Budget{}) {
		parts = append(parts, "memory "+p.Budget.String())
	}
	if p.MaxNumSeqs > 0 {
		parts = append(parts, fmt.Sprintf("batch limit %d", p.MaxNumSeqs))
	}
	if p.Load > 0 {
		parts = append(parts, "load × "+short(p.Load))
	}
	return strings.Join(parts, ", ")
}

// frontFigure plots throughput per card against latency, with the Pareto front.
func frontFigure(s *Sweep) *Figure {
	latency := LatencyOf(s.Latency)
	names := map[string]int{}
	var curves []curve
	var front plotter.XYs
	models := map[string]bool{}
	for i := range s.Outcomes {
		o := &s.Outcomes[i]
		if o.Error != "" || o.Metrics.Finished == 0 {
			continue
		}
		models[o.Model] = true
		name := o.Compression.Title()
		k, known := names[name]
		if !known {
			k = len(curves)
			names[name] = k
			curves = append(curves, curve{name: name, dots: true})
		}
		at := plotter.XY{X: latency(o), Y: o.ThroughputPerCard}
		curves[k].points = append(curves[k].points, at)
		if o.Pareto {
			front = append(front, at)
		}
	}
	points := 0
	for _, c := range curves {
		points += len(c.points)
	}
	if points < 2 {
		return nil
	}
	if len(models) == 1 && len(front) > 1 {
		slices.SortFunc(front, func(a, b plotter.XY) int { return cmp.Or(cmp.Compare(a.X, b.X), cmp.Compare(a.Y, b.Y)) })
		curves = append(curves, curve{name: "the front", points: front, line: true})
	}
	return newFigure("front", "Throughput per card against latency", "99th percentile of "+latencyTitle(s.Latency)+", s", "tokens/s of each card",
		"Up and to the left is better: a point on the front has more throughput than all that are as fast.", curves)
}
