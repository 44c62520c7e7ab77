package report

import (
	"fmt"
	"image/color"
	"strings"

	"gonum.org/v1/plot/palette"
	"gonum.org/v1/plot/palette/moreland"
)

// Color is the number of colours that a terminal can show.
type Color uint8

// The values of Color.
const (
	NoColor   Color = iota // no colours, or not a terminal
	Color256               // the 256 colours of xterm
	TrueColor              // 24-bit colours
)

// ColorOf returns how many colours the terminal shows, from environment variables. If NO_COLOR is
// set to anything, it is none (no-color.org).
func ColorOf(getenv func(string) string) Color {
	term := getenv("TERM")
	switch {
	case getenv("NO_COLOR") != "", term == "", term == "dumb":
		return NoColor
	case getenv("COLORTERM") == "truecolor", getenv("COLORTERM") == "24bit":
		return TrueColor
	}
	return Color256
}

func (c Color) bold(s string) string {
	if c == NoColor || s == "" {
		return s
	}
	return "\x1b[1m" + s + "\x1b[0m"
}

// paint returns the text with the given control sequences, each from ramp.code or ramp.inkCode.
func (c Color) paint(text string, codes ...string) string {
	if c == NoColor {
		return text
	}
	return "\x1b[" + strings.Join(codes, ";") + "m" + text + "\x1b[0m"
}

func rgb(c color.Color) (r, g, b uint8) {
	n := color.NRGBAModel.Convert(c).(color.NRGBA)
	return n.R, n.G, n.B
}

// ramp is a colour scale from 0 to top, from dark violet to light yellow. Lightness increases
// with the value, so that the scale also works in grey and for colour-blind readers.
type ramp struct {
	top    float64
	colors palette.ColorMap
}

// newRamp returns a scale for the given values. It ends at the largest value, rounded up, so that
// small values also differ in colour.
func newRamp(values [][]float64) (*ramp, error) {
	highest := 0.0
	for _, row := range values {
		for _, v := range row {
			highest = max(highest, v)
		}
	}
	end := 1.0
	for _, top := range []float64{0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.01} {
		if highest <= top {
			end = top
		}
	}
	return newRampTo(end)
}

// newRampTo returns the scale from 0 to top.
func newRampTo(top float64) (*ramp, error) {
	// The five anchors of matplotlib's viridis, which is in the public domain.
	colors, err := moreland.NewLuminance([]color.Color{
		color.NRGBA{0x44, 0x01, 0x54, 0xff},
		color.NRGBA{0x3b, 0x52, 0x8b, 0xff},
		color.NRGBA{0x21, 0x91, 0x8c, 0xff},
		color.NRGBA{0x5e, 0xc9, 0x62, 0xff},
		color.NRGBA{0xfd, 0xe7, 0x25, 0xff},
	})
	if err != nil {
		return nil, err
	}
	s := &ramp{top: top, colors: colors}
	colors.SetMin(0)
	colors.SetMax(s.top)
	return s, nil
}

// at returns the colour of a value.
func (s *ramp) at(v float64) color.Color {
	c, err := s.colors.At(min(max(v, 0), s.top))
	if err != nil {
		return color.Black // clamp values outside the scale
	}
	return c
}

// ink returns black or white, whichever has more contrast to a value's colour.
func (s *ramp) ink(v float64) color.Color {
	if s.light(v) {
		return color.Black
	}
	return color.White
}

func (s *ramp) light(v float64) bool {
	r, g, b := rgb(s.at(v))
	return 299*int(r)+587*int(g)+114*int(b) > 128_000
}

// Whether a terminal's colour code is for the foreground or the background.
const (
	foreground = 38
	background = 48
)

// code returns the control sequence for the colour of a value.
func (s *ramp) code(c Color, ground int, v float64) string {
	if c == TrueColor {
		r, g, b := rgb(s.at(v))
		return fmt.Sprintf("%d;2;%d;%d;%d", ground, r, g, b)
	}
	// xterm colours along a similar path in equal steps. The xterm colours nearest to the ramp's
	// would be too few.
	steps := [...]int{53, 54, 24, 31, 37, 72, 77, 113, 149, 185, 227}
	at := int(v / s.top * float64(len(steps)))
	return fmt.Sprintf("%d;5;%d", ground, steps[min(max(at, 0), len(steps)-1)])
}

// inkCode returns the control sequence for text on the background of a value's colour.
func (s *ramp) inkCode(v float64) string {
	if s.light(v) {
		return "38;5;16"
	}
	return "38;5;231"
}
