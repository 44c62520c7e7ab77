package traces

import (
	"context"
	"testing"

	"kvcompress/sim"
)

func TestReplay(t *testing.T) {
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			b, err := Open(name)
			if err != nil {
				t.Fatal(err)
			}
			r, err := sim.Replay(context.Background(), b.Trace, b.Options, sim.Hooks{})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%+v", r.Totals)
			for _, l := range r.Heads.Kept() {
				t.Logf("%.2f", l)
			}
		})
	}
}
