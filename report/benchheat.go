package report

import (
	"fmt"
	"math"
	"strconv"

	"gonum.org/v1/plot"

	"kvcompress/bench"
	"kvcompress/internal/words"
)

// heats returns the heat maps of a mode and a budget. The heat map of the full cache, whose budget is
// 1, comes first for every budget.
func (b *Bench) heats(mode bench.Mode, budget bench.Budget) []*bench.Heat {
	var list []*bench.Heat
	for i := range b.Heats {
		if h := &b.Heats[i]; h.Mode == mode && (h.Budget == budget || h.Row == bench.Full) {
			list = append(list, h)
		}
	}
	return list
}

// heatTitle returns the title of a map: its method, mode and budget.
func heatTitle(h *bench.Heat) string {
	if h.Row == bench.Full {
		return fmt.Sprintf("full cache, %s", h.Mode)
	}
	return fmt.Sprintf("%s at %v, %s", h.Row, h.Budget, h.Mode)
}

// heatTable has a row for each depth and a column for each length.
func heatTable(g *bench.Grid, h *bench.Heat) ([]column, [][]string) {
	columns := []column{{"depth", right}}
	for _, n := range g.Lengths {
		columns = append(columns, column{words.Number(n), right})
	}
	var rows [][]string
	for d := range g.Depths {
		row := []string{depthText(g, d)}
		for l := range g.Lengths {
			text := "–"
			if h.N[l][d] > 0 {
				text = score(h.Score[l][d])
			}
			row = append(row, text)
		}
		rows = append(rows, row)
	}
	return columns, rows
}

func depthText(g *bench.Grid, d int) string { return fmt.Sprintf("%.0f %%", 100*g.Depth(d)) }

// heatFigure draws a map with lengths on the x axis and depths on the y axis. All maps have the
// same colour scale.
func heatFigure(g *bench.Grid, h *bench.Heat) (*Figure, error) {
	parts := make([][]float64, len(g.Lengths))
	sum, n := 0.0, 0
	for l := range parts {
		parts[l] = make([]float64, g.Depths)
		for d := range parts[l] {
			parts[l][d] = math.NaN() // nothing is there yet
			if h.N[l][d] > 0 {
				parts[l][d] = h.Score[l][d]
				sum, n = sum+h.Score[l][d], n+1
			}
		}
	}
	scale, err := newRampTo(1)
	if err != nil {
		return nil, err
	}
	m := newMapPlot("", "tokens of the context", "depth of the passkey", parts, scale)
	labeled := func(count int, text func(int) string) plot.Ticker {
		return plot.TickerFunc(func(low, high float64) []plot.Tick {
			var ticks []plot.Tick
			for i := 0; i < count; i += max(1, int(niceStep(float64(count)/20))) {
				ticks = append(ticks, plot.Tick{Value: float64(i), Label: text(i)})
			}
			return ticks
		})
	}
	m.plot.X.Tick.Marker = labeled(len(g.Lengths), func(i int) string { return strconv.Itoa(g.Lengths[i]) })
	m.plot.Y.Tick.Marker = labeled(g.Depths, func(i int) string { return depthText(g, i) })
	title := heatTitle(h)
	return &Figure{
		Name:  fileName("needle", string(h.Mode), h.Budget.String(), h.Row),
		Title: title,
		Text:  fmt.Sprintf("The part of passkeys that is found, by the tokens of the context (across) and the depth (down): %s; %s on average.", title, score(sum/float64(max(1, n)))),
		cells: m,
	}, nil
}

// heatFigures draws the maps of a plan with a grid.
func heatFigures(b *Bench) ([]*Figure, error) {
	var figures []*Figure
	for i := range b.Heats {
		f, err := heatFigure(b.Plan.Grid, &b.Heats[i])
		if err != nil {
			return nil, err
		}
		figures = append(figures, f)
	}
	return figures, nil
}
