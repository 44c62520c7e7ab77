package sim

import (
	"runtime"
	"testing"
)

// TestMemoryIsWhatIsInFlight serves many requests and checks that the heap does not grow with
// the number of finished ones.
func TestMemoryIsWhatIsInFlight(t *testing.T) {
	cfg, limits, rates := llama8B()
	p := &Plan{Config: cfg, Limits: limits, Rates: *rates}
	p.Config.Compression.MaxCacheTokens = 0
	n := 200_000
	if testing.Short() {
		n = 20_000
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var early, late uint64
	done := 0
	_, err := Project(t.Context(), p, load(n), Watch{Result: func(*Result) {
		done++
		switch done {
		case n / 10:
			early = heap()
		case n - 100:
			late = heap()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if done != n || late > early+64<<10 {
		t.Errorf("%d requests; the heap had %d bytes after a tenth of them and %d in the end", done, early, late)
	}
}
