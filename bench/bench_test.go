package bench

import (
	"runtime"
	"testing"
	"time"
)

func TestTry(t *testing.T) {
	p := DefaultPlan()
	p.Prompts, p.Models = 1, p.Models[:1]
	t0 := time.Now()
	b, err := New(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Log("new", time.Since(t0), b.Runs(0), runtime.GOMAXPROCS(0))
	for _, k := range b.Knobs("recall-0") {
		if k.Mode == Aware && k.Category == "single-doc" {
			if k.Setting != nil {
				t.Log(k.Row, k.Budget, k.Setting.Text)
			} else {
				t.Log(k.Row, k.Budget, k.Missed)
			}
		}
	}
	t0 = time.Now()
	err = b.Run(t.Context(), []int{0}, func(r *Result) error {
		for _, x := range r.Runs {
			if x.Category == "summary" || x.Category == "single-doc" {
				t.Logf("%-12s %-16s %-22s %5v score %.2f kl %.3f bytes %.3f peak %.3f", x.Category, x.Mode, x.Row, x.Budget, x.Score, x.Divergence, x.Bytes, x.Peak)
			}
		}
		return nil
	}, func(int) {})
	t.Log(time.Since(t0), err)
}
