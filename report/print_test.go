package report

import (
	"regexp"
	"strings"
	"testing"
)

// TestPrintColors checks that print resets every color of the dark scheme: paper is white.
func TestPrintColors(t *testing.T) {
	_, dark, _ := strings.Cut(pageHTML, "@media (prefers-color-scheme: dark)")
	dark, _, _ = strings.Cut(dark, "\n}\n")
	_, print, _ := strings.Cut(pageHTML, "@media print")
	print, _, _ = strings.Cut(print, "\n}\n")
	colors := regexp.MustCompile(`--[a-z]+:`).FindAllString(dark, -1)
	if len(colors) < 8 {
		t.Fatalf("the dark scheme has %d colors", len(colors))
	}
	for _, c := range append(colors, "color-scheme: light") {
		if !strings.Contains(print, " "+c) {
			t.Errorf("print does not reset %s", c)
		}
	}
}
