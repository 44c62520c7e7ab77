package report

import (
	"bytes"
	"fmt"
	"image/color"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"

	"kvcompress/internal/output"
	"kvcompress/sim"
)

// CheckPlot returns an error if HeatMap and HeadMapPlot cannot write to a file of this name.
func CheckPlot(path string) error {
	switch ext := filepath.Ext(path); strings.ToLower(ext) {
	case ".png", ".svg":
		return nil
	default:
		return fmt.Errorf("%s: a picture is a .png or a .svg, not %q", path, ext)
	}
}

// HeatMap draws a report to a PNG or SVG file, by the extension of its path: a heat map of the
// fraction of its KVs that each head kept, with layers on the x axis and heads on the y axis, and
// below it the blocks that the cache held over the steps, next to those of an uncompressed cache.
func HeatMap(path string, r *sim.Report) error {
	if err := CheckPlot(path); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	title := name(r) + ": part of its KVs that each head kept"
	heads, err := newHeadsPlot(title, r.Heads.Kept())
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	picture, err := paintTo(path, title, "A heat map, layers across and KV heads down. Below it, the blocks of the cache over the steps, and those of the same sequences uncompressed.", heads.height()+blocksPanel+plotMargin, func(c draw.Canvas) {
		heads.draw(draw.Crop(c, 0, 0, blocksPanel+plotMargin, 0))
		newBlocksPlot(r).draw(draw.Crop(c, 0, -barSpace, 0, blocksPanel-c.Size().Y))
	})
	if err != nil {
		return fmt.Errorf("report: %s: %w", path, err)
	}
	if err := output.WriteBytes(path, picture); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

const (
	plotWidth   = 9 * vg.Inch
	blocksPanel = 3.2 * vg.Inch
	plotMargin  = 0.15 * vg.Inch
	plotDPI     = 144
)

// paintTo calls paint with a canvas that is plotWidth wide and has the given height between its
// margins, and returns the picture as SVG or PNG, by the extension of its path. An SVG has the
// title and the description.
func paintTo(path, title, description string, height vg.Length, paint func(draw.Canvas)) ([]byte, error) {
	height += 2 * plotMargin
	svg := strings.EqualFold(filepath.Ext(path), ".svg")
	var canvas vg.CanvasWriterTo
	if svg {
		canvas = vgsvg.New(plotWidth, height)
	} else {
		canvas = vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(plotWidth, height), vgimg.UseDPI(plotDPI))}
	}
	all := draw.New(canvas)
	all.SetColor(color.White)
	all.Fill(all.Rectangle.Path())
	paint(draw.Crop(all, plotMargin, -plotMargin, plotMargin, -plotMargin))

	var picture bytes.Buffer
	if _, err := canvas.WriteTo(&picture); err != nil {
		return nil, err
	}
	text := picture.Bytes()
	if svg {
		text = describedSVG(withFonts(text), title, description)
	}
	return text, nil
}

// newPlot returns an empty plot with the report's fonts.
func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	for _, s := range []*text.Style{
		&p.Title.TextStyle, &p.X.Label.TextStyle, &p.Y.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label, &p.Legend.TextStyle,
	} {
		s.Font = sans(10)
	}
	p.Title.TextStyle.Font = sans(13)
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Title.Padding = vg.Points(8)
	p.X.Padding, p.Y.Padding = vg.Points(3), vg.Points(3)
	return p
}

func sans(points float64) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: vg.Points(points)}
}
