package catalog

import (
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestInputs checks how weights of each format are multiplied: as vLLM does, which unpacks fp8 on Ampere, nvfp4 before
// Blackwell, and mxfp4 on all but the large Blackwell cards, and refuses int8 on Blackwell.
func TestInputs(t *testing.T) {
	for _, c := range []struct {
		card string
		want map[Weights]Inputs
	}{
		{"a100-80gb", map[Weights]Inputs{INT8: In8}},
		{"rtx-3090", map[Weights]Inputs{INT8: In8}},
		{"l4", map[Weights]Inputs{FP8: In8, INT8: In8}},
		{"h200", map[Weights]Inputs{FP8: In8, INT8: In8}},
		{"rtx-pro-6000", map[Weights]Inputs{FP8: In8, NVFP4: In4}},
		{"b200", map[Weights]Inputs{FP8: In8, NVFP4: In4, MXFP4: In8x4}},
		{"gb200", map[Weights]Inputs{FP8: In8, NVFP4: In4, MXFP4: In8x4}},
	} {
		card, err := FindCard(c.card)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range AllWeights() {
			want, ok := c.want[w]
			if !ok && w.Bits() < 16 {
				want = Unpacked
			}
			if got := card.Inputs(w.Format()); got != want {
				t.Errorf("%s multiplies %s as inputs %d, want %d", c.card, w, got, want)
			}
		}
		if card.Flops(In16) != card.Flops16 || slices.ContainsFunc(AllInputs(), func(in Inputs) bool { return card.Flops(in) < card.Flops16 }) {
			t.Errorf("%s: a peak is below that of 16 bits", c.card)
		}
	}
	weightOnly := NVFP4.Format()
	weightOnly.Activations = 16
	both := MXFP4.Format()
	both.Activations = 4
	card := Card{Flops16: 1, Flops8: 2, Flops4: 4}
	if got := []Inputs{card.Inputs(weightOnly), card.Inputs(both), card.Inputs(MXFP4.Format())}; !slices.Equal(got, []Inputs{Unpacked, In4, Unpacked}) {
		t.Errorf("nvfp4 with activations of 16 bits, mxfp4 with 4 and with 8, on a card without mxfp4: inputs %v", got)
	}
	if got := []float64{card.Flops(In16), card.Flops(Unpacked), card.Flops(In8), card.Flops(In8x4), card.Flops(In4)}; !slices.Equal(got, []float64{1, 1, 2, 1, 4}) {
		t.Errorf("peaks: %v", got)
	}
}

// TestMixedInputs: each module of a checkpoint in two formats is multiplied by its own.
func TestMixedInputs(t *testing.T) {
	group := func(target, weights string, bits int, activations string) string {
		return fmt.Sprintf(`{"targets":["re:.*%s.*"],"weights":{"num_bits":%d,"type":"%s"},"input_activations":%s}`, target, bits, weights, activations)
	}
	const in8, none = `{"num_bits":8,"type":"float"}`, "null"
	mx := `,"strategy":"group","group_size":32}`
	for _, c := range []struct {
		attention, mlp string
		card           string
		want           map[Inputs]bool
		unpacked       []Weights
	}{
		{group("self_attn", "float", 8, in8), strings.Replace(group("mlp", "float", 4, none), `"float"}`, `"float"`+mx, 1), "h100", map[Inputs]bool{In8: true, Unpacked: true}, []Weights{MXFP4}},
		{group("self_attn", "int", 8, in8), group("mlp", "float", 8, in8), "a100-80gb", map[Inputs]bool{In8: true, Unpacked: true}, []Weights{FP8}},
		{group("self_attn", "int", 8, in8), group("mlp", "float", 8, in8), "h100", map[Inputs]bool{In8: true}, nil},
		{group("self_attn", "int", 8, in8), group("mlp", "float", 8, in8), "b200", map[Inputs]bool{In8: true, Unpacked: true}, []Weights{INT8}},
	} {
		config := `{"model_type":"llama","num_hidden_layers":2,"hidden_size":512,"num_attention_heads":4,"num_key_value_heads":2,"intermediate_size":1024,"vocab_size":64,"max_position_embeddings":1000,` +
			`"quantization_config":{"quant_method":"compressed-tensors","format":"mixed-precision","config_groups":{"group_0":` + c.attention + `,"group_1":` + c.mlp + `}}}`
		m, err := ParseConfig([]byte(config), nil)
		if err != nil {
			t.Errorf("%s: %v", config, err)
			continue
		}
		card, err := FindCard(c.card)
		if err != nil {
			t.Fatal(err)
		}
		got := map[Inputs]bool{}
		for in := range m.Active(m.Weights, Linear, &card) {
			got[in] = true
		}
		if unpacked := m.Unpacked(m.Weights, &card); !maps.Equal(got, c.want) || !slices.Equal(unpacked, c.unpacked) {
			t.Errorf("%s and %s on %s: inputs %v, %v unpacked; want %v, %v", c.attention, c.mlp, c.card, got, unpacked, c.want, c.unpacked)
		}
	}
}

// TestUnpacked checks which formats of a model's weights a card unpacks. A format whose inputs have 16 bits everywhere is
// not among them.
func TestUnpacked(t *testing.T) {
	for _, c := range []struct {
		model string
		as    Weights
		card  string
		want  []Weights
	}{
		{"llama-3.1-8b", BF16, "a100-80gb", nil},
		{"llama-3.1-8b", INT4, "a100-80gb", nil},
		{"llama-3.1-8b", FP8, "a100-80gb", []Weights{FP8}},
		{"llama-3.1-8b", FP8, "h100", nil},
		{"llama-3.1-8b", NVFP4, "h100", []Weights{NVFP4}},
		{"gpt-oss-120b", MXFP4, "h100", []Weights{MXFP4}},
		{"gpt-oss-120b", MXFP4, "b200", nil},
	} {
		m := find(t, c.model)
		card, err := FindCard(c.card)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Unpacked(c.as, &card); !slices.Equal(got, c.want) {
			t.Errorf("%s in %s on %s: %v unpacked, want %v", c.model, c.as, c.card, got, c.want)
		}
	}
}

// TestInputsOfCards checks what a card may say of the formats that are multiplied on it.
func TestInputsOfCards(t *testing.T) {
	for _, c := range []struct {
		change func(*Card)
		want   string
	}{
		{func(*Card) {}, ""},
		{func(c *Card) { c.Flops8, c.Only8, c.Flops4, c.FlopsMX = 2e14, INT8, 4e14, 2e14 }, ""},
		{func(c *Card) { c.Only8 = FP8 }, "only_8bit"},
		{func(c *Card) { c.Flops8, c.Only8 = 2e14, NVFP4 }, "only_8bit"},
		{func(c *Card) { c.FlopsMX = -1 }, "flops_mxfp4"},
		{func(c *Card) { c.FlopsMX = math.NaN() }, "flops_mxfp4"},
		{func(c *Card) { c.Flops4 = 1 }, "flops_4bit"},
	} {
		card := Card{Name: "c", Memory: 1 << 34, Read: 1e12, Flops16: 1e14}
		c.change(&card)
		if err := card.Validate(); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", card, err, c.want)
		}
	}
}

// TestNamesOfCards: a card of a file has a name of its own, which can be printed.
func TestNamesOfCards(t *testing.T) {
	file := func(name, more string) string {
		path := filepath.Join(t.TempDir(), "mine.json")
		text := fmt.Sprintf(`{"name":%s,"memory_bytes":25769803776,"bytes_per_second":1e12,"flops_16bit":2e14%s}`, name, more)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, want := range map[string]string{
		`"my card"`: "", `""`: "name is", `" a"`: "name is", `"a\nb"`: "name is", `"a\u001b[31mred"`: "name is", `"` + strings.Repeat("x", 65) + `"`: "name is",
		`"h100"`: "its name is that of h100", `"NVIDIA H100"`: "its name is that of h100",
	} {
		if _, err := FindCard(file(name, "")); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	// The same card with another link keeps its name.
	path := filepath.Join(t.TempDir(), "linked.json")
	h100 := card(t, "h100")
	text := fmt.Sprintf(`{"name":"h100","memory_bytes":%d,"bytes_per_second":%g,"flops_16bit":%g,"link_bytes_per_sec":1e11}`, h100.Memory, h100.Read, h100.Flops16)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := FindCard(path); err != nil || c.Name != "h100" || c.Link != 1e11 {
		t.Errorf("an H100 with another link: %+v, %v", c, err)
	}
}

func card(t *testing.T, name string) Card {
	t.Helper()
	c, err := FindCard(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
