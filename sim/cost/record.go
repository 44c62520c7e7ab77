package cost

import (
	"context"
	"fmt"
	"slices"

	"kvcompress/sim"
	"kvcompress/trace"
)

// record is a run whose schedule does not depend on the times of steps: one whose requests all arrive
// at the start, or a closed loop. The means of its latencies are then linear in the times of the
// steps, so that they can be computed for any factors.
type record struct {
	ttft, tpot weighted // mean over requests
	total      weighted // of the run
	tokens     int64    // input and output
	outputs    int64
}

// weighted is the weighted sum of the work of a run's steps.
type weighted struct {
	work     [sim.NumFeatures]float64
	products []batchWeight // sorted by batch, except those added since the last gather
	gathered int
}

// batchWeight is the total weight of iterations with equal batches.
type batchWeight struct {
	batch
	weight float64
}

// batch has the numbers of tokens prefilled and sequences decoded in an iteration, on which its matrix
// products depend.
type batch struct{ prefilled, decoded int64 }

func (a batch) compare(b batch) int {
	if a.prefilled != b.prefilled {
		return int(a.prefilled - b.prefilled)
	}
	return int(a.decoded - b.decoded)
}

// seconds returns the time of the weighted steps at the given costs.
func (w *weighted) seconds(rates *[sim.NumFeatures]float64, products sim.Products) float64 {
	ns := 0.0
	for f, n := range w.work {
		ns += float64(n * rates[f])
	}
	if products != nil {
		for _, b := range w.products {
			ns += float64(b.weight * products(b.prefilled, b.decoded))
		}
	}
	return ns / 1e9
}

// recordOf serves requests by a plan, whose rates do not matter, and records the work of the steps. It
// is an error if a request does not finish.
func recordOf(ctx context.Context, plan *sim.Plan, requests []trace.Request) (*record, error) {
	type event struct {
		work  sim.Work
		steps int
		end   int64
	}
	var events []event
	var results []sim.Result
	p := *plan
	p.Rates, p.Products = *sim.FixedStepTime(1e6), nil
	out, err := sim.Project(ctx, &p, func(yield func(trace.Request, error) bool) {
		for _, r := range requests {
			if !yield(r, nil) {
				return
			}
		}
	}, sim.Watch{
		Quiet:  true,
		Step:   func(s *sim.Step) { events = append(events, event{s.Work, s.Steps, s.End}) },
		Result: func(r *sim.Result) { results = append(results, *r) },
	})
	if err != nil {
		return nil, err
	}
	if out.Finished < len(requests) {
		return nil, fmt.Errorf("of %d requests %d do not finish: %s", len(requests), len(requests)-out.Finished, refusalOf(results))
	}
	// The weight of each step, as differences: +w at the step where a request's time begins, −w after
	// the step where it ends.
	ttft, tpot := make([]float64, len(events)+1), make([]float64, len(events)+1)
	after := func(at int64) int { // index of the step that begins at this time
		i, _ := slices.BinarySearchFunc(events, at, func(e event, at int64) int {
			if e.end <= at {
				return -1
			}
			return 1
		})
		return i
	}
	r := &record{}
	several := 0
	for i := range results {
		if results[i].OutputTokens > 1 {
			several++
		}
	}
	for i := range results {
		q := &results[i]
		r.tokens += int64(q.PromptTokens + q.OutputTokens)
		r.outputs += int64(q.OutputTokens)
		w := 1 / float64(len(results))
		ttft[after(q.Arrival)] += w
		ttft[after(q.FirstToken)] -= w
		if q.OutputTokens > 1 {
			w := 1 / (float64(several) * float64(q.OutputTokens-1))
			tpot[after(q.FirstToken)] += w
			tpot[after(q.Finished)] -= w
		}
	}
	var a, b float64
	for i := range events {
		a, b = a+ttft[i], b+tpot[i]
		r.ttft.add(&events[i].work, events[i].steps, a)
		r.tpot.add(&events[i].work, events[i].steps, b)
		r.total.add(&events[i].work, events[i].steps, 1)
	}
	r.ttft.gather()
	r.tpot.gather()
	r.total.gather()
	return r, nil
}

func refusalOf(results []sim.Result) string {
	for i := range results {
		if results[i].Error != "" {
			return results[i].Error
		}
	}
	return "the run ends before them"
}

func (w *weighted) add(work *sim.Work, steps int, weight float64) {
	for f, n := range work {
		w.work[f] += float64(weight * float64(n))
	}
	n := int64(steps)
	w.products = append(w.products, batchWeight{batch{work[sim.PrefillTokens] / n, work[sim.DecodeSeqs] / n}, float64(weight * float64(n))})
	if len(w.products) > 2*w.gathered+1<<12 {
		w.gather()
	}
}

// gather adds up the weights of equal batches.
func (w *weighted) gather() {
	slices.SortStableFunc(w.products, func(a, b batchWeight) int { return a.compare(b.batch) })
	kept := w.products[:0]
	for _, b := range w.products {
		if n := len(kept); n > 0 && kept[n-1].batch == b.batch {
			kept[n-1].weight += b.weight
		} else {
			kept = append(kept, b)
		}
	}
	w.products, w.gathered = kept, len(kept)
}
