package report

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"kvcompress/internal/testsize"
	"kvcompress/internal/words"
	"kvcompress/kv"
	"kvcompress/sim"
	"kvcompress/trace"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

// golden compares got with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got; -update rewrites it):\n%s", path, diff)
	}
}

func render(t *testing.T, r *sim.Report, opt TextOptions) string {
	t.Helper()
	var out bytes.Buffer
	if err := Text(&out, r, opt); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestText(t *testing.T) {
	plain := sample(3, 2, 12)
	uncompressed := sample(3, 2, 5)
	uncompressed.Options.Compression.MaxCacheTokens = 0
	uncompressed.Totals.KVsEvicted, uncompressed.Totals.BlocksFreed = 0, 0
	for i := range uncompressed.Steps {
		uncompressed.Steps[i].Compression = nil
	}
	partial := sample(3, 2, 12)
	partial.Requests[1].Finished = -1
	nothing := sample(3, 2, 12)
	nothing.Steps, nothing.Totals, nothing.Requests = nil, sim.Totals{}, []sim.Result{{ID: "first", Admitted: -1, FirstToken: -1, Finished: -1}}
	for l := range nothing.Heads.Entered {
		clear(nothing.Heads.Entered[l])
		clear(nothing.Heads.Evicted[l])
	}
	byHead := sample(3, 2, 12)
	for i := range byHead.Steps {
		byHead.Steps[i].Heads = &kv.HeadUsage{Blocks: [][]int{{1, 2}, {3, 4}, {5, 1234}}}
	}
	for _, c := range []struct {
		name string
		r    *sim.Report
		opt  TextOptions
	}{
		{"plain.txt", plain, TextOptions{}},
		{"narrow.txt", plain, TextOptions{Width: 60, Steps: 5}},
		{"by-head.txt", byHead, TextOptions{Steps: 2, ByHead: true}},
		{"truecolor.txt", plain, TextOptions{Steps: 2, Color: TrueColor}},
		{"color256.txt", plain, TextOptions{Steps: 2, Color: Color256}},
		{"uncompressed.txt", uncompressed, TextOptions{Steps: -1}},
		{"partial.txt", partial, TextOptions{Steps: 2}},
		{"nothing.txt", nothing, TextOptions{}},
	} {
		t.Run(c.name, func(t *testing.T) { golden(t, c.name, []byte(render(t, c.r, c.opt))) })
	}
}

func TestTextReportsWriteErrors(t *testing.T) {
	if err := Text(full{}, sample(2, 2, 12), TextOptions{}); !errors.Is(err, errFull) {
		t.Errorf("got %v, want %v", err, errFull)
	}
}

var errFull = errors.New("disk full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

var escapes = regexp.MustCompile("\x1b\\[[0-9;]*m")

// The heat map fits the terminal for any number of heads.
func TestHeatFits(t *testing.T) {
	for _, shape := range [][2]int{{1, 1}, {5, 4}, {32, 8}, {80, 8}, {80, 64}, {32, 32}, {300, 2}, {3, 128}} {
		for _, width := range []int{60, 80, 100, 200} {
			for _, color := range []Color{NoColor, Color256, TrueColor} {
				name := fmt.Sprintf("%d×%d heads, %d columns, color %d", shape[0], shape[1], width, color)
				out := render(t, sample(shape[0], shape[1], 12), TextOptions{Width: width, Color: color})
				_, out, _ = strings.Cut(escapes.ReplaceAllString(out, ""), "KV head (down)")
				out, _, _ = strings.Cut(out, "Summary")
				cells := 0
				for line := range strings.Lines(out) {
					line = strings.TrimRight(line, "\n")
					if n := utf8.RuneCountInString(line); n > width {
						t.Errorf("%s: a line of %d columns: %q", name, n, line)
					}
					if strings.HasSuffix(line, "%") || strings.Contains(line, "up to") || strings.Contains(line, " % ") {
						continue
					}
					cells++
				}
				if most := 3*shape[1]*(1+shape[0]/50) + 30; cells > most {
					t.Errorf("%s: %d lines, want at most %d", name, cells, most)
				}
			}
		}
	}
}

func TestJSON(t *testing.T) {
	var first, second bytes.Buffer
	for _, out := range []*bytes.Buffer{&first, &second} {
		if err := JSON(out, sample(3, 2, 8)); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same report gives different bytes")
	}
	golden(t, "report.json", first.Bytes())
}

// The fields that the documentation lists are present even if a report is empty.
func TestJSONOfNothing(t *testing.T) {
	r := sample(2, 2, 8)
	r.Steps, r.Requests = nil, nil
	var out bytes.Buffer
	if err := JSON(&out, r); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"steps", "requests"} {
		if list, ok := got[name].([]any); !ok || len(list) != 0 {
			t.Errorf("%s is %v, want an empty list", name, got[name])
		}
	}
}

func TestHeatMap(t *testing.T) {
	dir := t.TempDir()
	none := sample(2, 2, 8)
	none.Steps = nil
	reports := map[string]*sim.Report{"1x1": sample(1, 1, 8), "5x4": sample(5, 4, 60), "none": none}
	if !testing.Short() {
		reports["32x8"], reports["80x64"] = sample(32, 8, testsize.Of(0, 1000, 3000)), sample(80, 64, 12)
	}
	for name, r := range reports {
		exts := []string{".png", ".svg"}
		if name == "1x1" {
			exts = append(exts, ".PNG")
		}
		for _, ext := range exts {
			var pictures [2][]byte
			for i := range pictures {
				path := filepath.Join(dir, fmt.Sprint(name, i, ext))
				if err := HeatMap(path, r); err != nil {
					t.Fatal(err)
				}
				var err error
				if pictures[i], err = os.ReadFile(path); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(pictures[0], pictures[1]) {
				t.Errorf("%s%s: the same report gives different bytes", name, ext)
			}
			if ext == ".svg" {
				for _, want := range []string{"</svg>", ">layer<", ">KV head<", ">step<", ">blocks<", "sample: part of its KVs"} {
					if !bytes.Contains(pictures[0], []byte(want)) {
						t.Errorf("%s%s has no %q", name, ext, want)
					}
				}
				continue
			}
			if _, err := png.Decode(bytes.NewReader(pictures[0])); err != nil {
				t.Errorf("%s%s: %v", name, ext, err)
			}
		}
	}
}

func TestHeatMapErrors(t *testing.T) {
	r := sample(2, 2, 8)
	for path, want := range map[string]string{
		"kept.gif":                           "a .png or a .svg",
		"kept":                               "a .png or a .svg",
		filepath.Join("no", "such", "a.png"): "the folder no/such does not exist",
	} {
		if err := HeatMap(path, r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %q", path, err, want)
		}
	}
}

// Without compression, the blocks that the ledger counts for an uncompressed cache equal those
// that the engine allocates, with staggered arrivals, preemption and recomputation.
func TestDenseBlocks(t *testing.T) {
	head, err := trace.ParseHead("uniform")
	if err != nil {
		t.Fatal(err)
	}
	meta := trace.Meta{
		FormatVersion: trace.FormatVersion,
		Shape:         kv.Shape{Layers: 2, KVHeads: 3, Group: 1, HeadSize: 8},
		Source:        trace.Source{Kind: trace.Synthetic},
		Synth:         &trace.Recipe{Layers: [][]trace.Head{{head}}},
	}
	tr, err := trace.New(meta, []trace.Request{
		{ID: "a", PromptTokens: 20, OutputTokens: 30},
		{ID: "b", ArrivalNS: 15e6, PromptTokens: 9, OutputTokens: 40},
		{ID: "c", ArrivalNS: 70e6, PromptTokens: 14, OutputTokens: 25},
		{ID: "d", ArrivalNS: 2e9, PromptTokens: 200, OutputTokens: 5},
		{ID: "e", ArrivalNS: 3e9, PromptTokens: 5, OutputTokens: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	opt := sim.DefaultOptions()
	opt.BlockSize, opt.Blocks = 4, 150
	r, err := sim.Replay(context.Background(), tr, opt, sim.Hooks{ByHead: true})
	if err != nil {
		t.Fatal(err)
	}
	if r.Totals.Preemptions == 0 || r.Totals.Refused != 1 {
		t.Fatalf("%d preemptions and %d refusals, want some and one", r.Totals.Preemptions, r.Totals.Refused)
	}
	for _, s := range r.Steps {
		if s.Usage.DenseBlocks != s.Usage.Allocated {
			t.Errorf("step %d: %d dense blocks, the engine has %d", s.Index, s.Usage.DenseBlocks, s.Usage.Allocated)
		}
	}
	held := 0
	for _, heads := range headsAtPeak(r).Blocks {
		for _, n := range heads {
			held += n
		}
	}
	if held != r.Totals.PeakBlocks {
		t.Errorf("the heads held %d blocks at the peak of %d", held, r.Totals.PeakBlocks)
	}
	if Partial(r) {
		t.Error("a replay that ended is called partial")
	}
}

func TestPick(t *testing.T) {
	for total := range 60 {
		for n := 1; n < 40; n += 3 {
			classes := [][]int{{total / 2}, {}, {}}
			for i := range total {
				if i%3 == 0 {
					classes[1] = append(classes[1], i)
				}
			}
			got := pick(total, n, classes...)
			if len(got) != min(total, n) {
				t.Errorf("pick(%d, %d) gives %d rows", total, n, len(got))
			}
			if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
				t.Errorf("pick(%d, %d) = %v: not ascending", total, n, got)
			}
			if n > 1 && total > 0 && (got[0] != 0 || got[len(got)-1] != total-1) {
				t.Errorf("pick(%d, %d) = %v: without the first or the last row", total, n, got)
			}
			if n > 3 && total > 0 && !slices.Contains(got, total/2) {
				t.Errorf("pick(%d, %d) = %v: without the most telling row, %d", total, n, got, total/2)
			}
		}
	}
}

func TestColorOf(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want Color
	}{
		{map[string]string{}, NoColor},
		{map[string]string{"TERM": "dumb", "COLORTERM": "truecolor"}, NoColor},
		{map[string]string{"TERM": "xterm-256color"}, Color256},
		{map[string]string{"TERM": "xterm-256color", "COLORTERM": "truecolor"}, TrueColor},
		{map[string]string{"TERM": "xterm-256color", "COLORTERM": "24bit", "NO_COLOR": "1"}, NoColor},
		{map[string]string{"TERM": "xterm-256color", "NO_COLOR": ""}, Color256},
	} {
		if got := ColorOf(func(name string) string { return c.env[name] }); got != c.want {
			t.Errorf("%v: got %d, want %d", c.env, got, c.want)
		}
	}
}

func TestFormat(t *testing.T) {
	p := &printer{decimals: 1}
	for _, c := range []struct{ got, want string }{
		{words.Number(0), "0"}, {words.Number(999), "999"}, {words.Number(1000), "1,000"}, {words.Number(-1234567), "-1,234,567"}, {words.Number(-123), "-123"},
		{size(0), "0 B"}, {size(1023), "1023 B"}, {size(1024), "1.00 KiB"}, {size(10239), "10.0 KiB"}, {size(102_399), "100 KiB"},
		{size(1 << 20), "1.00 MiB"}, {size(1<<20 - 1), "1.00 MiB"}, {size(3 << 40), "3.00 TiB"}, {size(5000 << 40), "5000 TiB"},
		{shortSize(0), "·"}, {shortSize(800), "800"}, {shortSize(34_304), "33.5K"},
		{words.Count(1, "layer"), "1 layer"}, {words.Count(2000, "layer"), "2,000 layers"},
		{p.ms(-1), "–"}, {p.ms(0), "0.0"}, {p.ms(1_234_560_000), "1,234.6"},
		{list(nil), ""}, {list([]string{"a"}), "a"}, {list([]string{"a", "b", "c"}), "a, b and c"},
		{Bar(0), ""}, {Bar(1), strings.Repeat("█", 20)}, {Bar(0.5), strings.Repeat("█", 10)}, {Bar(1.0 / 160), "▏"}, {Bar(0.04), "▊"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
