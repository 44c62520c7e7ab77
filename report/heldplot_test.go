package report

import (
	"bytes"
	"image/png"
	"strings"
	"testing"

	"kvcompress/kv"
	"kvcompress/sim"
)

// TestHeldPlot draws heads that hold each kind of KV, and a head that holds nothing.
func TestHeldPlot(t *testing.T) {
	shape := kv.Shape{Layers: 2, KVHeads: 1, Group: 1, HeadSize: 8}
	h := &sim.Held{Prompt: 3, Tokens: 4, Heads: [][]sim.Holding{
		{sim.Whole, sim.StandIn, sim.Gone, sim.Whole},
		{sim.Whole, sim.Whole, sim.Whole, sim.Whole},
	}}
	svg, err := HeldPlot("x.svg", "sample", shape, h)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"sample: 7 of 8 KVs, 88 %", ">held<", "stand-in for those after it", "not held", "end of the prompt, 3 tokens", "1, 0"} {
		if !strings.Contains(string(svg), want) {
			t.Errorf("no %q in the picture", want)
		}
	}
	if strings.Contains(string(svg), "hidden") {
		t.Error("the key has what does not occur")
	}
	picture, err := HeldPlot("x.PNG", "sample", shape, h)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := png.Decode(bytes.NewReader(picture)); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		path string
		held *sim.Held
		want string
	}{
		{"x.gif", h, ".png or a .svg"},
		{"x.svg", &sim.Held{}, "never entered"},
		{"x.svg", &sim.Held{Tokens: 1, Heads: h.Heads[:1]}, "never entered"},
	} {
		if _, err := HeldPlot(c.path, "", shape, c.held); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", c.path, err, c.want)
		}
	}
}
