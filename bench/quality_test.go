package bench

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"kvcompress/dtype"
	"kvcompress/kv"
	"kvcompress/ref"
)

// quality is a table with one method at two budgets.
func quality(t testing.TB) []byte {
	t.Helper()
	row := func(relative, bytes float64) []Ranked {
		return []Ranked{{Row: "snapkv", Relative: &relative, Bytes: bytes}}
	}
	p := DefaultPlan()
	text, err := json.Marshal(Table{Plan: p, Done: p.Units(), Rankings: []Ranking{
		{Mode: Aware, Budget: 2, Rows: row(0.98, 0.5)}, {Mode: Aware, Budget: 4, Rows: row(0.9, 0.25)},
		{Mode: Agnostic, Budget: 2, Rows: row(0.6, 0.5)}, {Mode: Agnostic, Budget: 4, Rows: row(0.3, 0.25)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Quality is that of the largest budget within the fraction of bytes, in the worse mode unless a
// mode is given.
func TestQuality(t *testing.T) {
	for _, c := range []struct {
		mode Mode
		part float64
		want float64 // −1: unknown
	}{
		{Aware, 0.7, 0.98}, {Aware, 0.5, 0.98}, {Aware, 0.49, 0.9}, {Agnostic, 0.3, 0.3}, {"", 0.5, 0.6}, {Aware, 0.2, -1},
	} {
		q, err := ReadQuality(bytes.NewReader(quality(t)), c.mode)
		if err != nil {
			t.Fatal(err)
		}
		got, err := q.At("snapkv", c.part)
		if (err != nil) != (c.want < 0) || err == nil && got != c.want {
			t.Errorf("%s with %v: %v, %v; want %v", c.mode, c.part, got, err, c.want)
		}
		if _, err := q.At("razor", 0.5); err == nil || !strings.Contains(err.Error(), "512 tokens") {
			t.Errorf("of a method that is not there: %v", err)
		}
	}
}

func TestReadQualityRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "no object": "[]", "no rankings": "{}", "a part below 0": strings.Replace(string(quality(t)), `"bytes":0.5`, `"bytes":-1`, 1),
	} {
		if _, err := ReadQuality(strings.NewReader(text), ""); err == nil {
			t.Errorf("%s: nothing is wrong", name)
		}
	}
	for name, partial := range map[string][2]string{"marked": {`"partial":false`, `"partial":true`}, "units": {`"units":24`, `"units":23`}} {
		text := strings.Replace(string(quality(t)), partial[0], partial[1], 1)
		if _, err := ReadQuality(strings.NewReader(text), ""); err == nil || !strings.Contains(err.Error(), "partial") || !strings.Contains(err.Error(), "of 24 contexts") {
			t.Errorf("%s: %v, want an error that says what is missing", name, err)
		}
	}
	for old, c := range map[string][2]string{`"units":24`: {`"units":25`, "it has 25 contexts, and its plan 24"}, `"rankings":[`: {`"rankings":[[],`, "rankings[0]"}} {
		text := strings.Replace(string(quality(t)), old, c[0], 1)
		if _, err := ReadQuality(strings.NewReader(text), ""); err == nil || !strings.Contains(err.Error(), c[1]) || strings.Contains(err.Error(), "Go ") {
			t.Errorf("with %s: %v, want %q", c[0], err, c[1])
		}
	}
	if _, err := ReadQuality(bytes.NewReader(quality(t)), "x"); err == nil {
		t.Error("an unknown mode is accepted")
	}
}

// A bench in which no category is a valid task is refused; one in which some are not valid says so.
func TestQualityOfInvalidTasks(t *testing.T) {
	with := func(checks ...Check) []byte {
		var table Table
		if err := json.Unmarshal(quality(t), &table); err != nil {
			t.Fatal(err)
		}
		table.Checks = checks
		text, err := json.Marshal(table)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	invalid := Check{Mode: Aware, Category: "needle", Fails: "x"}
	valid := Check{Mode: Agnostic, Category: "needle"}
	if _, err := ReadQuality(bytes.NewReader(with(invalid, valid)), Aware); err == nil || !strings.Contains(err.Error(), "none of its categories is a valid task") {
		t.Errorf("%v, want that no category is a valid task", err)
	}
	for mode, want := range map[Mode]string{"": "in the worse of its modes (1 of 2 categories are not valid tasks)", Agnostic: "at 512 tokens, query-agnostic"} {
		q, err := ReadQuality(bytes.NewReader(with(invalid, valid)), mode)
		if err != nil {
			t.Fatal(err)
		}
		if of := q.Of(); !strings.HasSuffix(of, want) {
			t.Errorf("%q: %q, want %q", mode, of, want)
		}
	}
}

// StreamingLLM with C = 160 of 640 tokens in blocks of 16 holds 10 of 40 to 48 blocks of each
// head over 100 steps, and an 11th when a token comes on top of 160.
func TestHeldPart(t *testing.T) {
	cfg := ref.Config{Config: kv.Config{Shape: kv.Shape{Layers: 2, KVHeads: 2, Group: 1, HeadSize: 8}, BlockSize: 16, DType: dtype.F16}}
	cfg.Method, cfg.Compression.MaxCacheTokens = "streaming-llm", 160
	part, err := HeldPart(cfg, 640, 101)
	if err != nil {
		t.Fatal(err)
	}
	dense := 0.0
	for n := 640; n <= 740; n++ {
		dense += math.Ceil(float64(n) / 16)
	}
	if want := (10 + 100*11) / dense; math.Abs(part-want) > 1e-9 {
		t.Errorf("%v, want %v", part, want)
	}
}

// A method that needs a rotary embedding is counted without one, as the lengths do not depend on it.
func TestHeldPartWithoutRope(t *testing.T) {
	cfg := ref.Config{Config: kv.Config{Shape: kv.Shape{Layers: 2, KVHeads: 2, Group: 1, HeadSize: 8}, BlockSize: 16, DType: dtype.F16}}
	cfg.UseMethod("expected-attention")
	cfg.Compression.MaxCacheTokens = 160
	if part, err := HeldPart(cfg, 640, 2); err != nil || !(part > 0.2 && part < 0.3) {
		t.Errorf("%v, %v, want some 160 of 640", part, err)
	}
}

func FuzzReadQuality(f *testing.F) {
	f.Add(quality(f))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, in []byte) {
		q, err := ReadQuality(bytes.NewReader(in), "")
		if err != nil {
			return
		}
		if kept, err := q.At("snapkv", 0.5); err == nil && !(kept >= 0) {
			t.Errorf("%v", kept)
		}
	})
}
