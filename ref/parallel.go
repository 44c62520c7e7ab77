package ref

import (
	"runtime"
	"sync/atomic"

	"kvcompress/internal/work"
)

// workers returns how many goroutines are to share n independent pieces of work.
// It may change from one call to the next, with the processors that there are.
func workers(n int) int { return max(1, min(n, runtime.GOMAXPROCS(0))) }

// parallel calls f for every i in [0, n), from as many goroutines as workers says,
// numbered from 0. Each i writes what is its own, so the result does not depend on
// how many there are.
func parallel(workers, n int, f func(worker, i int)) {
	if workers == 1 {
		for i := range n {
			f(0, i)
		}
		return
	}
	var next atomic.Int64
	var wg work.Group
	for w := range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(w, i)
			}
		})
	}
	wg.Wait()
}
