package catalog

import (
	"slices"
	"testing"
)

// TestProduct checks how cards multiply weights of each format: as vLLM does, which unpacks fp8 on Ampere, nvfp4 before
// Blackwell, and mxfp4 on all but the large Blackwell cards.
func TestProduct(t *testing.T) {
	for _, c := range []struct {
		card string
		want map[Weights]Product
	}{
		{"a100-80gb", map[Weights]Product{INT8: In8}},
		{"rtx-3090", map[Weights]Product{INT8: In8}},
		{"l4", map[Weights]Product{FP8: In8, INT8: In8}},
		{"h200", map[Weights]Product{FP8: In8, INT8: In8}},
		{"rtx-pro-6000", map[Weights]Product{FP8: In8, INT8: In8, NVFP4: In4}},
		{"b200", map[Weights]Product{FP8: In8, INT8: In8, NVFP4: In4, MXFP4: In8x4}},
		{"gb200", map[Weights]Product{FP8: In8, INT8: In8, NVFP4: In4, MXFP4: In8x4}},
	} {
		card, err := FindCard(c.card)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range AllWeights() {
			if got := card.Product(w.Format()); got != c.want[w] {
				t.Errorf("%s multiplies %s as kind %d, want %d", c.card, w, got, c.want[w])
			}
		}
		if card.Flops(In16) != card.Flops16 || slices.ContainsFunc(Products(), func(p Product) bool { return card.Flops(p) < card.Flops16 }) {
			t.Errorf("%s: a peak is below that of 16 bits", c.card)
		}
	}
	weightOnly := NVFP4.Format()
	weightOnly.Activations = 16
	both := MXFP4.Format()
	both.Activations = 4
	card := Card{Flops16: 1, Flops8: 2, Flops4: 4}
	if got := []Product{card.Product(weightOnly), card.Product(both), card.Product(MXFP4.Format())}; !slices.Equal(got, []Product{In16, In4, In16}) {
		t.Errorf("nvfp4 with activations of 16 bits, mxfp4 with 4 and with 8, on a card without mxfp4: kinds %v", got)
	}
	if got := []float64{card.Flops(In16), card.Flops(In8), card.Flops(In8x4), card.Flops(In4)}; !slices.Equal(got, []float64{1, 2, 1, 4}) {
		t.Errorf("peaks of the kinds: %v", got)
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
