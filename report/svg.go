package report

import (
	"bytes"
	"html"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// describedSVG gives an SVG a title and a description, for screen readers.
func describedSVG(svg []byte, title, description string) []byte {
	at := bytes.Index(svg, []byte("<svg"))
	if at < 0 {
		return svg
	}
	end := bytes.IndexByte(svg[at:], '>')
	if end < 0 {
		return svg
	}
	end += at
	text := bytes.Clone(svg[:end])
	text = append(text, ` role="img">`+"\n<title>"+html.EscapeString(title)+"</title>\n<desc>"+html.EscapeString(description)+"</desc>"...)
	return append(text, svg[end+1:]...)
}

// withFonts adds common fonts to an SVG's font list, for systems without the one in which the text
// was measured. Their letters have about the same width.
func withFonts(svg []byte) []byte {
	return bytes.ReplaceAll(svg, []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;"))
}

// entryWidth returns the distance from the start of a legend entry to the start of the next. It leaves
// space for fonts with letters a fifth wider.
func entryWidth(entry *plot.Legend, c draw.Canvas) vg.Length {
	return 1.2*entry.Rectangle(c).Size().X + vg.Points(12)
}
