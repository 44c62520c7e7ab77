// Package work runs goroutines without letting a panic end the program: [Group.Wait] panics
// again in the caller, and [Recover] turns the panic into an error at a package boundary.
package work

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// Panic is the error that a panic becomes.
type Panic struct {
	Value any
	Stack []byte // of the goroutine that panicked
}

// Error returns the value and the stack, since a panic is a bug to be reported.
func (p *Panic) Error() string {
	return fmt.Sprintf("internal error, please report it: %v\n%s", p.Value, p.Stack)
}

// Unwrap returns the value, if it is an error.
func (p *Panic) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

// caught turns a value from recover into a Panic. It must be called in the deferred function, while the stack
// of the panic still exists.
func caught(value any) *Panic {
	if p, ok := value.(*Panic); ok {
		return p
	}
	return &Panic{value, debug.Stack()}
}

// Recover turns a panic of a function into the function's error. The function defers it:
//
//	func (e *Engine) Decode() (err error) {
//		defer work.Recover(&err)
func Recover(err *error) {
	if value := recover(); value != nil {
		*err = caught(value)
	}
}

// Group is a sync.WaitGroup whose Wait panics, with a *Panic, if one of the goroutines has panicked.
type Group struct {
	wg    sync.WaitGroup
	mu    sync.Mutex
	panic *Panic // the first
}

// Go calls f in a goroutine.
func (g *Group) Go(f func()) {
	g.wg.Go(func() {
		defer func() {
			if value := recover(); value != nil {
				g.mu.Lock()
				defer g.mu.Unlock()
				if g.panic == nil {
					g.panic = caught(value)
				}
			}
		}()
		f()
	})
}

// Wait waits for all goroutines.
func (g *Group) Wait() {
	g.wg.Wait()
	if g.panic != nil {
		panic(g.panic)
	}
}

// Workers returns how many goroutines should share n independent pieces of work. It depends on GOMAXPROCS,
// which can change between calls.
func Workers(n int) int { return max(1, min(n, runtime.GOMAXPROCS(0))) }

// WorkersFor returns how many goroutines should share n independent pieces of work of a total cost in multiplications:
// as many as [Workers], or fewer where the cost is so small that starting them would take more time than they save.
func WorkersFor(n, cost int) int { return max(1, min(Workers(n), cost/inlineCost+1)) }

// Each calls f for every i in [0, n) in goroutines with numbers from 0, and panics as [Group.Wait] does. If
// each call of f writes only what belongs to its i, the result does not depend on the number of workers.
func Each(workers, n int, f func(worker, i int)) {
	if workers == 1 {
		for i := range n {
			f(0, i)
		}
		return
	}
	var next atomic.Int64
	var group Group
	for w := range workers {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(w, i)
			}
		})
	}
	group.Wait()
}

// watchKey is the context key of the function that [Step] calls.
type watchKey struct{}

// Watch returns a context in which [Step] calls step, from any goroutine, so that long work can report its
// progress.
func Watch(ctx context.Context, step func()) context.Context {
	return context.WithValue(ctx, watchKey{}, step)
}

// Step reports that a piece of work, such as a row or a case, is done.
func Step(ctx context.Context) {
	if step, ok := ctx.Value(watchKey{}).(func()); ok {
		step()
	}
}
