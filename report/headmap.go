package report

import (
	"bufio"
	"cmp"
	"fmt"
	"image/color"
	"io"
	"unicode"
	"unicode/utf8"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"kvcompress/internal/words"
)

// HeadMap says which KV heads of a model are retrieval heads, and why, for a report.
type HeadMap struct {
	Title  string
	Full   [][]bool // [L][H], the retrieval heads
	Scores []HeadScore
}

// HeadScore is one score of every KV head, usually from 0 to 1.
type HeadScore struct {
	Name   string
	Rule   string      // the rule that selects heads by this score, such as "the top 14 % are full"
	Values [][]float64 // [L][H]
}

// maxFullHeads is the largest number of rows in the table of retrieval heads.
const maxFullHeads = 40

// HeadMapText writes a map as text: the number of full heads, a heat map of each score, and a
// table of the full heads with their scores.
func HeadMapText(w io.Writer, m *HeadMap, opt TextOptions) error {
	if opt.Width <= 0 {
		opt.Width = defaultWidth
	}
	opt.Width = max(opt.Width, minWidth)
	p := &printer{w: bufio.NewWriter(w), opt: opt, gap: 2}
	full, all := m.count()
	p.printf("%s\n", p.opt.Color.bold(m.Title))
	p.printf("%d layers × %d KV heads: %s of %d full (%.1f %%), the others streaming\n",
		len(m.Full), len(m.Full[0]), words.Number(full), all, 100*float64(full)/float64(all))
	for _, s := range m.Scores {
		first, size := utf8.DecodeRuneInString(s.Name)
		p.mosaic(s.Values, string(unicode.ToUpper(first))+s.Name[size:], ": "+s.Rule+"; by layer (across) and KV head (down)")
	}
	m.table(p)
	return p.end()
}

// table writes a row for each full head.
func (m *HeadMap) table(p *printer) {
	columns := []column{{"layer", right}, {"KV head", right}}
	for _, s := range m.Scores {
		columns = append(columns, column{s.Name, right})
	}
	var rows [][]string
	for l, heads := range m.Full {
		for h, full := range heads {
			if !full {
				continue
			}
			row := []string{fmt.Sprint(l), fmt.Sprint(h)}
			for _, s := range m.Scores {
				row = append(row, fmt.Sprintf("%.4f", s.Values[l][h]))
			}
			rows = append(rows, row)
		}
	}
	if len(rows) == 0 {
		return
	}
	p.section("Full heads", "")
	p.table(columns, rows[:min(len(rows), maxFullHeads)])
	if more := len(rows) - maxFullHeads; more > 0 {
		p.printf("… %s more (--json has them)\n", words.Count(more, "head"))
	}
}

func (m *HeadMap) count() (full, all int) {
	for _, heads := range m.Full {
		for _, f := range heads {
			all++
			if f {
				full++
			}
		}
	}
	return full, all
}

// HeadMapPlot returns a map as SVG or PNG, by the extension of path; it writes no file. There is
// a heat map for each score, with layers on the x axis, heads on the y axis and a frame around
// full heads. Without scores, a full head is drawn as 1 and any other as 0.
func HeadMapPlot(path string, m *HeadMap) ([]byte, error) {
	if err := CheckPlot(path); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	scores := m.Scores
	if len(scores) == 0 {
		scores = []HeadScore{{Name: "full heads", Values: indicator(m.Full)}}
	}
	var panels []*headsPlot
	height := -plotMargin
	for i, s := range scores {
		title := s.Name
		if i == 0 && m.Title != "" {
			title = m.Title + ": " + title
		}
		h, err := newHeadsPlot(title, s.Values)
		if err != nil {
			return nil, fmt.Errorf("report: %w", err)
		}
		h.plot.Add(&frames{m.Full})
		panels = append(panels, h)
		height += h.height() + plotMargin
	}
	full, all := m.count()
	picture, err := paintTo(path, cmp.Or(m.Title, "Scores of KV heads"), fmt.Sprintf("A heat map of each score, layers across and KV heads down. The full heads, %d of %d, are framed.", full, all), height, func(c draw.Canvas) {
		for _, h := range panels {
			h.draw(draw.Crop(c, 0, 0, c.Size().Y-h.height(), 0))
			c = draw.Crop(c, 0, 0, 0, -h.height()-plotMargin)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("report: %s: %w", path, err)
	}
	return picture, nil
}

func indicator(full [][]bool) [][]float64 {
	values := make([][]float64, len(full))
	for l, heads := range full {
		values[l] = make([]float64, len(heads))
		for h, f := range heads {
			if f {
				values[l][h] = 1
			}
		}
	}
	return values
}

// frames draws a frame around the cells of the full heads.
type frames struct{ full [][]bool }

// Plot implements plot.Plotter.
func (f *frames) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	width := min(vg.Points(2), (x(1)-x(0))/6, (y(0)-y(1))/6)
	c.SetLineWidth(width)
	c.SetColor(color.NRGBA{0xd6, 0x27, 0x28, 0xff}) // a red that the colour scale does not have
	for l, heads := range f.full {
		for h, full := range heads {
			if !full {
				continue
			}
			frame := vg.Rectangle{
				Min: vg.Point{X: x(float64(l)-0.5) + width/2, Y: y(float64(h)+0.5) + width},
				Max: vg.Point{X: x(float64(l)+0.5) - width, Y: y(float64(h)-0.5) - width/2},
			}
			c.Stroke(frame.Path())
		}
	}
}
