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

	"kvcompress/trace"
)

// Disaggregation is a cluster in which some servers prefill and others decode, as with vLLM's
// KV connectors: a prompt is computed on one, its KVs are sent over a link, and another computes
// its last token once more and decodes.
type Disaggregation struct {
	Prefill, Decode int    // servers of each kind
	Router          Router // of requests to the first, and of prompts that have arrived to the second
	Link            Link   // that each prefilling server has
}

// Link sends KVs. Prompts go one after another, each as soon as it is computed and the link free.
type Link struct {
	BytesPerSecond float64
	LatencyNS      int64 // from the last byte's leaving to its being there
	BlockBytes     int64 // of a block of all heads, as far as they go over one link
}

// SendNS returns how long a prompt of blocks whole blocks takes the link, rounded up to
// nanoseconds; at most MaxArrivalNS, which is past all times.
func (l *Link) SendNS(blocks int) int64 {
	return int64(min(math.Ceil(float64(blocks)*float64(l.BlockBytes)/l.BytesPerSecond*1e9), trace.MaxArrivalNS))
}

// MaxLinkNS bounds a link's latency, and what it takes for a block.
const MaxLinkNS = 3600e9

// Validate returns an error if there are no servers of a kind, too many, or a link that is none.
func (d *Disaggregation) Validate() error {
	var errs []error
	for _, servers := range []struct {
		kind string
		n    int
	}{{"prefill", d.Prefill}, {"decode", d.Decode}} {
		if servers.n < 1 || servers.n > MaxReplicas {
			errs = append(errs, fmt.Errorf("sim: %d %s replicas are not from 1 to %d", servers.n, servers.kind, MaxReplicas))
		}
	}
	switch l := &d.Link; {
	case !(l.BytesPerSecond > 0) || math.IsInf(l.BytesPerSecond, 0) || l.BlockBytes < 0:
		errs = append(errs, fmt.Errorf("sim: a link of %v bytes a second: want more than 0, and a number", l.BytesPerSecond))
	case !(float64(l.BlockBytes)/l.BytesPerSecond*1e9 <= MaxLinkNS):
		errs = append(errs, fmt.Errorf("sim: a link of %v bytes a second takes more than an hour for a block of %d bytes: want more", l.BytesPerSecond, l.BlockBytes))
	case l.LatencyNS < 0 || l.LatencyNS > MaxLinkNS:
		errs = append(errs, fmt.Errorf("sim: a link's latency of %d ns is not from 0 to an hour", l.LatencyNS))
	}
	return errors.Join(errs...)
}

// Suits returns an error if a plan's servers cannot be disaggregated.
func (d *Disaggregation) Suits(p *Plan) error {
	switch {
	case p.Scheduler != VLLMV1:
		return errors.New("sim: prefill and decode are disaggregated on vllm-v1 only")
	case p.Config.Compresses() || p.Layout != nil:
		return errors.New("sim: prefill and decode are not disaggregated with compression, nor where layers are not alike: what is sent of a prompt is all of its KVs")
	case p.Concurrency != 0 || p.Turns != "" && p.Turns != TurnsAsRecorded:
		return errors.New("sim: prefill and decode are disaggregated where requests arrive by their own times: no closed loop, and turns as recorded")
	}
	return d.Validate()
}

// handed is a request on its way from one kind of server to the other.
type handed struct {
	request trace.Request
	prefill Result
	sent    int64 // when all of its KVs are there
}

// ProjectDisaggregated serves requests on d.Prefill servers and then d.Decode servers of a plan
// of vLLM V1. watch says who is told of a server, the prefilling ones first. A request's result
// has Admitted from its prefill, and FirstToken and Finished from the server that decodes it,
// which is Replica. Requests arrive by their own times, so that what the second kind does never
// changes what the first does: one is served after the other, with all requests in memory.
func ProjectDisaggregated(ctx context.Context, p *Plan, d Disaggregation, requests iter.Seq2[trace.Request, error], watch func(server int) Watch) (*Projection, error) {
	if err := d.Suits(p); err != nil {
		return nil, err
	}
	list, sum, err := d.prefill(ctx, p, requests, watch)
	if sum == nil {
		return nil, err
	}
	sum.Finished, sum.InputTokens, sum.Output = 0, 0, 0 // a request finishes where it is decoded
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
			r.ID, r.ArrivalNS, r.PrefixHashes = strconv.Itoa(i), list[i].sent, nil
			if !yield(r, nil) {
				return
			}
		}
	}
	decoded, err := ProjectReplicas(ctx, &decode, d.Decode, d.Router, sent, func(server int) Watch {
		w := watch(d.Prefill + server)
		told := w.Result
		w.Result = func(r *Result) {
			i, _ := strconv.Atoi(r.ID) // which it was given above
			list[i].merge(r)
			if told != nil {
				told(r)
			}
		}
		return w
	})
	if decoded == nil {
		return sum, err
	}
	decoded.Cached = 0 // but what was sent
	sum.merge(decoded)
	return sum, err
}

// prefill serves the prompts, and returns them in the order in which they are there. Requests
// that were refused, or that an error left unfinished, are told of.
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
	free := make([]int64, d.Prefill) // when each server's link is
	var gone []handed
	sent, wait, busy := 0, 0.0, 0.0
	var late error // of the first prompt whose KVs are there after the last time there is
	sum, err := ProjectReplicas(ctx, p, d.Prefill, d.Router, prompts, func(server int) Watch {
		w := watch(server)
		told := w.Result
		w.Result = func(r *Result) {
			i, _ := strconv.Atoi(r.ID) // which it was given above
			h := &list[i]
			if h.prefill = *r; r.Finished >= 0 {
				from, takes := max(free[server], r.Finished), d.Link.SendNS(ceilDiv(r.PromptTokens, p.Config.BlockSize))
				if most := trace.MaxArrivalNS - d.Link.LatencyNS - from; takes > most {
					takes = max(0, most)
					if late == nil {
						late = fmt.Errorf("sim: a link of %v bytes a second never gets to request %q: want more", d.Link.BytesPerSecond, h.request.ID)
					}
				}
				sent, wait, busy = sent+1, wait+float64(from-r.Finished)/1e9, busy+float64(takes)/1e9
				free[server] = from + takes
				h.sent = free[server] + d.Link.LatencyNS
				gone = append(gone, *h)
				return
			}
			r.ID = h.request.ID
			if told != nil {
				told(r)
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

// merge makes the result of decoding that of the request.
func (h *handed) merge(r *Result) {
	r.ID, r.Arrival, r.Admitted = h.request.ID, h.prefill.Arrival, h.prefill.Admitted
	r.Cached = h.prefill.Cached
	r.Preemptions += h.prefill.Preemptions
	r.Recomputed += h.prefill.Recomputed
}
