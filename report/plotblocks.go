package report

import (
	"fmt"
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"kvcompress/internal/ceil"
	"kvcompress/internal/words"
	"kvcompress/sim"
)

// The colours of the curves. Their lightness and dashes differ too, for readers who do not see
// the colours.
func denseColor() color.Color { return color.NRGBA{0x3b, 0x52, 0x8b, 0xff} }
func usedColor() color.Color  { return color.NRGBA{0x21, 0x91, 0x8c, 0xff} }
func usedFill() color.Color   { return color.NRGBA{0x21, 0x91, 0x8c, 0x50} }
func limitColor() color.Color { return color.NRGBA{0x80, 0x80, 0x80, 0xff} }
func eventColor() color.Color { return color.NRGBA{0xc0, 0x39, 0x2b, 0xff} }

// blocksPlot plots the cache's blocks over the steps, with a legend above.
type blocksPlot struct {
	plot *plot.Plot
	key  []plot.Legend // legends of one entry each
}

func newBlocksPlot(r *sim.Report) *blocksPlot {
	ledger := newLedger(r)
	b := &blocksPlot{plot: newPlot("", "step", "blocks")}
	used := envelope(ledger, func(e *entry) int { return e.Usage.Allocated })
	dense := envelope(ledger, func(e *entry) int { return e.Usage.DenseBlocks })
	highest := 1.0
	for i := range used {
		highest = max(highest, used[i].Y, dense[i].Y)
	}

	grid := plotter.NewGrid()
	grid.Vertical.Width = 0
	grid.Horizontal.Color = color.Gray{Y: 0xe0}
	b.plot.Add(grid)
	if len(used) > 0 {
		area := line(used, usedColor(), 1.5)
		area.FillColor = usedFill()
		b.add("in use", area)
		above := line(dense, denseColor(), 1.5)
		above.Dashes = []vg.Length{vg.Points(5), vg.Points(2)}
		b.add("the same sequences uncompressed", above)
	}
	// If the cache is much larger than its peak use, leave out its size: the other curves would
	// be flat.
	if n := float64(r.Options.Blocks); n <= 2*highest {
		limit := line(plotter.XYs{{X: 0, Y: n}, {X: lastStep(r), Y: n}}, limitColor(), 1)
		limit.Dashes = []vg.Length{vg.Points(1), vg.Points(2)}
		b.add(fmt.Sprintf("size of the cache (%s)", words.Number(r.Options.Blocks)), limit)
		highest = max(highest, n)
	}
	if at := preemptions(ledger); len(at) > 0 {
		b.add("preemption", &plotter.Scatter{
			XYs:        at,
			GlyphStyle: draw.GlyphStyle{Color: eventColor(), Radius: vg.Points(3.5), Shape: draw.PyramidGlyph{}},
		})
	}
	b.plot.X.Min, b.plot.X.Max = 0, lastStep(r)
	b.plot.Y.Min, b.plot.Y.Max = 0, highest*1.05
	b.plot.X.Tick.Marker = plot.TickerFunc(wholeTicks)
	b.plot.Y.Tick.Marker = plot.TickerFunc(wholeTicks)
	return b
}

// add adds a curve and its legend entry.
func (b *blocksPlot) add(name string, curve interface {
	plot.Plotter
	plot.Thumbnailer
}) {
	b.plot.Add(curve)
	entry := plot.NewLegend()
	entry.TextStyle.Font = sans(10)
	entry.ThumbnailWidth = vg.Points(20)
	entry.Left, entry.Top = true, true
	entry.Add(name, curve)
	b.key = append(b.key, entry)
}

// draw draws the title, the legend in a row below it, and the plot.
func (b *blocksPlot) draw(c draw.Canvas) {
	const titleSpace, keySpace = 24, 20 // points
	style := newPlot("", "", "").Title.TextStyle
	data := b.plot.DataCanvas(c)
	c.FillText(style, vg.Point{X: c.Center().X, Y: c.Max.Y}, "Blocks of the cache over the steps")
	c.Max.Y -= vg.Points(titleSpace)
	key := c
	key.Min.X = data.Min.X
	for i := range b.key {
		b.key[i].Draw(key)
		key.Min.X += entryWidth(&b.key[i], key)
	}
	c.Max.Y -= vg.Points(keySpace)
	b.plot.Draw(c)
}

func line(points plotter.XYs, c color.Color, width float64) *plotter.Line {
	return &plotter.Line{
		XYs:       points,
		StepStyle: plotter.NoStep,
		LineStyle: draw.LineStyle{Color: c, Width: vg.Points(width)},
	}
}

func lastStep(r *sim.Report) float64 { return float64(max(1, len(r.Steps)-1)) }

// envelope returns a curve over the steps. If there are many steps, each point is the maximum of
// several.
func envelope(ledger []entry, value func(*entry) int) plotter.XYs {
	const most = 2000
	stride := ceil.Div(len(ledger), most) // 0 only where there is no step
	var points plotter.XYs
	for i := range ledger {
		y := float64(value(&ledger[i]))
		if i%stride == 0 {
			points = append(points, plotter.XY{X: float64(i), Y: y})
		}
		last := &points[len(points)-1]
		last.Y = max(last.Y, y)
	}
	return points
}

// preemptions returns a point on the curve for each step with a preemption, without those too
// close to another.
func preemptions(ledger []entry) plotter.XYs {
	const most = 200
	var at []int
	for i := range ledger {
		if len(ledger[i].Preempted) > 0 {
			at = append(at, i)
		}
	}
	var points plotter.XYs
	for _, i := range thin(at, most) {
		points = append(points, plotter.XY{X: float64(i), Y: float64(ledger[i].Usage.Allocated)})
	}
	return points
}

// wholeTicks returns about six ticks at round integers.
func wholeTicks(low, high float64) []plot.Tick {
	step := niceStep((high - low) / 6)
	var ticks []plot.Tick
	for v := math.Ceil(low/step) * step; v <= high; v += step {
		ticks = append(ticks, plot.Tick{Value: v, Label: words.Number(int64(v))})
	}
	return ticks
}

// niceStep returns the smallest 1, 2 or 5 times a power of ten that is a whole
// number and at least v.
func niceStep(v float64) float64 {
	for power := 1.0; ; power *= 10 {
		for _, m := range []float64{1, 2, 5} {
			if m*power >= v {
				return m * power
			}
		}
	}
}
