// Package sweep runs many projections: every combination of models, cards, memory budgets,
// compressions, batch limits and loads. It runs them on all cores, or as shards on many machines,
// with the same results to the byte.
//
// [Axes] lists the points of a sweep, a [Projector] projects a point, and [Run] projects many.
package sweep

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"kvcompress/internal/work"
	"kvcompress/sim/cost"
	"kvcompress/sim/project"
	"kvcompress/sim/stats"
)

// Outcome is the result of one projection, or why there is none.
type Outcome struct {
	Index int `json:"index"` // of the point in the sweep
	Point
	Error    string        `json:"error,omitempty"`   // why it cannot be projected, such as that the model does not fit
	NoRoom   bool          `json:"no_room,omitempty"` // the error is that the memory has no room for keys and values
	Memory   cost.Memory   `json:"memory"`
	Metrics  stats.Summary `json:"metrics"`
	Time     []cost.Share  `json:"time"` // by term
	Factors  string        `json:"factors_of,omitempty"`
	Other    string        `json:"factors_of_other,omitempty"` // Factors, Other, Expected and Client: see project.Result
	Expected string        `json:"error_to_expect,omitempty"`
	Client   float64       `json:"client_seconds"`
	Bound    project.Bound `json:"bound"`             // what kept requests waiting
	Reading  string        `json:"reading,omitempty"` // what limits it, in a sentence

	Notes []string `json:"notes,omitempty"` // assumptions about the method

	ThroughputPerCard float64          `json:"total_token_throughput_per_gpu"`
	USDPerHour        float64          `json:"usd_per_hour,omitempty"`                  // of all cards; 0 is unknown
	USDPerMillion     float64          `json:"usd_per_million_output_tokens,omitempty"` // at this throughput
	USDPerMillionAll  float64          `json:"usd_per_million_tokens,omitempty"`        // likewise, of input and output tokens
	Pareto            bool             `json:"pareto"`                                  // on the Pareto front: see [MarkPareto]
	LoadUnbounded     bool             `json:"load_unbounded,omitempty"`                // the largest load that was tried meets the objectives too
	Refusal           string           `json:"refusal,omitempty"`                       // why the first refused request was refused
	TooLong           int64            `json:"longer_than_context"`                     // see project.Result
	Alone             bool             `json:"alone,omitempty"`                         // the outcome is for one request at a time, because too few requests meet the objectives even so
	Link              float64          `json:"kv_link_bytes_per_second,omitempty"`      // of each prefill card to the decode servers
	LinkUse           *project.LinkUse `json:"kv_link,omitempty"`
	ReplicaProbes     int              `json:"replica_probes,omitempty"`          // projections in the search for the fewest replicas
	OneMoreMisses     bool             `json:"one_more_replica_misses,omitempty"` // too few requests meet the objectives with one replica more
	OneMoreError      string           `json:"one_more_replica_error,omitempty"`  // why it cannot be projected with one replica more
	LoadProbes        int              `json:"load_probes,omitempty"`             // projections in the search for the largest load
}

// Project makes one projection. The Outcome has the point, which a search may have changed. If the
// point cannot be projected, Outcome.Error says why; an error of the function ends the sweep.
type Project func(ctx context.Context, p Point) (Outcome, error)

// Run projects the points with the given indices, workers at a time; 0 is one on each core. done,
// unless nil, is called with each finished outcome, by one goroutine at a time. The outcomes are
// returned in the order of their indices. If the context ends, Run returns the finished outcomes and
// the context's error.
func Run(ctx context.Context, points []Point, indices []int, workers int, project Project, done func(*Outcome) error) ([]Outcome, error) {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	workers = min(workers, max(1, len(indices)))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		mu       sync.Mutex
		next     int
		outcomes []Outcome
		wg       work.Group
	)
	take := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		if next == len(indices) || ctx.Err() != nil {
			return 0, false
		}
		next++
		return indices[next-1], true
	}
	for range workers {
		wg.Go(func() {
			for {
				i, ok := take()
				if !ok {
					return
				}
				o, err := recovered(ctx, project, points[i])
				o.Index = i
				mu.Lock()
				if err == nil && done != nil {
					err = done(&o)
				}
				if err == nil {
					outcomes = append(outcomes, o)
				} else {
					cancel(fmt.Errorf("sweep: point %d (%v): %w", i, &points[i], err))
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.SortFunc(outcomes, func(a, b Outcome) int { return a.Index - b.Index })
	return outcomes, context.Cause(ctx)
}

// recovered projects a point, and returns a panic as an error.
func recovered(ctx context.Context, project Project, p Point) (_ Outcome, err error) {
	defer work.Recover(&err)
	return project(ctx, p)
}

// All returns the indices of n points.
func All(n int) []int {
	indices := make([]int, n)
	for i := range indices {
		indices[i] = i
	}
	return indices
}
