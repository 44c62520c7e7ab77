package bench

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"kvcompress/dtype"
	"kvcompress/kv"
	"kvcompress/ref"
)

// InfLLM holds the bytes that were found in advance, and the rest in the host's memory. If its local window is longer
// than the prompt it answers as the full cache does, in both modes.
func TestInfLLM(t *testing.T) {
	p := short()
	p.Methods, p.Budgets, p.Categories = []string{Full, infLLM}, []Budget{2, 4}, []string{"needle"}
	b := newBench(t, p)
	of := func(run *Run) *Setting {
		list := b.Knobs("recall-0")
		return list[slices.IndexFunc(list, func(k Knob) bool {
			return k.Row == run.Row && k.Budget == run.Budget && k.Mode == run.Mode && k.Category == run.Category
		})].Setting
	}
	var full *Run
	all := results(t, b, []int{0})[0].Runs
	for i := range all {
		run := &all[i]
		if run.Row == Full {
			full = run
			continue
		}
		if want := of(run).Bytes / of(full).Bytes; math.Abs(run.Bytes-want) > 1e-12 {
			t.Errorf("%s at %v, %s: %v of the bytes, and %v was found in advance", run.Category, run.Budget, run.Mode, run.Bytes, want)
		}
		if run.Host < 0.6 || run.Host > 1 {
			t.Errorf("%s at %v, %s: %v of the bytes are in the host's memory", run.Category, run.Budget, run.Mode, run.Host)
		}
	}
	if len(all) != 2*3 {
		t.Errorf("%d runs, want 2 modes of the full cache and of 2 budgets", len(all))
	}

	questions, err := b.questions(0)
	if err != nil {
		t.Fatal(err)
	}
	row := infLLMRow()
	ks := &knobSearch{context: p.Length}
	stepper := b.models["recall-0"].Llama.NewStepper()
	for _, q := range questions {
		cfg, err := row.config(b.Plan.base(b.models["recall-0"]), row.choose(ks)[0], 1<<10)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(all, func(r Run) bool { return r.Row == Full && r.Mode == q.mode && r.Category == q.task.Category })
		run, err := q.run(t.Context(), Knob{Row: "x", Setting: &Setting{Config: cfg, decoder: &lookup{cfg}}}, stepper)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(run.Answer, all[i].Answer) || run.Bytes != 1 || run.Host != 0 || run.Steps != all[i].Steps {
			t.Errorf("%s, %s: %+v, and the full cache %+v", q.mode, q.task.Category, *run, all[i])
		}
	}
}

// Block and local are 1/64 and 1/16 of the context, at most longctx_bench's.
func TestInfLLMBlocks(t *testing.T) {
	row := infLLMRow()
	for context, want := range map[int]string{64: "block 8, local 8", 256: "block 8, local 16", 512: "block 8, local 32", 1000: "block 8, local 32", 2048: "block 32, local 128", 8192: "block 128, local 512", 1 << 16: "block 128, local 512"} {
		if got := row.choose(&knobSearch{context: context}); len(got) != 1 || got[0].text != want {
			t.Errorf("%d tokens: %q, want %q", context, got[0].text, want)
		}
	}
}

// A model whose rotary embedding changes with the length has no setting, and the reason is told.
func TestInfLLMNeedsRope(t *testing.T) {
	row := infLLMRow()
	ks := &knobSearch{base: ref.Default(), context: 190, request: request{prompt: 200, fed: 7}, blockBytes: 1}
	var missed *UnreachableError
	if _, err := ks.search(&row, 2); !errors.As(err, &missed) || !strings.Contains(missed.Why, "rotary embedding") {
		t.Errorf("%v, want that the rotary embedding is missing", err)
	}
}

// The bytes of 101 tokens in 2 layers of 2 KV heads and 4 query heads of 16 numbers of 2 bytes, worked out by hand: of
// C = 50 there is 1 first token, 2 blocks of 8 are looked up, and 33 are local. So 8 blocks are made, of 64 of the 100
// tokens after the first, and 36 are the newest. The card has 1 + 16 + 36 = 53 KVs of each head, in 7 blocks of 8, and
// 8 representatives of each of 8 query heads.
func TestInfLLMHeld(t *testing.T) {
	cfg := ref.Config{Method: infLLM, Config: kv.Config{Shape: kv.Shape{Layers: 2, KVHeads: 2, Group: 2, HeadSize: 16}, BlockSize: 8, DType: dtype.F16}}
	cfg.Compression.MaxCacheTokens = 50
	cfg.Set = ref.Settings{"block": []byte("8"), "local": []byte("8")}
	p, err := cfg.InfLLMReads()
	if err != nil {
		t.Fatal(err)
	}
	card, host := infLLMHeld(&cfg, &p, 101)
	if want := float64(4*7*cfg.Config.BlockBytes(nil) + 8*8*32); card != want {
		t.Errorf("%v bytes on the card, want %v", card, want)
	}
	if want := float64(4 * 64 * 2 * 32); host != want {
		t.Errorf("%v bytes in the host's memory, want %v", host, want)
	}
}
