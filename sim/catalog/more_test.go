package catalog

import (
	"math"
	"strings"
	"testing"
)

// TestMoreParams compares the parameters of further models with the published numbers, in
// billions.
func TestMoreParams(t *testing.T) {
	for name, want := range map[string]float64{
		"llama-3-8b": 8.03, "llama-3-70b": 70.55, "llama-3.2-1b": 1.236, "llama-3.2-3b": 3.213, "codellama-34b": 33.74, "mistral-nemo": 12.25, "yi-34b": 34.39,
	} {
		m, err := FindModel(name)
		if err != nil {
			t.Error(err)
			continue
		}
		if got := float64(m.Params()) / 1e9; math.Abs(got/want-1) > 0.001 {
			t.Errorf("%s: %.3f billion parameters, want %v", name, got, want)
		}
	}
}

// TestModelInFormat takes the weights' format from the end of a name.
func TestModelInFormat(t *testing.T) {
	for name, want := range map[string]string{
		"llama-3.1-70b-int8": "llama-3.1-70b-int8", "Llama-3.1-8B-Instruct-FP8": "llama-3.1-8b-fp8", "meta-llama/Llama-2-7b-hf-INT4": "llama-2-7b-int4",
	} {
		m, err := FindModel(name)
		if err != nil || m.Name != want || "-"+string(m.Weights) != want[len(want)-len(m.Weights)-1:] || key(m.Name) == key("llama-3.1-8b") {
			t.Errorf("%s: %s in %s, %v", name, m.Name, m.Weights, err)
		}
	}
	for _, name := range []string{"llama-3.1-8b-fp3", "gpt-5-int8", "-int8", "int8", "llama-3.1-70b-fp8-int8x"} {
		if m, err := FindModel(name); err == nil {
			t.Errorf("%s: %s in %s", name, m.Name, m.Weights)
		}
	}
}

// TestCardsAsServersSee compares with the memory in logs of servers.
func TestCardsAsServersSee(t *testing.T) {
	for name, want := range map[string]float64{
		"rtx-4090": 23.52, "rtx-3090": 23.58, "rtx-5090": 31.37, "RTX A6000": 47.54, "RTX PRO 6000": 94.97, "a100-40gb": 39.49,
	} {
		if c, err := FindCard(name); err != nil || math.Abs(float64(c.Memory)/(1<<30)-want) > 0.005 {
			t.Errorf("%s: %.3f GiB, %v; want %v", name, float64(c.Memory)/(1<<30), err, want)
		}
	}
}

// TestSizes: a name without a size means all sizes, and a card's full name means no other.
func TestSizes(t *testing.T) {
	for name, want := range map[string]string{"a100": "a100-40gb a100-80gb", "A100": "a100-40gb a100-80gb", "a100-40gb": "", "h100": "", "l4": "", "magic": ""} {
		var got []string
		for _, c := range Sizes(name) {
			got = append(got, c.Name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", name, got, want)
		}
	}
}

// TestThroughHost: cards without NVLink have a slower link to each other than to the host.
func TestThroughHost(t *testing.T) {
	for name, want := range map[string]bool{"l4": true, "rtx-4090": true, "rtx-pro-6000": true, "a100-40gb": false, "h100-nvl": false, "b200": false} {
		if c, err := FindCard(name); err != nil || c.ThroughHost() != want {
			t.Errorf("%s: %v, %v, want %v", name, c.ThroughHost(), err, want)
		}
	}
	if (&Card{Host: 64e9}).ThroughHost() {
		t.Error("the link is unknown")
	}
}
