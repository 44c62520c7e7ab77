package cost

import (
	"fmt"
	"math"

	"kvcompress/sim"
)

// ClientNS returns what clients and the API add to the time to first token, in whole
// nanoseconds.
func (f *Fit) ClientNS() int64 { return int64(math.Round(1e3 * f.Factors[RequestTerm])) }

// Costs returns what a unit of each feature costs by a fit and, where products overlap the
// reading of weights, what an iteration takes beyond that.
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

// peaks is what a deployment's terms take at factors of 1.
type peaks struct {
	terms   []Term
	units   []unit      // by term
	sampled float64     // ns of the output matrix for each sequence that is sampled from
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

// costs returns what a unit of each feature costs by a fit, in nanoseconds: the sum over the
// terms of factor · peak. Where the products of a step overlap the reading of the weights for
// them, those are left out of it, and an iteration that prefills p tokens and decodes n
// sequences takes beside it
//
//	√(W² + G²),  W = weights · (read + expert · E(p + n)),  G = gemm · p · token + decode_gemm · n · (token + sampled)
//
// where names are factors, E is [sim.Experts.Read], and the rest times at the card's peak.
func (k *peaks) costs(f *Fit) (unit, sim.Products) {
	var total, overlapping unit
	for i, t := range k.terms {
		to := &total
		if t.Product && f.Overlap {
			to = &overlapping
		}
		for feature, ns := range k.units[i] {
			to[feature] += float64(f.Factors[t.ID] * ns)
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

// Share is the part of a run's time that a term took.
type Share struct {
	Term    string  `json:"term"`
	Seconds float64 `json:"seconds"`
	Share   float64 `json:"share"`
}

// ProductsShare is the share of terms that overlap: see [Fit.Overlap].
const ProductsShare = "products"

// What says in words what a share of the time is.
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

// Shares returns what each term took of the time that work takes, in the order of
// [Terms], without those that took none. Terms that overlap are one share, of the time
// products, which comes first.
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
		if sum > 0 { // nothing was done where all requests were refused
			shares[i].Share = shares[i].Seconds / sum
		}
	}
	return shares
}
