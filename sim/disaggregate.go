package sim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"

	"kvcompress/internal/ceil"
	"kvcompress/trace"
)

// Disaggregation is a cluster in which some servers prefill and the others decode, as with vLLM's KV
// connectors: a prefill server computes a prompt and sends its KVs over a link to a decode server, which
// computes the last token once more and decodes.
type Disaggregation struct {
	Prefill, Decode int    // number of servers of each kind
	Router          Router // of requests to prefill servers, and of received prompts to decode servers
	Link            Link   // of each prefill server
}

// Link is a link over which KVs are sent. Prompts are sent one after another, each as soon as it is
// computed and the link is free.
type Link struct {
	BytesPerSecond float64
	LatencyNS      int64 // from sending the last byte to receiving it
	BlockBytes     int64 // bytes of a block of all heads that go over one link
}

// SendNS returns the time that the link is busy with a prompt of this many whole blocks, rounded up to
// nanoseconds, and at most MaxArrivalNS, which is later than any time.
func (l *Link) SendNS(blocks int) int64 {
	return int64(min(math.Ceil(float64(blocks)*float64(l.BlockBytes)/l.BytesPerSecond*1e9), trace.MaxArrivalNS))
}

// MaxLinkNS bounds a link's latency and its time for a block.
const MaxLinkNS = 3600e9

// Validate returns every error of the numbers of servers and of the link, joined.
func (d *Disaggregation) Validate() error {
	var errs []error
	for _, servers := range []struct {
		kind string
		n    int
	}{{"prefill", d.Prefill}, {"decode", d.Decode}} {
		if servers.n < 1 || servers.n > MaxReplicas {
			errs = append(errs, fmt.Errorf("sim: %d %s replicas: want 1 to %d", servers.n, servers.kind, MaxReplicas))
		}
	}
	switch l := &d.Link; {
	case !(l.BytesPerSecond > 0) || math.IsInf(l.BytesPerSecond, 0) || l.BlockBytes < 0:
		errs = append(errs, fmt.Errorf("sim: a link of %v bytes per second: want a finite number above 0", l.BytesPerSecond))
	case !(float64(l.BlockBytes)/l.BytesPerSecond*1e9 <= MaxLinkNS):
		errs = append(errs, fmt.Errorf("sim: a link of %v bytes per second takes more than an hour for a block of %d bytes: want more", l.BytesPerSecond, l.BlockBytes))
	case l.LatencyNS < 0 || l.LatencyNS > MaxLinkNS:
		errs = append(errs, fmt.Errorf("sim: a link with a latency of %d ns: want 0 to an hour", l.LatencyNS))
	}
	return errors.Join(errs...)
}

// Suits returns an error if a plan's servers cannot be disaggregated.
func (d *Disaggregation) Suits(p *Plan) error {
	switch {
	case p.Scheduler != VLLMV1:
		return errors.New("sim: prefill and decode are disaggregated on vllm-v1 only")
	case p.Config.Compresses() || p.Layout != nil:
		return errors.New("sim: prefill and decode cannot be disaggregated with compression or with layers of several kinds, since all KVs of a prompt are sent")
	case p.Concurrency != 0 || p.Turns != "" && p.Turns != TurnsAsRecorded:
		return errors.New("sim: disaggregated prefill and decode need requests that arrive at their recorded times: no closed loop, and turns as recorded")
	}
	return d.Validate()
}

// handed is a request on its way from a prefill to a decode server.
type handed struct {
	request trace.Request
	prefill Result
	sent    int64 // time when all of its KVs have been received
}

// ProjectDisaggregated serves requests on d.Prefill prefill servers and d.Decode decode servers of a plan
// of vLLM V1. watch returns the Watch of each server; prefill servers have the first numbers. In a
// request's result Admitted is of its prefill, and FirstToken, Finished and Replica are of the decode
// server. Requests arrive at their recorded times, so decode servers never affect prefill servers: first
// all prefills are simulated and then all decodes, with all requests in memory.
func ProjectDisaggregated(ctx context.Context, p *Plan, d Disaggregation, requests iter.Seq2[trace.Request, error], watch func(server int) Watch) (*Projection, error) {
	if err := d.Suits(p); err != nil {
		return nil, err
	}
	list, sum, err := d.prefill(ctx, p, requests, watch)
	if sum == nil {
		return nil, err
	}
	sum.Finished, sum.InputTokens, sum.Output = 0, 0, 0 // requests finish on decode servers
	if err != nil {
		tell := watch(d.Prefill).Result
		for _, h := range list {
			if h.prefill.ID, h.prefill.FirstToken, h.prefill.Finished = h.request.ID, -1, -1; tell != nil {
				tell(&h.prefill)
			}
		}
		sum.Unfinished += len(list)
		return sum, err
	}
	decode := *p
	decode.V1.Prefixes, decode.V1.PrefixTokens, decode.V1.received = false, 0, true
	sent := func(yield func(trace.Request, error) bool) {
		for i := range list {
			r := list[i].request
			r.ID, r.ArrivalNS = strconv.Itoa(i), list[i].sent
			r.Session, r.PrefixHashes = "", nil // decode servers share no prefixes
			if !yield(r, nil) {
				return
			}
		}
	}
	decoded, err := ProjectReplicas(ctx, &decode, d.Decode, d.Router, sent, func(server int) Watch {
		w := watch(d.Prefill + server)
		result := w.Result
		w.Result = func(r *Result) {
			i, _ := strconv.Atoi(r.ID) // which it was given above
			list[i].merge(r)
			if result != nil {
				result(r)
			}
		}
		return w
	})
	if decoded == nil {
		return sum, err
	}
	decoded.Cached = 0 // it counts the received KVs
	sum.merge(decoded)
	return sum, err
}

// prefill serves the prompts and returns them in the order in which their KVs are received. It reports the
// results of requests that were refused, or that an error left unfinished.
func (d *Disaggregation) prefill(ctx context.Context, p *Plan, requests iter.Seq2[trace.Request, error], watch func(int) Watch) ([]handed, *Projection, error) {
	var list []handed
	prompts := func(yield func(trace.Request, error) bool) {
		for r, err := range requests {
			list = append(list, handed{request: r})
			r.ID, r.OutputTokens = strconv.Itoa(len(list)-1), 1
			if !yield(r, err) {
				return
			}
		}
	}
	free := make([]int64, d.Prefill) // time when each server's link is free
	var gone []handed
	sent, wait, busy := 0, 0.0, 0.0
	var late error // about the first prompt whose KVs are received later than the largest time
	sum, err := ProjectReplicas(ctx, p, d.Prefill, d.Router, prompts, func(server int) Watch {
		w := watch(server)
		result := w.Result
		w.Result = func(r *Result) {
			i, _ := strconv.Atoi(r.ID) // which it was given above
			h := &list[i]
			if h.prefill = *r; r.Finished >= 0 {
				from, takes := max(free[server], r.Finished), d.Link.SendNS(ceil.Div(r.PromptTokens, p.Config.BlockSize))
				if most := trace.MaxArrivalNS - d.Link.LatencyNS - from; takes > most {
					takes = max(0, most)
					if late == nil {
						late = fmt.Errorf("sim: a link of %v bytes per second never sends request %q: want more", d.Link.BytesPerSecond, h.request.ID)
					}
				}
				sent, wait, busy = sent+1, wait+float64(from-r.Finished)/1e9, busy+float64(takes)/1e9
				free[server] = from + takes
				h.sent = free[server] + d.Link.LatencyNS
				gone = append(gone, *h)
				return
			}
			r.ID = h.request.ID
			if result != nil {
				result(r)
			}
		}
		return w
	})
	slices.SortStableFunc(gone, func(a, b handed) int { return cmp.Compare(a.sent, b.sent) })
	if sum != nil {
		sum.Sent, sum.LinkWait, sum.LinkBusy = sent, wait, busy
	}
	return gone, sum, errors.Join(err, late)
}

// merge makes the result of decoding the result of the request.
func (h *handed) merge(r *Result) {
	r.ID, r.Arrival, r.Admitted = h.request.ID, h.prefill.Arrival, h.prefill.Admitted
	r.Cached = h.prefill.Cached
	r.Preemptions += h.prefill.Preemptions
	r.Recomputed += h.prefill.Recomputed
}
