//go:build linux

package ptx

import (
	"runtime"
	"testing"
)

// BenchmarkForeign runs the kernels of TestForeign, without and with all checks. It
// reports millions of thread-instructions a second of the processor's time.
func BenchmarkForeign(b *testing.B) {
	for _, c := range foreignCases() {
		for _, o := range []struct {
			name   string
			checks Checks
		}{
			{"unchecked", Checks{}},
			{"checked", AllChecks()},
		} {
			b.Run(c.entry+"/"+o.name, func(b *testing.B) {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				dev := New(Options{Checks: o.checks, AllowApprox: c.approx})
				l, err := c.load(dev)
				if err != nil {
					b.Fatal(err)
				}
				before, start := dev.Instructions(), ThreadTime()
				for b.Loop() {
					if err := l.launch(); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(dev.Instructions()-before)/1e6/(ThreadTime()-start).Seconds(), "Minstr/s")
			})
		}
	}
}
