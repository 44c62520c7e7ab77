package report

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"kvcompress/sim"
)

// heat writes the fraction of its KVs that each head kept, as a heat map.
func (p *printer) heat(r *sim.Report) {
	kept := r.Heads.Kept()
	if len(kept) == 0 {
		return
	}
	p.mosaic(kept, "Kept", ": the part of its KVs that each head kept, by layer (across) and KV head (down)")
}

// mosaic writes a section with a heat map of one value from 0 to 1 for each head, [L][H]: layers
// on the x axis, heads on the y axis, in several panels if the terminal is too narrow for all
// layers.
func (p *printer) mosaic(parts [][]float64, title, more string) {
	scale, err := newRamp(parts)
	if err != nil {
		p.err = err
		return
	}
	m := newMosaic(parts, scale, p.opt)
	p.section(title, more+m.unit())
	for from := 0; from < len(parts); from += m.layers {
		if from > 0 {
			p.printf("\n")
		}
		for _, line := range m.panel(from, min(from+m.layers, len(parts))) {
			p.printf("%s\n", strings.TrimRight(line, " "))
		}
	}
	p.printf("%s\n", m.legend())
}

// mosaic is a heat map with one cell for each head of each layer.
type mosaic struct {
	kept   [][]float64 // [L][H]
	scale  *ramp
	color  Color
	margin int  // columns of the head's number
	cell   int  // columns of a cell
	layers int  // layers in a panel
	rows   int  // heads in a line of text: 2 if each is half a character high
	digits bool // whether a cell has space for its number
}

const (
	digitsCell = 6 // a number, a bar before it, and a space on both sides
	wideCell   = 2 // this makes a cell about as high as it is wide
	manyHeads  = 24
)

func newMosaic(kept [][]float64, scale *ramp, opt TextOptions) *mosaic {
	m := &mosaic{kept: kept, scale: scale, color: opt.Color, cell: 1, rows: 1}
	m.margin = len(fmt.Sprint(len(kept[0])-1)) + 3
	room := opt.Width - m.margin
	switch layers := len(kept); {
	case layers*digitsCell <= room:
		m.cell, m.digits = digitsCell, true
	case layers*wideCell <= room:
		m.cell = wideCell
	}
	if m.color != NoColor && !m.digits && len(kept[0]) > manyHeads {
		m.rows = 2
	}
	m.layers = min(len(kept), room/m.cell)
	if m.layers < len(kept) && m.layers > 10 {
		m.layers -= m.layers % 10 // panels begin at a round number
	}
	return m
}

func (m *mosaic) unit() string {
	if m.digits {
		return ", in %"
	}
	return ""
}

// panel returns the lines of the panel with layers from to to−1.
func (m *mosaic) panel(from, to int) []string {
	lines := []string{m.axis(from, to)}
	for h := 0; h < len(m.kept[0]); h += m.rows {
		var b strings.Builder
		fmt.Fprintf(&b, "%*d  ", m.margin-2, h)
		for l := from; l < to; l++ {
			b.WriteString(m.at(l, h))
		}
		lines = append(lines, b.String())
	}
	return lines
}

// axis returns the numbers of the layers, as many as there is space for.
func (m *mosaic) axis(from, to int) string {
	widest := len(fmt.Sprint(to-1)) + 1
	step := 1
	for _, step = range []int{1, 2, 5, 10, 20, 50, 100} {
		if step*m.cell >= widest {
			break
		}
	}
	line := strings.Repeat(" ", m.margin)
	for l := from; l < to; l++ {
		if l%step != 0 {
			continue
		}
		at := m.margin + (l-from)*m.cell
		label := fmt.Sprint(l)
		if m.digits { // above the number's last digit
			at += digitsCell - 2 - len(label)
		}
		line += strings.Repeat(" ", max(0, at-utf8.RuneCountInString(line))) + label
	}
	return line
}

// at draws the cell of a head of a layer.
func (m *mosaic) at(l, h int) string {
	v := m.kept[l][h]
	switch {
	case m.digits && m.color != NoColor:
		return m.color.paint(fmt.Sprintf(" %3.0f  ", 100*v), m.scale.inkCode(v), m.scale.code(m.color, background, v))
	case m.digits:
		return fmt.Sprintf("%s%3.0f  ", m.eighths(v), 100*v)
	case m.color == NoColor:
		return strings.Repeat(m.eighths(v), m.cell)
	case m.rows == 1:
		return m.color.paint(strings.Repeat(" ", m.cell), m.scale.code(m.color, background, v))
	}
	codes := []string{m.scale.code(m.color, foreground, v)}
	if h+1 < len(m.kept[l]) {
		codes = append(codes, m.scale.code(m.color, background, m.kept[l][h+1]))
	}
	return m.color.paint(strings.Repeat("▀", m.cell), codes...)
}

// eighths returns a bar character whose height is the value's fraction of the scale, in eighths.
func (m *mosaic) eighths(v float64) string {
	if v <= 0 {
		return "·"
	}
	n := int(8 * v / m.scale.top)
	return string('▁' + rune(min(n, 7)))
}

// legend says which value each shade or colour means.
func (m *mosaic) legend() string {
	var b strings.Builder
	b.WriteString(strings.Repeat(" ", m.margin))
	top := fmt.Sprintf("%.3g %%", 100*m.scale.top)
	if m.color == NoColor {
		return fmt.Sprintf("%s· none   ▁▂▃▄▅▆▇█ up to %s", b.String(), top)
	}
	b.WriteString("0 % ")
	const cells = 24
	for i := range cells {
		b.WriteString(m.color.paint(" ", m.scale.code(m.color, background, m.scale.top*float64(i)/(cells-1))))
	}
	b.WriteString(" " + top)
	if m.rows == 2 {
		b.WriteString("; two heads to a line")
	}
	return b.String()
}
