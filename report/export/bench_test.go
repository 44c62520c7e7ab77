package export

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"kvcompress/bench"
)

// A cell of the full cache, one of a method, and one for which nothing was run.
func benchTable() *bench.Table {
	return &bench.Table{Cells: []bench.Cell{
		{Mode: bench.Aware, Budget: 1, Row: bench.Full, Category: "needle", N: 2, Score: 0.5, Low: 0.1, High: 0.9, Exact: 0.5, Relative: new(1.0), Bytes: 1, Peak: 1.1},
		{Mode: bench.Aware, Budget: 4, Row: "snapkv", Category: "needle", N: 2, Score: 0.25, High: 0.8, Relative: new(0.5), Divergence: 1.0 / 3, Bytes: 0.2, Peak: 0.3, Host: 0.75},
		{Mode: bench.Agnostic, Budget: 4, Row: "snapkv", Category: "needle", Missing: 2},
	}}
}

// A figure that was not measured is empty in CSV, missing in JSON lines and null in Parquet, not
// 0.
func TestBench(t *testing.T) {
	var csv, lines, columns bytes.Buffer
	for ext, w := range map[string]*bytes.Buffer{".csv": &csv, ".jsonl": &lines, ".parquet": &columns} {
		if err := Bench(w, ext, benchTable()); err != nil {
			t.Fatal(err)
		}
	}
	const want = `mode,budget,method,category,n,missing,score,low,high,exact,relative,divergence,bytes,peak,host
query-aware,1,full,needle,2,0,0.5,0.1,0.9,0.5,1,,1,1.1,0
query-aware,1/4,snapkv,needle,2,0,0.25,0,0.8,0,0.5,0.333333,0.2,0.3,0.75
query-agnostic,1/4,snapkv,needle,0,2,,,,,,,,,
`
	if diff := cmp.Diff(want, csv.String()); diff != "" {
		t.Errorf("CSV (-want +got):\n%s", diff)
	}
	if last := strings.Split(lines.String(), "\n")[2]; last != `{"mode":"query-agnostic","budget":"1/4","method":"snapkv","category":"needle","n":0,"missing":2}` {
		t.Errorf("JSON lines end with %s", last)
	}
	rows, err := parquet.Read[Cell](bytes.NewReader(columns.Bytes()), int64(columns.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(cellsOf(benchTable()), rows); diff != "" {
		t.Errorf("Parquet (-want +got):\n%s", diff)
	}
}

func TestBenchGrid(t *testing.T) {
	table := &bench.Table{
		Plan:  bench.Plan{Grid: &bench.Grid{Lengths: []int{128, 256}, Depths: 2}},
		Heats: []bench.Heat{{Mode: bench.Aware, Budget: 4, Row: "snapkv", N: [][]int{{1, 2}, {0, 1}}, Score: [][]float64{{1, 0.5}, {0, 0}}}},
	}
	var csv, columns bytes.Buffer
	for ext, w := range map[string]*bytes.Buffer{".csv": &csv, ".parquet": &columns} {
		if err := Bench(w, ext, table); err != nil {
			t.Fatal(err)
		}
	}
	const want = `mode,budget,method,length,depth,n,score
query-aware,1/4,snapkv,128,0,1,1
query-aware,1/4,snapkv,128,1,2,0.5
query-aware,1/4,snapkv,256,0,0,
query-aware,1/4,snapkv,256,1,1,0
`
	if diff := cmp.Diff(want, csv.String()); diff != "" {
		t.Errorf("CSV (-want +got):\n%s", diff)
	}
	rows, err := parquet.Read[Place](bytes.NewReader(columns.Bytes()), int64(columns.Len()))
	if err != nil || !cmp.Equal(placesOf(table), rows) {
		t.Errorf("Parquet has %v, %v", rows, err)
	}
}
