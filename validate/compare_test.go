package validate

import (
	"encoding/json"
	"strings"
	"testing"

	"kvcompress/dtype"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
)

// filled returns a configuration and two caches with the same contents.
func filled(t testing.TB, format dtype.DType) (cfg ref.Config, want, got *kv.Cache) {
	t.Helper()
	cfg = ref.Default()
	cfg.DType = format
	cfg.Shape = kv.Shape{Layers: 4, KVHeads: 8, Group: 4, HeadSize: 128}
	cfg.Blocks = 4 * 8 * 32
	engine, err := ref.NewEngine(cfg, func(id kv.SeqID) (trace.Tensors, error) {
		return &madeUp{cfg.Shape, Inputs{Tokens: []int{500}, Scale: 1}, format, nil, id}, nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := engine.Prefill(0, 500); err != nil {
		t.Fatal(err)
	}
	got, err = engine.Cache().Snapshot().Cache(cfg.Config, cfg.Columns())
	if err != nil {
		t.Fatal(err)
	}
	return cfg, engine.Cache(), got
}

// TestCompareElements changes one element of a key in each format.
func TestCompareElements(t *testing.T) {
	for _, c := range []struct {
		format dtype.DType
		bits   byte
		digits int // hex digits of an element's bits
	}{{dtype.F32, 1, 8}, {dtype.F16, 1, 4}, {dtype.BF16, 1, 4}, {dtype.E4M3, 1, 2}, {dtype.E5M2, 1, 2}} {
		t.Run(c.format.String(), func(t *testing.T) {
			cfg, want, got := filled(t, c.format)
			slot := got.Slot(&got.Sequence(0).Heads[9], 77)
			got.Key(slot)[5*c.format.Size()] ^= c.bits
			cmp := comparison{cfg: &cfg, sides: sides}
			cmp.events(ref.Event{Stage: ref.StagePrefill, Seqs: []kv.SeqID{0}, Cache: want}, ref.Event{Stage: ref.StagePrefill, Seqs: []kv.SeqID{0}, Cache: got})
			d := cmp.divergence()
			if d == nil {
				t.Fatal("not noticed")
			}
			place := Place{Sequence: 0, Layer: 1, Head: 1, Index: 77, Element: 5, Slot: slot}
			_, hex, _ := strings.Cut(d.Got, "= 0x")
			if d.What != "key" || d.Place != place || d.More != 0 || d.ULPs != 1 || len(hex) != c.digits {
				t.Errorf("%s", d)
			}
			kvs, blocks, heads := 500*32, 32*32, 32
			if n := kvs*(2+2*128) + 2*blocks + heads + blocks + 1; cmp.Values != n {
				t.Errorf("%d values compared, want %d", cmp.Values, n)
			}
		})
	}
}

// TestDivergenceText checks a divergence's text and JSON.
func TestDivergenceText(t *testing.T) {
	d := &Divergence{
		Trace: "story", Step: 56, Stage: ref.StageDecode, Seqs: []kv.SeqID{0, 2}, Sides: sides,
		What: "metric", Place: Place{2, 1, 3, 17, -1, 69}, Want: Float32Text(0.1), Got: Float32Text(0.25), ULPs: 3, More: 12,
		Parts:     []Part{{"metric", 3}, {"output", 10}},
		Operation: Operation{Kind: OpDecode, Sequences: []kv.SeqID{0, 2}}, Number: 81,
	}
	const text = `story, step 56, stage decode of sequences [0 2]: metric
  at         sequence 2, layer 1, head 3, index 17, slot 69
  reference  0.100000001 = 0x3dcccccd
  engine     0.25 = 0x3e800000  (3 ulp apart)
  this stage differs in 13 values: 3 × metric, 10 × output
`
	if got := d.String(); got != text {
		t.Errorf("%s\nwant\n%s", got, text)
	}
	const line = "story, step 56, stage decode of sequences [0 2]: metric at sequence 2, layer 1, head 3, index 17, slot 69: 0.100000001 = 0x3dcccccd by the reference, 0.25 = 0x3e800000 by the engine, and 12 more"
	if got := d.Error(); got != line {
		t.Errorf("%s\nwant\n%s", got, line)
	}
	encoded, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var keys map[string]any
	if err := json.Unmarshal(encoded, &keys); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"trace", "step", "stage", "sequence", "layer", "head", "index", "element", "slot", "what", "want", "got", "ulp", "more"} {
		if _, ok := keys[key]; !ok {
			t.Errorf("no %q in %s", key, encoded)
		}
	}
}

// BenchmarkCompare compares two caches with the same contents.
func BenchmarkCompare(b *testing.B) {
	cfg, want, got := filled(b, dtype.F16)
	c := comparison{cfg: &cfg, sides: sides}
	b.SetBytes(int64(want.Sequence(0).KVs() * cfg.MoveBytes()))
	b.ReportAllocs()
	for b.Loop() {
		c.caches(ref.Event{Cache: want}, ref.Event{Cache: got})
	}
	if c.first != nil {
		b.Fatal(c.first)
	}
}
