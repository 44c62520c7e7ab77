package ref

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// workers returns how many goroutines share n independent pieces of work.
func workers(n int) int { return max(1, min(n, runtime.GOMAXPROCS(0))) }

// parallel calls f for every i in [0, n), from workers(n) goroutines. Each i
// writes what is its own, so the result does not depend on how many there are.
func parallel(n int, f func(worker, i int)) {
	if workers(n) == 1 {
		for i := range n {
			f(0, i)
		}
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range workers(n) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(w, i)
			}
		})
	}
	wg.Wait()
}
