package validate

import (
	"slices"
	"strings"
	"testing"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
)

// TestDecided makes an engine evict another KV than the reference. The report must show both KVs, and the
// largest cost that the reference evicts.
func TestDecided(t *testing.T) {
	wrong := func(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (Engine, error) {
		return Reference(cfg, open, func(e ref.Event) {
			if e.Stage == ref.StageDecide {
				e.Parts = slices.Clone(e.Parts)
				for i := range e.Parts {
					if p := &e.Parts[i]; p.Name == "evicted" && len(p.Ints) > 1 {
						p.Ints = slices.Clone(p.Ints)
						for free := int32(0); ; free++ { // evict the first kept KV instead of the last evicted one
							if !slices.Contains(p.Ints, free) {
								p.Ints[len(p.Ints)-1] = free
								slices.Sort(p.Ints)
								break
							}
						}
						break
					}
				}
			}
			observe(e)
		})
	}
	p := Pipeline{
		Shape:  kv.Shape{Layers: 1, KVHeads: 2, Group: 1, HeadSize: 8},
		Config: ref.Default(),
		Inputs: Inputs{Seed: 3, Tokens: []int{64}, Scale: 1},
		Operations: []Operation{
			{OpPrefill, []kv.SeqID{0}, 60}, {OpCompress, []kv.SeqID{0}, 0},
		},
	}
	p.Config.BlockSize, p.Config.Blocks = 4, 100
	p.Config.Compression.Rate = 0.5
	o, err := p.Run(t.Context(), wrong, Tolerance{})
	if err != nil || o.Divergence == nil || o.Divergence.Decided == nil {
		t.Fatalf("%+v, %v", o.Divergence, err)
	}
	d := o.Divergence.Decided
	if len(d.KVs) != 2 || d.KVs[0].Side != "reference" || d.KVs[1].Side != "engine" || d.KVs[0].Index == d.KVs[1].Index || d.Bound == "" {
		t.Errorf("%+v", d)
	}
	text := o.Divergence.String()
	for _, want := range []string{"only the reference evicts index ", "only the engine evicts index ", ": position ", ", metric ", ", cost ", "the reference evicts costs up to "} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	t.Logf("\n%s", text)
}
