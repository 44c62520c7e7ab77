package report

import (
	"fmt"
	"image/color"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"kvcompress/internal/words"
	"kvcompress/kv"
	"kvcompress/sim"
)

// HeldPlot returns which tokens of a sequence the cache holds, as SVG or PNG, by the extension of
// path: token positions on the x axis and a row for each head of each layer, dark where the head
// holds the token's KV.
func HeldPlot(path, title string, shape kv.Shape, h *sim.Held) ([]byte, error) {
	if err := CheckPlot(path); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	if h.Tokens == 0 || len(h.Heads) != shape.Heads() {
		return nil, fmt.Errorf("report: there is nothing to draw: the request never entered the cache")
	}
	kvs, dense := h.KVs()
	p := newPlot(fmt.Sprintf("%s: %s of %s KVs, %.0f %%", title, words.Number(kvs), words.Number(dense), 100*float64(kvs)/float64(dense)), "token position", "layer, KV head")
	rows := &heldRows{h, shape}
	p.Add(rows)
	p.X.LineStyle.Width, p.Y.LineStyle.Width = 0, 0
	p.X.Padding, p.Y.Padding = 0, 0
	p.Y.Scale = plot.InvertedScale{Normalizer: plot.LinearScale{}} // layer 0 at the top
	p.X.Tick.Marker = plot.TickerFunc(wholeTicks)
	p.Y.Tick.Marker = plot.TickerFunc(rows.ticks)
	picture, err := paintTo(path, p.Title.Text, "Which tokens' KVs the cache holds of one request: token positions across, and a row for each KV head of each layer down, dark where the head holds the token's KV.", rows.height()+keySpace, func(c draw.Canvas) {
		p.Draw(draw.Crop(c, 0, 0, keySpace, 0))
		rows.key(draw.Crop(c, p.DataCanvas(c).Min.X-c.Min.X, 0, 0, keySpace-c.Size().Y))
	})
	if err != nil {
		return nil, fmt.Errorf("report: %s: %w", path, err)
	}
	return picture, nil
}

// keySpace is the height of the legend below a plot.
const keySpace = 0.22 * vg.Inch

// The colours and line styles for what a head holds.
func holdings() []struct {
	holding sim.Holding
	name    string
	color   color.Color
} {
	return []struct {
		holding sim.Holding
		name    string
		color   color.Color
	}{
		{sim.Whole, "held", denseColor()},
		{sim.Hidden, "held, but hidden from queries", color.NRGBA{0xa6, 0xc8, 0xe0, 0xff}},
		{sim.HeldQuantized, "held, quantized", color.NRGBA{0x74, 0xa9, 0x8c, 0xff}},
		{sim.HeldMerged, "held, merged with another layer's", color.NRGBA{0xa6, 0xc8, 0xe0, 0xff}},
		{sim.HeldRetained, "retained beside it", color.NRGBA{0xd9, 0x95, 0x3b, 0xff}},
		{sim.StandIn, "stand-in for those after it", eventColor()},
		{sim.Gone, "not held", goneColor()},
	}
}

func goneColor() color.Color { return color.Gray{Y: 0xee} }

// heldRows is a plot with a row for each head.
type heldRows struct {
	held  *sim.Held
	shape kv.Shape
}

// layerGap is the space between two layers, in rows.
const layerGap = 0.5

// y returns the coordinate of a head's row.
func (r *heldRows) y(head int) float64 {
	return float64(head) + layerGap*float64(head/r.shape.KVHeads)
}

func (r *heldRows) height() vg.Length {
	const frame = 0.9 * vg.Inch // title, axis and its label
	rows := vg.Length(r.y(len(r.held.Heads)-1) + 1)
	return frame + min(max(rows*0.12*vg.Inch, 0.9*vg.Inch), 9*vg.Inch)
}

func (r *heldRows) ticks(_, _ float64) []plot.Tick {
	var ticks []plot.Tick
	step := max(1, len(r.held.Heads)/32)
	for i := 0; i < len(r.held.Heads); i += step {
		ticks = append(ticks, plot.Tick{Value: r.y(i), Label: fmt.Sprintf("%d, %d", i/r.shape.KVHeads, i%r.shape.KVHeads)})
	}
	return ticks
}

// DataRange implements plot.DataRanger.
func (r *heldRows) DataRange() (xmin, xmax, ymin, ymax float64) {
	return 0, float64(r.held.Tokens), -0.5, r.y(len(r.held.Heads)-1) + 0.5
}

// Plot implements plot.Plotter.
func (r *heldRows) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	c.SetLineWidth((y(0) - y(1)) * 0.8) // the Y axis points down
	for i := range r.held.Heads {       // what the head would hold
		c.SetColor(goneColor())
		c.Stroke(stroke(x(0), x(float64(r.held.Tokens)), y(r.y(i))))
	}
	for _, kind := range holdings() {
		if kind.holding == sim.Gone {
			continue
		}
		c.SetColor(kind.color)
		var rows vg.Path
		for i, head := range r.held.Heads {
			for from := 0; from < len(head); from++ {
				if head[from] != kind.holding {
					continue
				}
				to := from + 1
				for to < len(head) && head[to] == kind.holding {
					to++
				}
				end := x(float64(to))
				if kind.holding == sim.StandIn || kind.holding == sim.HeldRetained {
					end = max(end, x(float64(from))+vg.Points(3)) // a narrower one could not be seen
				}
				rows = append(rows, stroke(x(float64(from)), end, y(r.y(i)))...)
				from = to
			}
		}
		if len(rows) > 0 {
			c.Stroke(rows)
		}
	}
	answer := line(plotter.XYs{{X: float64(r.held.Prompt), Y: -0.5}, {X: float64(r.held.Prompt), Y: r.y(len(r.held.Heads)-1) + 0.5}}, limitColor(), 0.75)
	answer.Plot(c, p)
}

// stroke returns a line from left to right.
func stroke(from, to, y vg.Length) vg.Path {
	var p vg.Path
	p.Move(vg.Point{X: from, Y: y})
	p.Line(vg.Point{X: to, Y: y})
	return p
}

// key draws a legend of the colours that occur, and of the line.
func (r *heldRows) key(c draw.Canvas) {
	style := newPlot("", "", "").Legend.TextStyle
	at := c.Min
	add := func(name string, color color.Color, thick vg.Length) {
		c.SetColor(color)
		c.SetLineWidth(thick)
		c.Stroke(stroke(at.X, at.X+vg.Points(14), at.Y+vg.Points(6)))
		c.FillText(style, vg.Point{X: at.X + vg.Points(18), Y: at.Y + vg.Points(2)}, name)
		at.X += vg.Points(18+12) + 1.2*style.Width(name)
	}
	for _, kind := range holdings() {
		for _, head := range r.held.Heads {
			if slices.Contains(head, kind.holding) {
				add(kind.name, kind.color, vg.Points(7))
				break
			}
		}
	}
	add(fmt.Sprintf("end of the prompt, %s tokens", words.Number(r.held.Prompt)), limitColor(), vg.Points(0.75))
}
