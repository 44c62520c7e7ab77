package sim_test

import (
	"encoding/json"
	"testing"

	"kvcompress/internal/testsize"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/traces"
)

// TestLedgerOfMethods compares a ledger with an engine after every operation, for every
// method that an engine runs.
func TestLedgerOfMethods(t *testing.T) {
	name := testsize.Of("mha", "mha", "six-stories")
	for _, e := range ref.Methods() {
		if e.Planned {
			continue
		}
		t.Run(e.Name, func(t *testing.T) {
			b, err := traces.Bundled(name)
			if err != nil {
				t.Fatal(err)
			}
			opt := b.Options
			opt.Compression = ref.Compression{Rate: 0.4}
			opt.UseMethod(e.Name)
			opt.Schedule, opt.Blocks = sim.Schedule{Interval: 2}, 0
			set := map[string]json.RawMessage{}
			for _, o := range e.Options() {
				switch o.Key {
				case "full":
					full := make([][]int, b.Trace.Meta.Shape.Layers)
					for l := range full {
						full[l] = make([]int, b.Trace.Meta.Shape.KVHeads)
						full[l][l%len(full[l])] = 1
					}
					if set["full"], err = json.Marshal(full); err != nil {
						t.Fatal(err)
					}
				case "rope":
					set["rope"] = []byte(`"none"`)
				case "threshold":
					set["threshold"] = []byte("3")
				case "window":
					set["window"] = []byte("4")
				case "bits":
					set["bits"], set["group"] = []byte("4"), []byte("8")
				case "residual":
					set["residual"] = []byte("16")
				}
			}
			if e.OwnPages { // no budget: every token is kept
				opt.Compression = ref.Compression{}
			}
			if len(set) > 0 {
				opt.Set = set
			}
			var moved [2]int
			r := replayBoth(t, b.Trace, opt, &moved)
			if n := r.Totals.Quantized + r.Totals.Merged; e.OwnPages != (n > 0) {
				t.Errorf("%d keys and values were quantized or merged", n)
			}
			if evicts := e.Name != "h2o-mask" && !e.OwnPages; evicts != (r.Totals.KVsEvicted > 0) {
				t.Errorf("%d KVs were evicted", r.Totals.KVsEvicted)
			}
		})
	}
}
