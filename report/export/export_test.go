package export

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"kvcompress/kv"
	"kvcompress/sim"
)

func results() []sim.Result {
	return []sim.Result{
		{ID: "a", Arrival: 1, Admitted: 2000, FirstToken: 3001, Finished: 9_000_000, PromptTokens: 10, OutputTokens: 3, Preemptions: 1, Recomputed: 11},
		{ID: "b,\"quoted\"\n", Arrival: 5, Admitted: -1, FirstToken: -1, Finished: -1, PromptTokens: 10, Replica: 2, Error: "too long"},
		{ID: "c", Arrival: 5, Admitted: 6, FirstToken: -1, Finished: -1},
	}
}

func steps() []sim.Step {
	var w sim.Work
	w[sim.KVsRead] = 77
	return []sim.Step{
		{Index: 0, Start: 5, End: 2000, Kind: sim.Prefill, Steps: 1, Sequences: 2, Tokens: 20, Usage: kv.Usage{Allocated: 5}},
		{Index: 1, Start: 2000, End: 9_000_000, Kind: sim.Decode, Steps: 3, Sequences: 2, Tokens: 6, Work: w, Finished: []kv.SeqID{0}, Running: 1, Waiting: 4},
	}
}

func feed(t *testing.T, e Exporter) {
	t.Helper()
	for _, s := range steps() {
		e.Step(&s)
	}
	for _, r := range results() {
		e.Request(&r)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestParquet(t *testing.T) {
	var out bytes.Buffer
	e, err := New(&out, "x.parquet", Requests, 7)
	if err != nil {
		t.Fatal(err)
	}
	feed(t, e)
	rows, err := parquet.Read[Request](bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil {
		t.Fatal(err)
	}
	var want []Request
	for _, r := range results() {
		want = append(want, requestOf(7)(&r))
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Error(diff)
	}

	out.Reset()
	if e, err = New(&out, "x.PARQUET", Steps, 7); err != nil {
		t.Fatal(err)
	}
	feed(t, e)
	stepRows, err := parquet.Read[Step](bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil || len(stepRows) != 2 || stepRows[1] != stepOf(&steps()[1]) || stepRows[1].KVsRead != 77 {
		t.Errorf("%+v, %v", stepRows, err)
	}
}

// Rows that fill several row groups are read back unchanged.
func TestParquetOfManyRows(t *testing.T) {
	var out bytes.Buffer
	e, err := New(&out, "x.parquet", Requests, 7)
	if err != nil {
		t.Fatal(err)
	}
	const n = 3*parquetRows + 17
	for i := range n {
		e.Request(&sim.Result{ID: fmt.Sprint(i), PromptTokens: i})
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	rows, err := parquet.Read[Request](bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil || len(rows) != n {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for i, r := range rows {
		if r.ID != fmt.Sprint(i) || r.PromptTokens != int64(i) {
			t.Fatalf("row %d: %+v", i, r)
		}
	}
}

func TestCSV(t *testing.T) {
	for what, want := range map[What][]string{
		Requests: {"b,\"quoted\"\n", "refused", "5", "", "", "", "", "", "10", "0", "0", "0", "0", "2", "too long"},
		Steps:    {"1", "3", "decode", "2000", "9000000", "2", "6", "1", "4", "0", "1", "0", "0", "0", "0", "0", "77", "0", "0", "0", "0"},
	} {
		var out bytes.Buffer
		e, err := New(&out, "x.csv", what, 7)
		if err != nil {
			t.Fatal(err)
		}
		feed(t, e)
		rows, err := csv.NewReader(&out).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, rows[2]); diff != "" || len(rows[0]) != len(want) {
			t.Errorf("%v: %s", rows[0], diff)
		}
	}
	if _, err := New(nil, "x.xls", Steps, 7); err == nil {
		t.Error("x.xls is written")
	}
}

// Every slice has a duration, and every span that begins also ends, not earlier.
func TestChromeTrace(t *testing.T) {
	var out bytes.Buffer
	feed(t, NewChromeTrace(&out))
	var doc struct {
		TraceEvents []struct {
			Ph, Name string
			Pid      int
			ID       int
			Ts, Dur  *float64
			Args     map[string]any
		}
	}
	if err := json.Unmarshal(out.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	type key struct {
		id   int
		name string
	}
	open, kinds := map[key]float64{}, map[string]int{}
	for _, e := range doc.TraceEvents {
		kinds[e.Ph]++
		k := key{e.ID, e.Name}
		switch e.Ph {
		case "X":
			if e.Ts == nil || e.Dur == nil || *e.Dur <= 0 {
				t.Errorf("%+v", e)
			}
		case "b":
			open[k] = *e.Ts
		case "e":
			from, ok := open[k]
			if !ok || *e.Ts < from {
				t.Errorf("%v ends at %v, began at %v", k, *e.Ts, from)
			}
			delete(open, k)
		}
	}
	if len(open) != 0 || kinds["X"] != 2 || kinds["C"] != 4 || kinds["b"] != kinds["e"] || kinds["b"] != 3+1+3 {
		t.Errorf("%v, left open %v", kinds, open)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("the disk is full") }

func TestErrors(t *testing.T) {
	for name, e := range map[string]Exporter{
		"chrome":  NewChromeTrace(failing{}),
		"csv":     rows(failing{}, ".csv", nil, stepOf),
		"parquet": rows(failing{}, ".parquet", nil, stepOf),
	} {
		for _, s := range steps() {
			e.Step(&s)
		}
		if err := e.Close(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestJSONL(t *testing.T) {
	var out bytes.Buffer
	e, err := New(&out, "x.jsonl", Requests, 7)
	if err != nil {
		t.Fatal(err)
	}
	feed(t, e)
	d := json.NewDecoder(&out)
	for i, want := range []map[string]any{
		{
			"id": "a", "state": "finished", "arrival_ns": 1., "admitted_ns": 2000., "first_token_ns": 3001., "finished_ns": 9e6,
			"ttft_ns": 3001. - 1 + 7, "tpot_ns": float64((9_000_000 - 3001) / 2), "prompt_tokens": 10., "output_tokens": 3.,
			"num_preemptions": 1., "recomputed_tokens": 11., "cached_tokens": 0., "replica": 0.,
		},
		{
			"id": "b,\"quoted\"\n", "state": "refused", "arrival_ns": 5., "prompt_tokens": 10., "output_tokens": 0.,
			"num_preemptions": 0., "recomputed_tokens": 0., "cached_tokens": 0., "replica": 2., "error": "too long",
		},
		{
			"id": "c", "state": "unfinished", "arrival_ns": 5., "admitted_ns": 6., "prompt_tokens": 0., "output_tokens": 0.,
			"num_preemptions": 0., "recomputed_tokens": 0., "cached_tokens": 0., "replica": 0.,
		},
	} {
		var row map[string]any
		if err := d.Decode(&row); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, row); diff != "" {
			t.Errorf("row %d: %s", i, diff)
		}
	}
	if d.More() {
		t.Error("there is more")
	}
}

// TestParquetBytes checks that a Parquet file has the same bytes with assembly and without (-tags
// purego).
func TestParquetBytes(t *testing.T) {
	var out bytes.Buffer
	e, err := New(&out, "x.parquet", Requests, 0)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	at := int64(0)
	for i := range 20_000 {
		at += random.Int64N(1e9)
		r := sim.Result{ID: fmt.Sprint(i), Arrival: at, Admitted: at + random.Int64N(1e9), FirstToken: -1, Finished: -1, PromptTokens: random.IntN(4000)}
		switch {
		case i%100 == 0:
			r.Error = fmt.Sprintf("a prompt of %d tokens does not fit", r.PromptTokens)
		case i%10 > 0:
			r.FirstToken = r.Admitted + random.Int64N(1e9)
			r.Finished, r.OutputTokens = r.FirstToken+random.Int64N(1e10), 1+random.IntN(500)
		}
		e.Request(&r)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	const want = "eb9b73d8ad23517e5ec7a7a26b2c871ca0654291136548375984b5ca08f3bf82"
	if got := fmt.Sprintf("%x", sha256.Sum256(out.Bytes())); got != want {
		t.Errorf("%d bytes of digest %s, want %s", out.Len(), got, want)
	}
}
