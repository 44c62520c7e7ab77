package work

import (
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
)

func TestGroup(t *testing.T) {
	run := func(panics any) (err error) {
		defer Recover(&err)
		done := make([]bool, 8)
		var outer Group
		for i := range done {
			outer.Go(func() {
				var inner Group
				inner.Go(func() {
					if i == 3 && panics != nil {
						panic(panics)
					}
				})
				inner.Wait()
				done[i] = true
			})
		}
		outer.Wait()
		for i, ok := range done {
			if !ok {
				t.Errorf("%d is not done", i)
			}
		}
		return nil
	}
	if err := run(nil); err != nil {
		t.Error(err)
	}
	var p *Panic
	if err := run("odd"); !errors.As(err, &p) || p.Value != "odd" || !strings.Contains(err.Error(), "TestGroup") {
		t.Error(err)
	}
	if err := run(io.ErrNoProgress); !errors.Is(err, io.ErrNoProgress) {
		t.Error(err)
	}
}

// TestEach checks that f is called once for every index, with any number of workers, and that a
// panic reaches the caller.
func TestEach(t *testing.T) {
	for _, workers := range []int{1, 2, 7} {
		for _, n := range []int{0, 1, 6, 100} {
			seen := make([]int, n)
			Each(workers, n, func(worker, i int) {
				if worker < 0 || worker >= workers {
					t.Errorf("worker %d of %d", worker, workers)
				}
				seen[i]++
			})
			for i, times := range seen {
				if times != 1 {
					t.Errorf("%d workers: %d of %d was called %d times", workers, i, n, times)
				}
			}
		}
	}
	err := func() (err error) {
		defer Recover(&err)
		Each(3, 10, func(_, i int) {
			if i == 4 {
				panic("four")
			}
		})
		return nil
	}()
	if err == nil || !strings.Contains(err.Error(), "four") {
		t.Errorf("%v, want the panic", err)
	}
}

func TestWorkersFor(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	for _, c := range []struct{ n, cost, want int }{
		{0, 0, 1}, {8, 0, 1}, {8, inlineCost - 1, 1}, {8, inlineCost, 2}, {8, 1e9, 4}, {3, 1e9, 3}, {1, 1e9, 1},
	} {
		if got := WorkersFor(c.n, c.cost); got != c.want {
			t.Errorf("%d pieces that cost %d: %d workers, want %d", c.n, c.cost, got, c.want)
		}
	}
}
