package llama

import (
	"runtime"

	"kvcompress/internal/work"
)

// workers distributes the iterations of a loop over processors, and has a scratch
// buffer for each.
type workers struct {
	buffers [][]float32
}

func newWorkers() *workers {
	return &workers{buffers: make([][]float32, runtime.GOMAXPROCS(0))}
}

// each calls f(worker, i) for each i < n. Calls for one worker are sequential.
// cost is the work of one call, in multiplications.
func (w *workers) each(n, cost int, f func(worker, i int)) {
	count := min(len(w.buffers), work.WorkersFor(n, n*cost))
	if count == 1 {
		for i := range n {
			f(0, i)
		}
		return
	}
	var group work.Group
	for worker := range count {
		group.Go(func() {
			for i := worker * n / count; i < (worker+1)*n/count; i++ {
				f(worker, i)
			}
		})
	}
	group.Wait()
}

// scratch returns a buffer of n numbers, which the worker may use until its next call.
func (w *workers) scratch(worker, n int) []float32 {
	if cap(w.buffers[worker]) < n {
		w.buffers[worker] = make([]float32, n, n+n/2)
	}
	return w.buffers[worker][:n]
}
