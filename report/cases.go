package report

import (
	"bytes"
	"fmt"
	"image/color"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"

	"kvcompress/internal/output"
	"kvcompress/internal/words"
	"kvcompress/sim/cost"
)

// Cases draws measured runs and their projections to a PNG or SVG file, by the extension of its
// path, like the figures of KV-Compress's paper: throughput and largest batch against
// compression, with a curve for each input length and a column for each card. Lines are
// projections, points are measurements.
func Cases(path string, cases []*cost.Case) error {
	if err := CheckPlot(path); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	byCard := map[string][]*cost.Case{}
	var cards []string
	for _, c := range cases {
		if byCard[c.GPU] == nil {
			cards = append(cards, c.GPU)
		}
		byCard[c.GPU] = append(byCard[c.GPU], c)
	}
	const panelHeight = 3.2 * vg.Inch
	width := max(1, vg.Length(len(cards))) * 4.6 * vg.Inch
	var canvas vg.CanvasWriterTo = vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(width, 2*panelHeight), vgimg.UseDPI(plotDPI))}
	svg := strings.EqualFold(filepath.Ext(path), ".svg")
	if svg {
		canvas = vgsvg.New(width, 2*panelHeight)
	}
	all := draw.New(canvas)
	all.SetColor(color.White)
	all.Fill(all.Rectangle.Path())
	for i, card := range cards {
		left := vg.Length(i) / vg.Length(len(cards)) * width
		right := width - vg.Length(i+1)/vg.Length(len(cards))*width
		part := draw.Crop(all, left+plotMargin, -right-plotMargin, plotMargin, -plotMargin)
		throughput := casesPanel(card, "tokens/s", byCard[card], func(c *cost.Case) (float64, float64) { return c.Throughput, c.TokensPerS })
		throughput.Draw(draw.Crop(part, 0, 0, panelHeight, 0))
		batch := casesPanel("", "largest batch", byCard[card], func(c *cost.Case) (float64, float64) { return float64(c.Batch), float64(c.MaxDecodingBatch) })
		batch.Legend = plot.NewLegend() // the key above holds for both panels
		batch.Draw(draw.Crop(part, 0, 0, 0, -panelHeight))
	}
	var picture bytes.Buffer
	if _, err := canvas.WriteTo(&picture); err != nil {
		return fmt.Errorf("report: %s: %w", path, err)
	}
	text := picture.Bytes()
	if svg {
		text = describedSVG(withFonts(text), "Throughput and largest batch, measured and projected",
			"Of "+strings.Join(cards, " and ")+": tokens a second, and below it the largest batch, over the factor of the compression, a curve for each length of the input. Lines are projected, points measured.")
	}
	if err := output.WriteBytes(path, text); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// casesPanel draws the projected and the measured value that of returns for each case; 0 is no
// value.
func casesPanel(title, y string, cases []*cost.Case, of func(*cost.Case) (projected, measured float64)) *plot.Plot {
	p := newPlot(title, "compression factor", y)
	grid := plotter.NewGrid()
	grid.Vertical.Width = 0
	grid.Horizontal.Color = color.Gray{Y: 0xe0}
	p.Add(grid)
	var rates []string
	var lengths []int
	for _, c := range cases {
		if !slices.Contains(rates, c.CompressionRate) {
			rates = append(rates, c.CompressionRate)
		}
		if !slices.Contains(lengths, c.InputLen) {
			lengths = append(lengths, c.InputLen)
		}
	}
	slices.Sort(lengths)
	top := 1.0
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.Padding = vg.Points(2)
	for i, n := range lengths {
		col, dash := curveStyle(i)
		var projected, measured plotter.XYs
		for _, c := range cases {
			if c.InputLen != n {
				continue
			}
			x := float64(slices.Index(rates, c.CompressionRate))
			was, is := of(c)
			projected = append(projected, plotter.XY{X: x, Y: was})
			if is > 0 {
				measured = append(measured, plotter.XY{X: x, Y: is})
			}
			top = max(top, was, is)
		}
		l := &plotter.Line{XYs: projected, LineStyle: draw.LineStyle{Color: col, Width: vg.Points(1.4), Dashes: dash}}
		s := &plotter.Scatter{XYs: measured, GlyphStyle: draw.GlyphStyle{Color: col, Radius: vg.Points(2.6), Shape: glyph(i)}}
		p.Add(l, s)
		p.Legend.Add(fmt.Sprintf("%s tokens in", words.Number(n)), l, s)
	}
	p.X.Min, p.X.Max = -0.3, max(1, float64(len(rates)))-0.7
	p.Y.Min, p.Y.Max = 0, 1.06*top
	p.X.Tick.Marker = plot.TickerFunc(func(float64, float64) []plot.Tick {
		var ticks []plot.Tick
		for i, rate := range rates {
			ticks = append(ticks, plot.Tick{Value: float64(i), Label: rate})
		}
		return ticks
	})
	p.Y.Tick.Marker = plot.TickerFunc(roundTicks)
	return p
}
