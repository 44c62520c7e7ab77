package bench

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"math"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"kvcompress/internal/testsize"
	"kvcompress/journal"
	"kvcompress/ref"
)

var update = flag.Bool("update", false, "write the golden results anew")

// short is a bench of a second or two.
func short() Plan {
	p := DefaultPlan()
	p.Models, p.Length, p.Prompts, p.Budgets = p.Models[:1], 256, 1, []Budget{4}
	return p
}

func newBench(t *testing.T, p Plan) *Bench {
	t.Helper()
	b, err := New(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func results(t *testing.T, b *Bench, units []int) []Result {
	t.Helper()
	var list []Result
	if err := b.Run(t.Context(), units, func(r *Result) error { list = append(list, *r); return nil }, func(int) {}); err != nil {
		t.Fatal(err)
	}
	return list
}

// golden is the result of a short bench, which is the same on every platform.
type golden struct {
	Digest string                      `json:"digest"` // of every decoded token
	Scores map[Mode]map[string]float64 `json:"scores"` // of each method, over the categories
}

// Scores and every decoded token equal the golden file's. No method holds more bytes than its
// budget, except by up to 3 % where the lengths of heads depend on values. A method with a knob
// uses at least 80 % of the budget.
func TestGolden(t *testing.T) {
	b := newBench(t, short())
	list := results(t, b, []int{0})
	table := b.NewTable(list)
	got := golden{table.Digest, map[Mode]map[string]float64{}}
	for _, r := range table.Rankings {
		got.Scores[r.Mode] = map[string]float64{Full: r.Full.Score}
		for _, row := range r.Rows {
			got.Scores[r.Mode][row.Row] = math.Round(row.Score*1e6) / 1e6
		}
	}
	const path = "testdata/golden.json"
	if *update {
		text, err := json.MarshalIndent(got, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(text, '\n'), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want golden
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	knobs := b.Knobs("recall-0")
	for _, run := range list[0].Runs {
		i := slices.IndexFunc(knobs, func(k Knob) bool {
			return k.Row == run.Row && k.Budget == run.Budget && k.Mode == run.Mode && k.Category == run.Category
		})
		cfg := knobs[i].Setting.Config
		switch part := run.Budget.Part(); {
		case run.Bytes > 1.03*part:
			t.Errorf("%s at %v, %s, %s: %.4f of the full cache's bytes", run.Row, run.Budget, run.Mode, run.Category, run.Bytes)
		case run.Row != "ada-snapkv" && cfg.Method != "" && run.Bytes > part+1e-9:
			t.Errorf("%s at %v, %s, %s: %.4f, and its lengths were known", run.Row, run.Budget, run.Mode, run.Category, run.Bytes)
		case cfg.Compression.Enabled() && run.Bytes < 0.8*part:
			t.Errorf("%s at %v, %s, %s: only %.4f of the full cache's bytes", run.Row, run.Budget, run.Mode, run.Category, run.Bytes)
		}
	}
	for _, mode := range Modes() {
		for _, category := range b.Plan.Categories {
			if c := table.Cell(mode, 1, Full, category); c == nil || c.Score < 0.9 {
				t.Errorf("%s, %s: the full cache has %+v", mode, category, c)
			}
		}
	}
}

// Results do not depend on the number of processors or shards. An interrupted shard resumes where
// it stopped.
func TestShardsAndProcessors(t *testing.T) {
	p := short()
	p.Length = testsize.Of(128, 256, 256)
	p.Prompts, p.Methods, p.Categories = 3, []string{Full, "snapkv", "kv-compress", "random", infLLM}, p.Categories[:2]
	b := newBench(t, p)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	want := b.NewTable(results(t, b, []int{0, 1, 2}))
	runtime.GOMAXPROCS(4)
	if got := b.NewTable(results(t, b, []int{2, 0, 1})); !reflect.DeepEqual(got, want) {
		t.Error("on four processors the table differs")
	}
	dir := t.TempDir()
	var files []*File
	for i := range 2 {
		shard := journal.Shard{I: i, N: 2}
		stop := errors.New("stop")
		for ran := 0; ; ran = 0 {
			j, err := b.OpenJournal(dir, shard)
			if err != nil {
				t.Fatal(err)
			}
			left := slices.DeleteFunc(shard.Indices(3), func(u int) bool { return j.Done(u) != nil })
			err = b.Run(t.Context(), left, func(r *Result) error {
				if ran == 1 {
					return stop
				}
				ran++
				return j.Add(r)
			}, func(int) {})
			if errors.Is(err, stop) {
				if err := j.Close(); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			path, err := j.Finish()
			if err != nil {
				t.Fatal(err)
			}
			f, err := ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
			break
		}
	}
	merged, err := Merge(files)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.NewTable(merged.Items); !reflect.DeepEqual(got, want) {
		t.Error("of shards the table differs")
	}
	var missing *journal.IncompleteError
	if _, err := Merge(files[1:]); !errors.As(err, &missing) || missing.Missing != 2 {
		t.Errorf("%v, want two units to be missing", err)
	}
	p.Seed++
	if _, err := newBench(t, p).OpenJournal(dir, journal.Whole()); err != nil {
		t.Errorf("another bench beside it: %v", err)
	}
	if _, err := newBench(t, p).OpenJournal(dir, journal.Shard{I: 0, N: 2}); err == nil || !strings.Contains(err.Error(), "another bench") {
		t.Errorf("%v, want another bench", err)
	}
}

func TestRunIsEnded(t *testing.T) {
	p := short()
	p.Methods, p.Categories = []string{Full}, p.Categories[:1]
	b := newBench(t, p)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Run(ctx, []int{0}, func(*Result) error { t.Error("a unit is kept"); return nil }, func(int) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want canceled", err)
	}
}

// A method that reaches a budget in some categories only is not ranked: its mean would be over other
// tasks.
func TestRankingNeedsAllCategories(t *testing.T) {
	p := short()
	p.Methods, p.Categories, p.Modes = []string{Full, "random", "snapkv"}, []string{"single-doc", "needle"}, []Mode{Aware}
	b := newBench(t, p)
	all := results(t, b, []int{0})
	all[0].Runs = slices.DeleteFunc(all[0].Runs, func(r Run) bool { return r.Row == "snapkv" && r.Category == "needle" })
	var ranked []string
	for _, r := range b.NewTable(all).Rankings[0].Rows {
		ranked = append(ranked, r.Row)
	}
	if !slices.Equal(ranked, []string{"random"}) {
		t.Errorf("%v are ranked, want random alone", ranked)
	}
}

// The search uses the whole budget: one step more of the knob is beyond it.
func TestKnobs(t *testing.T) {
	ks := &knobSearch{request: request{prompt: 200, fed: 7, recompute: true}, context: 190}
	ks.base = ref.Default()
	ks.base.Shape.Layers, ks.base.Shape.KVHeads, ks.base.Shape.Group, ks.base.Shape.HeadSize = 2, 2, 2, 32
	ks.base.BlockSize, ks.base.Blocks = 8, 1
	ks.heads = Heads{ks.base.Shape, [][2]int{{1, 0}, {0, 1}, {0, 0}, {1, 1}}}
	ks.blockBytes = ks.base.Config.BlockBytes(nil)
	full := float64(ks.blockBytes) * denseBlocks(4, 8, ks.request)
	for _, r := range Rows() {
		if r.measured {
			continue
		}
		for _, budget := range []Budget{2, 4, 8} {
			s, err := ks.search(&r, budget)
			var missed *UnreachableError
			if errors.As(err, &missed) {
				if missed.Needs > 0 && missed.Needs <= budget.Part() {
					t.Errorf("%v, and %v would do", missed, budget)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if s.Bytes > full*budget.Part() {
				t.Errorf("%s at %v: %s takes %.3f", r.Name, budget, s.Text, s.Bytes/full)
			}
			if s.Kept > 0 {
				longer := ks.request
				longer.prompt += s.Kept + ks.base.BlockSize - ks.context
				if bytes := float64(ks.blockBytes) * denseBlocks(4, 8, longer); bytes <= full*budget.Part() {
					t.Errorf("%s at %v: with a block more than %s there is %.3f", r.Name, budget, s.Text, bytes/full)
				}
			}
			more := s.Config
			switch c := &more.Compression; {
			case c.MaxCacheTokens > 0:
				c.MaxCacheTokens++
			case c.Rate > 0:
				c.Rate += 1.0 / (1 << 12)
			default:
				continue
			}
			if bytes, err := ks.bytes(&r, more); err != nil || bytes <= full*budget.Part() {
				t.Errorf("%s at %v: beyond %s there is %.3f, %v", r.Name, budget, s.Text, bytes/full, err)
			}
		}
	}
}

// If no setting of a method's options is valid for a model, the reason is the options' own.
func TestKnobsRefused(t *testing.T) {
	ks := &knobSearch{request: request{prompt: 200, fed: 7}, base: ref.Default()}
	ks.base.Shape.Layers, ks.base.Shape.KVHeads, ks.base.Shape.Group, ks.base.Shape.HeadSize = 2, 1, 2, 8
	ks.base.BlockSize, ks.base.Blocks = 8, 1
	ks.heads = Heads{ks.base.Shape, [][2]int{{1, 0}, {0, 0}}}
	ks.blockBytes = ks.base.Config.BlockBytes(nil)
	rows, err := FindRows([]string{"kivi"})
	if err != nil {
		t.Fatal(err)
	}
	var missed *UnreachableError
	if _, err := ks.search(&rows[1], 4); !errors.As(err, &missed) || missed.Needs != 0 || !strings.Contains(missed.Why, "a head size of 8 is not a multiple of the group size 32") {
		t.Errorf("%v, want what is wrong with the options", err)
	}
}

// Every method that an engine runs has a row, and InfLLM, which runs without one.
func TestRows(t *testing.T) {
	rows := Rows()
	for _, e := range ref.Methods() {
		if has := slices.ContainsFunc(rows, func(r Row) bool { return r.Method == e.Name }); has == (e.Planned && e.Name != infLLM) {
			t.Errorf("%s, planned only: %v, has a row: %v", e.Name, e.Planned, has)
		}
	}
	if rows[0].Name != Full {
		t.Errorf("the first row is %s", rows[0].Name)
	}
	if _, err := FindRows([]string{"nothing"}); err == nil || !strings.Contains(err.Error(), "snapkv") {
		t.Errorf("%v, want the names that there are", err)
	}
	some, err := FindRows([]string{"snapkv"})
	if err != nil || len(some) != 2 {
		t.Errorf("%v, %v: want the full cache and snapkv", some, err)
	}
}

// A context that is shortened to all of its tokens, and one that is streamed through a cache
// with room for all of it, give the full cache's answer.
func TestOtherPrompts(t *testing.T) {
	p := short()
	p.Length, p.Categories, p.Methods = 128, []string{"needle", "few-shot"}, []string{Full, "streaming-llm-windowed", "prompt-surprise"}
	b := newBench(t, p)
	m := b.models["recall-0"]
	questions, err := p.questions(m, p.unit(0).options)
	if err != nil {
		t.Fatal(err)
	}
	full := b.knobs["recall-0"].all[0].Setting
	for _, q := range questions {
		var answers [][]int32
		windowed := full.Config
		windowed.Compression.MaxCacheTokens = 1 << 10
		for _, s := range []Setting{*full, {Config: full.Config, Kept: 128, drop: bySurprise}, {Config: windowed, Streamed: true}} {
			run, err := q.run(t.Context(), Knob{Row: "x", Setting: &s}, m.Llama.NewStepper())
			if err != nil {
				t.Fatal(err)
			}
			if run.Bytes != 1 {
				t.Errorf("%s, %s: %+v holds %v of the bytes", q.mode, q.task.Category, s, run.Bytes)
			}
			answers = append(answers, run.Answer)
		}
		if !reflect.DeepEqual(answers[0], answers[1]) || !reflect.DeepEqual(answers[0], answers[2]) {
			t.Errorf("%s, %s: the answers are %v", q.mode, q.task.Category, answers)
		}
	}
}

func TestPlanCheck(t *testing.T) {
	for want, change := range map[string]func(*Plan){
		"0 models":      func(p *Plan) { p.Models = nil },
		"length 63":     func(p *Plan) { p.Length = 63 },
		"0 prompts":     func(p *Plan) { p.Prompts = 0 },
		`category "x"`:  func(p *Plan) { p.Categories = []string{"x"} },
		`mode "x"`:      func(p *Plan) { p.Modes = []Mode{"x"} },
		`method "x"`:    func(p *Plan) { p.Methods = []string{"x"} },
		"budgets":       func(p *Plan) { p.Budgets = []Budget{4, 2} },
		"block size 3":  func(p *Plan) { p.BlockSize = 3 },
		"no categories": func(p *Plan) { p.Categories = nil },

		`model "recall-0" is given twice`:   func(p *Plan) { p.Models = []string{"recall-0", "recall-1", "recall-0"} },
		`category "needle" is given twice`:  func(p *Plan) { p.Categories = []string{"needle", "code", "needle"} },
		`mode "query-aware" is given twice`: func(p *Plan) { p.Modes = []Mode{Aware, Aware} },
	} {
		p := DefaultPlan()
		change(&p)
		if err := p.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want something with %q", err, want)
		}
	}
	p := DefaultPlan()
	if err := p.Check(); err != nil {
		t.Error(err)
	}
}

func TestParseBudget(t *testing.T) {
	for text, want := range map[string]Budget{"1": 1, "1/2": 2, "1/16": 16, "1/1": 1, "0": 0, "2": 0, "1/0": 0, "1/-2": 0, "1/9999": 0, "": 0, "1/": 0, "x": 0} {
		b, err := ParseBudget(text)
		if (err == nil) != (want > 0) || err == nil && b != want {
			t.Errorf("%q is %v, %v", text, b, err)
		}
	}
}

// The divergence of (1/2, 1/2) from (3/4, 1/4) is ¾·ln(3/2) + ¼·ln(1/2) = 0.1308; of a
// distribution from itself, however its logits are shifted, 0.
func TestDivergence(t *testing.T) {
	third := float32(math.Log(3))
	if d := divergence([]float32{third, 0}, []float32{5, 5}); math.Abs(d-0.130812) > 1e-6 {
		t.Errorf("%v", d)
	}
	if d := divergence([]float32{1, 2, 3}, []float32{101, 102, 103}); d > 1e-12 {
		t.Errorf("%v of the same", d)
	}
}

// A method is tied with the first if their difference may be chance, and not if the difference
// is the same in every unit.
func TestRankingCompare(t *testing.T) {
	first := []float64{0.9, 0.8, 0.9, 0.7, 0.9, 0.8, 0.9, 0.8}
	less := make([]float64, len(first))
	for i, s := range first {
		less[i] = s - 0.1
	}
	of := map[string][]float64{"first": first, "less": less, "other": {0.8, 0.9, 0.7, 0.9, 0.8, 0.9, 0.8, 0.8}}
	r := Ranking{Rows: []Ranked{{Row: "first"}, {Row: "less"}, {Row: "other"}}}
	r.compare(func(row string) []unitMean {
		var units []unitMean
		for i, s := range of[row] {
			units = append(units, unitMean{unit: i, n: 1, score: s})
		}
		return units
	})
	// Of the 2⁸ ways to exchange scores, two have a mean difference as large as that of `less`: p is
	// 2/256, and Holm's method doubles it.
	if less := r.Rows[1]; less.Tied || less.P == nil || math.Abs(*less.P-4.0/256) > 1e-12 {
		t.Errorf("less: %+v", less)
	}
	if !r.Rows[0].Tied || !r.Rows[2].Tied {
		t.Errorf("%+v", r.Rows)
	}
}

func FuzzReadFile(f *testing.F) {
	f.Add([]byte("{\"kvc_bench\":1,\"bench\":\"x\",\"units\":2,\"shard\":\"0/1\",\"inputs\":{}}\n{\"unit\":1,\"model\":\"m\",\"runs\":[{\"method\":\"full\",\"budget\":\"1/4\"}]}\n"))
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		file, err := journal.Read[Result](strings.NewReader(string(in)), &kind)
		if err != nil {
			return
		}
		if merged, err := Merge([]*File{file}); err == nil && len(merged.Items) != file.Header.Items {
			t.Errorf("%d of %d", len(merged.Items), file.Header.Items)
		}
	})
}
