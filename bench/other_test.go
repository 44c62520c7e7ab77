package bench

import (
	"math"
	"slices"
	"strings"
	"testing"

	"kvcompress/kv"
	"kvcompress/ref"
)

// A model of another kind answers the same in both modes, since nothing compresses it, and holds
// what was found in advance: a state of the same bytes at every length, and of a hybrid model
// the KVs of its full layer.
func TestOtherModels(t *testing.T) {
	p := short()
	p.Methods, p.Budgets, p.Categories = []string{Full, "linear-model", "hybrid-model"}, []Budget{1}, p.Categories[:2]
	b := newBench(t, p)
	answers := map[string][]int32{}
	for _, run := range results(t, b, []int{0})[0].Runs {
		if run.Row == Full {
			continue
		}
		key := run.Row + " " + run.Category
		if run.Mode == Aware {
			answers[key] = run.Answer
		} else if !slices.Equal(answers[key], run.Answer) {
			t.Errorf("%s: %v with the question in the prompt, %v after it", key, answers[key], run.Answer)
		}
		i := slices.IndexFunc(b.Knobs("recall-0"), func(k Knob) bool {
			return k.Row == run.Row && k.Mode == run.Mode && k.Category == run.Category
		})
		setting := b.Knobs("recall-0")[i].Setting
		full := b.Knobs("recall-0")[slices.IndexFunc(b.Knobs("recall-0"), func(k Knob) bool {
			return k.Row == Full && k.Mode == run.Mode && k.Category == run.Category
		})].Setting
		if want := setting.Bytes / full.Bytes; math.Abs(run.Bytes-want) > 1e-12 {
			t.Errorf("%s, %s: %v of the bytes, and %v was found in advance", key, run.Mode, run.Bytes, want)
		}
	}
	o, err := newOther("linear-0", 8)
	if err != nil {
		t.Fatal(err)
	}
	if o.bytes(1) != o.bytes(4000) {
		t.Errorf("the state has %v bytes after a token and %v after 4,000", o.bytes(1), o.bytes(4000))
	}
	h, err := newOther("hybrid-0", 8)
	if err != nil {
		t.Fatal(err)
	}
	cfg := ref.Default()
	cfg.BlockSize, cfg.Shape = 8, kv.Shape{Layers: 1, KVHeads: 2, Group: 2, HeadSize: 32}
	if got, want := h.bytes(17)-h.bytes(16), float64(2*cfg.Config.BlockBytes(nil)); got != want {
		t.Errorf("a block more of the full layer's two heads takes %v bytes, want %v", got, want)
	}
}

// They are no answer to tasks that they do not know.
func TestOtherModelsUnreached(t *testing.T) {
	row := otherRow("linear-model", "linear-0", "")
	g := &grid{base: ref.Default(), course: course{prompt: 200, fed: 7}}
	g.base.BlockSize = 8
	for _, c := range []struct {
		want   string
		change func()
	}{
		{"knows the recall vocabulary alone", func() {}},
		{"has 4096 positions", func() { g.recall, g.course.prompt = true, 4090 }},
		{"it needs 0.12", func() { g.course.prompt = 200 }},
	} {
		c.change()
		if _, err := g.other(&row, 16, 1e6); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}
