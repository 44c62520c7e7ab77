package bench

import (
	"math"
	"slices"
	"strings"
	"testing"

	"kvcompress/kv"
	"kvcompress/ref"
)

// A model with linear attention gives the same answers in both modes, since nothing is
// compressed, and holds the expected bytes: a state of fixed size, and for the hybrid model the
// KVs of its layer with full attention.
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
	o, err := newLinearModel("linear-0", 8)
	if err != nil {
		t.Fatal(err)
	}
	if o.bytes(1) != o.bytes(4000) {
		t.Errorf("the state has %v bytes after a token and %v after 4,000", o.bytes(1), o.bytes(4000))
	}
	h, err := newLinearModel("hybrid-0", 8)
	if err != nil {
		t.Fatal(err)
	}
	cfg := ref.Default()
	cfg.BlockSize, cfg.Shape = 8, kv.Shape{Layers: 1, KVHeads: 2, Group: 2, HeadSize: 32}
	if got, want := h.bytes(17)-h.bytes(16), float64(2*cfg.Config.BlockBytes(nil)); got != want {
		t.Errorf("a block more of the full layer's two heads takes %v bytes, want %v", got, want)
	}
}

// The models with linear attention cannot run tasks outside their vocabulary or positions.
func TestOtherModelsUnreached(t *testing.T) {
	row := linearRow("linear-model", "linear-0", "")
	ks := &knobSearch{base: ref.Default(), request: request{prompt: 200, fed: 7}}
	ks.base.BlockSize = 8
	for _, c := range []struct {
		want   string
		change func()
	}{
		{"trained on the recall vocabulary only", func() {}},
		{"with 4096 positions", func() { ks.recall, ks.request.prompt = true, 4090 }},
		{"it needs 0.12", func() { ks.request.prompt = 200 }},
	} {
		c.change()
		if _, err := ks.linear(&row, 16, 1e6); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}
