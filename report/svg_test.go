package report

import (
	"encoding/xml"
	"strings"
	"testing"

	"gonum.org/v1/plot/vg/draw"
)

// TestDescribedSVG: a picture has a title and a description, and is well-formed XML.
func TestDescribedSVG(t *testing.T) {
	svg, err := paintTo("a.svg", "a < b & c", `"described"`, 72, func(draw.Canvas) {})
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Role  string `xml:"role,attr"`
		Title string `xml:"title"`
		Desc  string `xml:"desc"`
	}
	if err := xml.Unmarshal(svg, &got); err != nil || got.Role != "img" || got.Title != "a < b & c" || got.Desc != `"described"` {
		t.Errorf("%+v, %v", got, err)
	}
	png, err := paintTo("a.png", "title", "description", 72, func(draw.Canvas) {})
	if err != nil || strings.Contains(string(png), "title") || !strings.HasPrefix(string(png), "\x89PNG") {
		t.Errorf("a PNG: %v", err)
	}
	for _, text := range []string{"", "no picture", "<svg"} {
		if got := string(describedSVG([]byte(text), "a", "b")); got != text {
			t.Errorf("%q becomes %q", text, got)
		}
	}
}
