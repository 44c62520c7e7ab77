package cost

import (
	"fmt"
	"math"

	"kvcompress/sim"
)

// ClientNS returns the time that clients and the API server add to the time to first token, in whole
// nanoseconds.
func (f *Fit) ClientNS() int64 { return int64(math.Round(1e3 * f.Factors[RequestTerm])) }

// Costs returns the time of a unit of each feature by a fit. If matrix products overlap the reading of
// weights, their time is not linear in the features, and the second result computes it.
func (d *Deployment) Costs(f *Fit) (sim.Rates, sim.Products, error) {
	total, products := d.peaks().costs(f)
	var r sim.Rates
	for f, ns := range total {
		if err := r.SetNS(sim.Feature(f), ns); err != nil {
			return r, nil, fmt.Errorf("cost: %w", err)
		}
	}
	return r, products, nil
}

// peaks has the times of a deployment's terms at factors of 1, that is at the card's peaks.
type peaks struct {
	terms   []Term
	units   []unit      // by term
	sampled float64     // ns of the output matrix for each sampled sequence
	experts sim.Experts // of the model
}

func (d *Deployment) peaks() *peaks {
	p := &peaks{terms: Terms(), experts: sim.Experts(d.Model.Experts)}
	for _, t := range p.terms {
		p.units = append(p.units, t.peak(d))
	}
	p.sampled = 2 * float64(d.Model.Vocab) * float64(d.Model.Hidden) / d.Card.Flops16 * 1e9 / float64(d.Cards())
	return p
}

// costs returns the time of a unit of each feature by a fit, in nanoseconds: the sum over the terms
// of factor · peak. If products overlap the reading of weights ([Fit.Overlap]), their terms are left
// out of the sum. An iteration that prefills p tokens and decodes n sequences then takes in addition
//
//	√(W² + G²),  W = weights · (read + expert · E(p + n)),  G = gemm · p · token + decode_gemm · n · (token + sampled)
//
// where weights, gemm and decode_gemm are factors, E is [sim.Experts.Read], and read, expert, token
// and sampled are times at the card's peak.
func (k *peaks) costs(f *Fit) (unit, sim.Products) {
	var total, overlapping unit
	for i, t := range k.terms {
		to := &total
		if t.Product && f.Overlap {
			to = &overlapping
		}
		factor := f.Factors[t.ID]
		for feature, ns := range k.units[i] {
			to[feature] += float64(factor * ns)
		}
	}
	if !f.Overlap {
		return total, nil
	}
	weights, perExpert := overlapping[sim.Steps], overlapping[sim.ExpertsRead]
	prefilled := overlapping[sim.PrefillTokens]
	decoded := overlapping[sim.DecodeSeqs] + float64(f.Factors["decode_gemm"]*k.sampled)
	return total, func(p, n int64) float64 {
		product := float64(prefilled*float64(p)) + float64(decoded*float64(n))
		read := weights + float64(perExpert*float64(k.experts.Read(int(p+n))))
		return math.Sqrt(float64(read*read) + float64(product*product))
	}
}

// Share is a term's share of the time of a run.
type Share struct {
	Term    string  `json:"term"`
	Seconds float64 `json:"seconds"`
	Share   float64 `json:"share"`
}

// ProductsShare is the Term of the joint share of the terms that overlap: see [Fit.Overlap].
const ProductsShare = "products"

// What describes in words what the time is spent on.
func (s *Share) What() string {
	if s.Term == ProductsShare {
		return "reading the weights and the matrix products with them, which overlap"
	}
	for _, t := range Terms() {
		if t.ID == s.Term {
			return t.What
		}
	}
	return ""
}

// Shares returns the share of each term in the time of work, in the order of [Terms], without terms
// that take no time. Terms that overlap have one joint share, which comes first; products is their
// time.
func (d *Deployment) Shares(f *Fit, w *sim.Work, products sim.Ticks) []Share {
	var shares []Share
	sum := products.Seconds()
	if sum > 0 {
		shares = append(shares, Share{Term: ProductsShare, Seconds: sum})
	}
	for _, t := range Terms() {
		if t.Product && f.Overlap {
			continue
		}
		u := t.peak(d)
		if s := f.Factors[t.ID] * u.ns(w) / 1e9; s > 0 {
			shares = append(shares, Share{Term: t.ID, Seconds: s})
			sum += s
		}
	}
	for i := range shares {
		if sum > 0 { // it is 0 if all requests were refused
			shares[i].Share = shares[i].Seconds / sum
		}
	}
	return shares
}
