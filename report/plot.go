package report

import (
	"bytes"
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"

	"kvcompress/sim"
)

// CheckPlot returns an error if HeatMap cannot write to a file of this name.
func CheckPlot(path string) error {
	switch ext := filepath.Ext(path); strings.ToLower(ext) {
	case ".png", ".svg":
		return nil
	default:
		return fmt.Errorf("%s: a picture is a .png or a .svg, not %q", path, ext)
	}
}

// HeatMap draws a report to a PNG or SVG file, by the extension of its path: the
// part of its KVs that each head kept, layers across and heads down, and below it
// the blocks that the cache held over the steps beside those that an
// uncompressed one would have held.
func HeatMap(path string, r *sim.Report) error {
	if err := CheckPlot(path); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	var picture bytes.Buffer
	if err := drawTo(&picture, strings.EqualFold(filepath.Ext(path), ".svg"), r); err != nil {
		return fmt.Errorf("report: %s: %w", path, err)
	}
	if err := os.WriteFile(path, picture.Bytes(), 0o666); err != nil {
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

func drawTo(w *bytes.Buffer, svg bool, r *sim.Report) error {
	heads, err := newHeadsPlot(r)
	if err != nil {
		return err
	}
	height := heads.height() + blocksPanel + 3*plotMargin
	var canvas vg.CanvasWriterTo
	if svg {
		canvas = vgsvg.New(plotWidth, height)
	} else {
		canvas = vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(plotWidth, height), vgimg.UseDPI(plotDPI))}
	}
	all := draw.New(canvas)
	all.SetColor(color.White)
	all.Fill(all.Rectangle.Path())
	all = draw.Crop(all, plotMargin, -plotMargin, plotMargin, -plotMargin)
	heads.draw(draw.Crop(all, 0, 0, blocksPanel+plotMargin, 0))
	newBlocksPlot(r).draw(draw.Crop(all, 0, -barSpace, 0, blocksPanel-all.Size().Y))

	var picture bytes.Buffer
	if _, err := canvas.WriteTo(&picture); err != nil {
		return err
	}
	text := picture.Bytes()
	if svg {
		// The letters of the others are as wide, and one of them is everywhere.
		text = bytes.ReplaceAll(text, []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;"))
	}
	_, err = w.Write(text)
	return err
}

// newPlot returns an empty plot in the report's type.
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
