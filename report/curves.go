package report

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"

	"kvcompress/internal/output"
)

// Figure is a plot with a name.
type Figure struct {
	Name  string // of its file, without extension
	Title string
	Text  string // what it shows, in a sentence

	plot  *plot.Plot
	key   []plot.Legend
	cells *headsPlot // a heat map, instead of a plot
}

// curve is one line of a figure.
type curve struct {
	name   string
	points plotter.XYs
	dots   bool // mark every point
	line   bool // join the points
	fill   bool // fill the area down to 0
}

const (
	figureWidth  = 5.4 * vg.Inch
	figureHeight = 3.4 * vg.Inch
)

// curveStyle returns the colour and dash of the i-th curve: the palette of
// Okabe and Ito, which is safe for the colour-blind, and dashes that also tell curves apart
// in black and white.
func curveStyle(i int) (color.Color, []vg.Length) {
	colors := []color.NRGBA{
		{0x00, 0x72, 0xb2, 0xff}, {0xd5, 0x5e, 0x00, 0xff}, {0x00, 0x9e, 0x73, 0xff}, {0xcc, 0x79, 0xa7, 0xff},
		{0x56, 0xb4, 0xe9, 0xff}, {0xe6, 0x9f, 0x00, 0xff}, {0x40, 0x40, 0x40, 0xff},
	}
	dashes := [][]vg.Length{nil, {vg.Points(6), vg.Points(2)}, {vg.Points(2), vg.Points(2)}, {vg.Points(6), vg.Points(2), vg.Points(2), vg.Points(2)}}
	return colors[i%len(colors)], dashes[(i/len(colors)+i)%len(dashes)]
}

func glyph(i int) draw.GlyphDrawer {
	return []draw.GlyphDrawer{draw.CircleGlyph{}, draw.SquareGlyph{}, draw.TriangleGlyph{}, draw.PyramidGlyph{}, draw.RingGlyph{}, draw.BoxGlyph{}}[i%6]
}

// newFigure plots curves with axes that start at 0.
func newFigure(name, title, x, y, text string, curves []curve) *Figure {
	f := &Figure{Name: name, Title: title, Text: text, plot: newPlot("", x, y)}
	grid := plotter.NewGrid()
	grid.Vertical.Width = 0
	grid.Horizontal.Color = color.Gray{Y: 0xe0}
	f.plot.Add(grid)
	top, least, most := 0.0, math.Inf(1), math.Inf(-1)
	for i, c := range curves {
		col, dash := curveStyle(i)
		var parts []plot.Thumbnailer
		if c.line && len(c.points) > 0 {
			l := line(c.points, col, 1.6)
			l.Dashes = dash
			if c.fill {
				n := color.NRGBAModel.Convert(col).(color.NRGBA)
				n.A = 0x30
				l.FillColor = n
			}
			f.plot.Add(l)
			parts = append(parts, l)
		}
		if c.dots {
			s := &plotter.Scatter{XYs: c.points, GlyphStyle: draw.GlyphStyle{Color: col, Radius: vg.Points(2.6), Shape: glyph(i)}}
			f.plot.Add(s)
			parts = append(parts, s)
		}
		for _, p := range c.points {
			top, least, most = max(top, p.Y), min(least, p.X), max(most, p.X)
		}
		if c.name != "" {
			entry := plot.NewLegend()
			entry.TextStyle.Font = sans(10)
			entry.ThumbnailWidth = vg.Points(20)
			entry.Left, entry.Top = true, true
			entry.Add(c.name, parts...)
			f.key = append(f.key, entry)
		}
	}
	if top == 0 {
		top = 1
	}
	if least >= most { // for a single point, or none
		least, most = 0, max(1, 2*most)
	}
	pad := 0.02 * (most - least)
	f.plot.X.Min, f.plot.X.Max = max(0, least-pad), most+pad
	f.plot.Y.Min, f.plot.Y.Max = 0, top*1.06
	f.plot.X.Tick.Marker, f.plot.Y.Tick.Marker = plot.TickerFunc(roundTicks), plot.TickerFunc(roundTicks)
	return f
}

// roundTicks returns about six ticks at round numbers.
func roundTicks(low, high float64) []plot.Tick {
	span := high - low
	if !(span > 0) || math.IsInf(span, 0) {
		return nil
	}
	step := math.Pow(10, math.Floor(math.Log10(span/5)))
	for _, m := range []float64{1, 2, 5, 10} {
		if span/(step*m) <= 6.5 {
			step *= m
			break
		}
	}
	var ticks []plot.Tick
	for i := math.Ceil(low / step); i*step <= high && len(ticks) < 20; i++ {
		v := i * step
		label := trimZeros(fmt.Sprintf("%.*f", max(0, int(-math.Floor(math.Log10(step)+1e-9)))+1, v))
		if math.Abs(v) >= 1000 {
			label = whole(v)
		}
		ticks = append(ticks, plot.Tick{Value: v, Label: label})
	}
	return ticks
}

// draw draws the legend, in as many lines as it needs, and the plot below it.
func (f *Figure) draw(c draw.Canvas, titled bool) {
	if titled {
		style := newPlot("", "", "").Title.TextStyle
		c.FillText(style, vg.Point{X: c.Center().X, Y: c.Max.Y}, f.Title)
		c.Max.Y -= vg.Points(24)
	}
	if f.cells != nil {
		f.cells.draw(c)
		return
	}
	at, rows := c.Min.X, 0
	for i := range f.key {
		width := entryWidth(&f.key[i], c)
		if at > c.Min.X && at+width > c.Max.X {
			at = c.Min.X
			rows++
		}
		key := c
		key.Min.X = at
		key.Max.Y -= vg.Length(rows) * vg.Points(15)
		f.key[i].Draw(key)
		at += width
	}
	if len(f.key) > 0 {
		c.Max.Y -= vg.Length(rows)*vg.Points(15) + vg.Points(20)
	}
	f.plot.Draw(c)
}

// SVG returns the figure as SVG, without its title if it is part of a page, which has its own.
func (f *Figure) svg(titled bool) ([]byte, error) {
	return f.render(vgsvg.New(figureWidth, figureHeight), titled)
}

func (f *Figure) render(canvas vg.CanvasWriterTo, titled bool) ([]byte, error) {
	all := draw.New(canvas)
	all.SetColor(color.White)
	all.Fill(all.Rectangle.Path())
	f.draw(draw.Crop(all, plotMargin, -plotMargin, plotMargin, -plotMargin), titled)
	var out bytes.Buffer
	if _, err := canvas.WriteTo(&out); err != nil {
		return nil, err
	}
	return withFonts(out.Bytes()), nil
}

// WriteFigures writes each figure as SVG and PNG to a folder, which it creates, and returns the
// files' paths.
func WriteFigures(dir string, figures []*Figure) ([]string, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	var paths []string
	for _, f := range figures {
		for _, x := range []struct {
			ext    string
			canvas vg.CanvasWriterTo
		}{
			{".svg", vgsvg.New(figureWidth, figureHeight)},
			{".png", vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(figureWidth, figureHeight), vgimg.UseDPI(plotDPI))}},
		} {
			picture, err := f.render(x.canvas, true)
			if err != nil {
				return paths, fmt.Errorf("report: %s: %w", f.Name, err)
			}
			if x.ext == ".svg" {
				picture = describedSVG(picture, f.Title, f.Text)
			}
			path := filepath.Join(dir, f.Name+x.ext)
			if err := output.WriteBytes(path, picture); err != nil {
				return paths, fmt.Errorf("report: %w", err)
			}
			paths = append(paths, path)
		}
	}
	return paths, nil
}

// fileName joins words to a file name of lower-case letters, digits, dots and hyphens.
func fileName(words ...string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(strings.Join(words, "-")) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '-':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteRune('-')
		}
	}
	return strings.Trim(b.String(), "-.")
}
