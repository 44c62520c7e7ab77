package report

import (
	"fmt"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// barSpace is the width of the colour bar and its numbers, to the right of the heat map.
const barSpace = 0.85 * vg.Inch

// headsPlot is a heat map with a value for each head, and its colour bar.
type headsPlot struct {
	plot  *plot.Plot
	bar   *plot.Plot
	heads int
}

func newHeadsPlot(title string, parts [][]float64) (*headsPlot, error) {
	scale, err := newRamp(parts)
	if err != nil {
		return nil, err
	}
	return newMapPlot(title, "layer", "KV head", parts, scale), nil
}

// newMapPlot returns a heat map of values; the first index is x, the second y. NaN leaves a cell
// empty.
func newMapPlot(title, across, down string, parts [][]float64, scale *ramp) *headsPlot {
	h := &headsPlot{
		plot:  newPlot(title, across, down),
		bar:   newPlot("", "", ""),
		heads: len(parts[0]),
	}
	h.plot.Add(&cells{parts, scale})
	h.plot.X.LineStyle.Width, h.plot.Y.LineStyle.Width = 0, 0
	h.plot.X.Padding, h.plot.Y.Padding = 0, 0
	h.plot.Y.Scale = plot.InvertedScale{Normalizer: plot.LinearScale{}} // head 0 at the top, as in a table
	h.plot.X.Tick.Marker = plot.TickerFunc(countTicks)
	h.plot.Y.Tick.Marker = plot.TickerFunc(countTicks)

	h.bar.Add(colorBar{scale})
	h.bar.HideX()
	h.bar.Y.Padding = 0
	h.bar.Y.LineStyle.Width = 0
	h.bar.Y.Tick.Marker = plot.TickerFunc(func(low, high float64) []plot.Tick {
		ticks := make([]plot.Tick, 6)
		for i := range ticks {
			v := low + (high-low)*float64(i)/5
			ticks[i] = plot.Tick{Value: v, Label: fmt.Sprintf("%.3g %%", 100*v)}
		}
		return ticks
	})
	return h
}

// colorBar draws a scale as rectangles from 0 up. Each rectangle covers all of the bar above it
// too, so that no gap shows between two. plotter.ColorBar draws an image of one column instead:
// an SVG keeps its aspect ratio, so it becomes a hairline.
type colorBar struct{ scale *ramp }

// DataRange implements plot.DataRanger.
func (b colorBar) DataRange() (xmin, xmax, ymin, ymax float64) { return 0, 1, 0, b.scale.top }

// Plot implements plot.Plotter.
func (b colorBar) Plot(c draw.Canvas, p *plot.Plot) {
	const steps = 100
	_, y := p.Transforms(&c)
	for i := range steps {
		low, high := b.scale.top*float64(i)/steps, b.scale.top*float64(i+1)/steps
		c.SetColor(b.scale.at((low + high) / 2))
		c.Fill(vg.Rectangle{Min: vg.Point{X: c.Min.X, Y: y(low)}, Max: vg.Point{X: c.Max.X, Y: y(b.scale.top)}}.Path())
	}
}

// height returns a height that shows every head and keeps a suitable aspect ratio.
func (h *headsPlot) height() vg.Length {
	const frame = 0.9 * vg.Inch // title, axis and its label
	return frame + min(max(vg.Length(h.heads)*0.3*vg.Inch, 1.8*vg.Inch), 6.5*vg.Inch)
}

func (h *headsPlot) draw(c draw.Canvas) {
	left := draw.Crop(c, 0, -barSpace, 0, 0)
	h.plot.Draw(left)
	data := h.plot.DataCanvas(left)
	c.Min.X = c.Max.X - barSpace + vg.Points(6)
	c.Min.Y, c.Max.Y = data.Min.Y, data.Max.Y
	// The numbers at the bar's ends extend beyond it.
	inner := h.bar.DataCanvas(c)
	c.Min.Y, c.Max.Y = c.Min.Y-(inner.Min.Y-c.Min.Y), c.Max.Y+(c.Max.Y-inner.Max.Y)
	h.bar.Draw(c)
}

// cells draws a rectangle for each head of each layer, with its number if that is readable.
type cells struct {
	parts [][]float64 // [L][H]
	scale *ramp
}

// DataRange implements plot.DataRanger.
func (g *cells) DataRange() (xmin, xmax, ymin, ymax float64) {
	return -0.5, float64(len(g.parts)) - 0.5, -0.5, float64(len(g.parts[0])) - 0.5
}

// Plot implements plot.Plotter.
func (g *cells) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	width, height := x(1)-x(0), y(0)-y(1) // the Y axis points down
	gap := vg.Points(0.75)                // a thin white line between cells that are large enough
	if width < vg.Points(6) || height < vg.Points(6) {
		gap = 0
	}
	label := text.Style{Font: sans(9), XAlign: text.XCenter, YAlign: text.YCenter, Handler: p.TextHandler}
	numbers := width > label.Width("100 %")+vg.Points(4) && height > vg.Points(12)
	for l, heads := range g.parts {
		for h, v := range heads {
			if math.IsNaN(v) {
				continue
			}
			cell := vg.Rectangle{
				Min: vg.Point{X: x(float64(l) - 0.5), Y: y(float64(h)+0.5) + gap},
				Max: vg.Point{X: x(float64(l)+0.5) - gap, Y: y(float64(h) - 0.5)},
			}
			c.SetColor(g.scale.at(v))
			c.Fill(cell.Path())
			if numbers {
				label.Color = g.scale.ink(v)
				c.FillText(label, vg.Point{X: (cell.Min.X + cell.Max.X) / 2, Y: (cell.Min.Y + cell.Max.Y) / 2}, fmt.Sprintf("%.0f %%", 100*v))
			}
		}
	}
}

// countTicks returns a tick for each index from 0 to n−1, or for about sixteen of them.
func countTicks(low, high float64) []plot.Tick {
	n := int(high - low + 0.5)
	step := int(niceStep(float64(n) / 20))
	var ticks []plot.Tick
	for i := 0; i < n; i += step {
		ticks = append(ticks, plot.Tick{Value: float64(i), Label: fmt.Sprint(i)})
	}
	return ticks
}
