package kit

import (
	"math"
	"slices"
	"testing"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/traces"
)

// TestPackedParts replays methods that quantize and merge. The contents of their pages must be among the
// parts of a stage, as read, with the counts of each head.
func TestPackedParts(t *testing.T) {
	for _, name := range []string{"gqa/kivi", "gqa/flexgen", "gqa/minicache", "gqa/minicache+kivi", "gqa/snapkv"} {
		b, err := traces.Bundled(name)
		if err != nil {
			t.Fatal(err)
		}
		b.Options.Fill(b.Trace.Meta, b.Trace.Requests())
		seen := 0
		if _, err := sim.Replay(t.Context(), b.Trace, b.Options, sim.Hooks{Event: func(e ref.Event) {
			if e.Stage != ref.StageMove {
				return
			}
			h := headsOf(e)
			parts := stageParts(e)
			for name, part := range map[string]kv.Part{packedKeysPart: kv.Keys, packedValuePart: kv.Values} {
				i := slices.IndexFunc(parts, func(c content) bool { return c.Name == name })
				if i < 0 {
					continue
				}
				var counts []byte
				var want []float32
				h.each(func(head *kv.Head) {
					counts = appendInts(counts, int32(head.End(part)))
					row := make([]float32, e.Cache.Shape().HeadSize)
					for k := range head.End(part) { // one at a time
						reader := kv.Reader{Cache: e.Cache}
						reader.Read(row, head, part, k)
						want = append(want, row...)
					}
				})
				if got := parts[i-1].append(nil); parts[i-1].Name != parts[i].Counts || !slices.Equal(got, counts) {
					t.Fatalf("%s: %s before %s, %v, want %v", b.Name, parts[i-1].Name, name, got, counts)
				}
				got := parts[i].append(nil)
				if n, ok := parts[i].Elements(); !ok || int(n) != len(want) || !slices.Equal(got, appendFloats(nil, want...)) {
					t.Fatalf("%s: %d elements of %s in %d bytes, want %d", b.Name, n, name, len(got), len(want))
				}
				if slices.ContainsFunc(want, func(v float32) bool { return math.IsNaN(float64(v)) }) {
					t.Fatalf("%s: NaN in %s", b.Name, name)
				}
				seen += len(want)
			}
		}}); err != nil {
			t.Fatal(err)
		}
		if packs := name != "gqa/snapkv"; packs != (seen > 0) {
			t.Errorf("%s: %d elements of packed parts", name, seen)
		}
	}
}
