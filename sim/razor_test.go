package sim_test

import (
	"encoding/json"
	"testing"

	"kvcompress/internal/testsize"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/traces"
)

// TestRazorLedger compares a ledger's counts for RazorAttention with the engine's after every
// operation.
func TestRazorLedger(t *testing.T) {
	for _, name := range testsize.Of([]string{"uniform-fp8", "mha"}, []string{"uniform-fp8", "mha", "six-stories"}, []string{"uniform-fp8", "mha", "six-stories"}) {
		for what, set := range map[string]string{
			"static":        `{"threshold":6,"full":"one head"}`,
			"rolling":       `{"threshold":6,"decode":"rolling","full":"one head"}`,
			"no stand-in":   `{"threshold":0,"decode":"rolling","stand_in":false,"full":"none"}`,
			"golden-stick":  `{"variant":"golden-stick","capacity":12,"full":"none"}`,
			"every 3 steps": `{"threshold":6,"decode":"rolling","full":"none"}`,
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				b, err := traces.Bundled(name)
				if err != nil {
					t.Fatal(err)
				}
				opt := b.Options
				opt.Compression.MaxCacheTokens, opt.Compression.Rate = 0, 0
				opt.UseMethod("razor")
				opt.Schedule = sim.DefaultSchedule()
				if what == "every 3 steps" {
					opt.Schedule.Interval = 3
				}
				opt.Set = ref.Settings{}
				if err := json.Unmarshal([]byte(set), &opt.Set); err != nil {
					t.Fatal(err)
				}
				if string(opt.Set["full"]) == `"one head"` {
					full := make(ref.FullHeads, b.Trace.Meta.Shape.Layers)
					for l := range full {
						full[l] = make([]int, b.Trace.Meta.Shape.KVHeads)
					}
					full[0][1] = 1
					if opt.Set["full"], err = json.Marshal(full); err != nil {
						t.Fatal(err)
					}
				}
				var moved [2]int
				if r := replayBoth(t, b.Trace, opt, &moved); r.Totals.KVsEvicted == 0 {
					t.Error("nothing was folded")
				}
			})
		}
	}
}
