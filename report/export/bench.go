package export

import (
	"io"

	"kvcompress/bench"
)

// Cell is a row for a method in one category and mode of a bench. Figures that were not measured
// are absent: all figures of a cell without prompts, figures relative to the full cache if the
// full cache was not run or scored 0, and the divergence of the full cache from itself.
type Cell struct {
	Mode       string   `parquet:"mode,dict"`
	Budget     string   `parquet:"budget,dict"` // 1, 1/2, 1/4 of the full cache's bytes
	Method     string   `parquet:"method,dict"`
	Category   string   `parquet:"category,dict"`
	N          int64    `parquet:"n"`              // prompts
	Missing    int64    `parquet:"missing"`        // prompts of the plan that were not run
	Score      *float64 `parquet:"score,optional"` // mean, with the limits of a 95 % interval
	Low        *float64 `parquet:"low,optional"`
	High       *float64 `parquet:"high,optional"`
	Exact      *float64 `parquet:"exact,optional"`      // fraction of the prompts with a completely right answer
	Relative   *float64 `parquet:"relative,optional"`   // fraction of the full cache's score
	Divergence *float64 `parquet:"divergence,optional"` // in nats
	Bytes      *float64 `parquet:"bytes,optional"`      // fraction of the full cache's bytes
	Peak       *float64 `parquet:"peak,optional"`
	Host       *float64 `parquet:"host,optional"` // in the host's memory, part of the full cache's
}

// Place is a row for a method at one length and depth of a grid.
type Place struct {
	Mode   string   `parquet:"mode,dict"`
	Budget string   `parquet:"budget,dict"`
	Method string   `parquet:"method,dict"`
	Length int64    `parquet:"length"` // tokens of the context
	Depth  float64  `parquet:"depth"`  // depth of the passkey, from 0 to 1
	N      int64    `parquet:"n"`
	Score  *float64 `parquet:"score,optional"`
}

// Bench writes a row for each cell of a bench, or for each place if it has a grid. The format
// follows from the file's extension: .csv, .jsonl or .parquet.
func Bench(w io.Writer, ext string, t *bench.Table) error {
	if t.Plan.Grid == nil {
		return writeRows(w, ext, cellsOf(t))
	}
	return writeRows(w, ext, placesOf(t))
}

// writeRows writes rows that are all in memory.
func writeRows[Row any](w io.Writer, ext string, list []Row) error {
	t := newTable[Row](w, ext)
	for _, r := range list {
		if t.err == nil {
			t.err = t.write(r)
		}
	}
	return t.Close()
}

// measured returns a pointer to a figure; nil if it was not measured.
func measured(v float64, is bool) *float64 {
	if !is {
		return nil
	}
	return &v
}

func cellsOf(t *bench.Table) []Cell {
	var rows []Cell
	for _, c := range t.Cells {
		some := c.N > 0
		rows = append(rows, Cell{
			string(c.Mode), c.Budget.String(), c.Row, c.Category, int64(c.N), int64(c.Missing),
			measured(c.Score, some), measured(c.Low, some), measured(c.High, some), measured(c.Exact, some),
			c.Relative, measured(c.Divergence, some && c.Row != bench.Full),
			measured(c.Bytes, some), measured(c.Peak, some), measured(c.Host, some),
		})
	}
	return rows
}

func placesOf(t *bench.Table) []Place {
	var rows []Place
	for _, h := range t.Heats {
		for l, length := range t.Plan.Grid.Lengths {
			for d := range t.Plan.Grid.Depths {
				n := h.N[l][d]
				rows = append(rows, Place{string(h.Mode), h.Budget.String(), h.Row, int64(length), t.Plan.Grid.Depth(d), int64(n), measured(h.Score[l][d], n > 0)})
			}
		}
	}
	return rows
}
