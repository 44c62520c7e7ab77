package heads

import (
	"math"

	"kvcompress/internal/work"
	"kvcompress/kv"
	"kvcompress/ref/vec"
)

const (
	// partition is the number of consecutive keys that share a maximum and a sum.
	// With it the attention weights are those of ref/NUMERICS.md §4.
	partition = 128
	// block is the number of queries that go through the keys together.
	block = 16
)

// layer computes the scores of the query heads of one layer. It has the layer's keys in memory, but never the
// whole attention matrix: only a tile of block × partition weights per worker, and a maximum and a sum for
// each partition of each query in a block.
type layer struct {
	shape kv.Shape
	rep   Repetition
	keys  [][]float32 // of each KV head, [tokens, D]

	// The sums of each query head [H·G] over the queries so far.
	echo, induction []float64
}

func newLayer(shape kv.Shape, rep Repetition) *layer {
	l := &layer{
		shape:     shape,
		rep:       rep,
		keys:      make([][]float32, shape.KVHeads),
		echo:      make([]float64, shape.QueryHeads()),
		induction: make([]float64, shape.QueryHeads()),
	}
	for h := range l.keys {
		l.keys[h] = make([]float32, 0, rep.Tokens()*shape.HeadSize)
	}
	return l
}

// appendKeys appends the keys [n, H, D] of the next n tokens.
func (l *layer) appendKeys(k []float32) {
	d := l.shape.HeadSize
	for i := 0; i < len(k); i += d {
		h := i / d % l.shape.KVHeads
		l.keys[h] = append(l.keys[h], k[i:i+d]...)
	}
}

// addQueries adds the scores of the queries q [n, H·G, D] of tokens from…from+n−1, whose keys must have been
// appended. Heads are processed in parallel, but each adds up its queries in ascending order, so the sums
// depend neither on the number of workers nor on n.
func (l *layer) addQueries(q []float32, from int) {
	heads, d := l.shape.QueryHeads(), l.shape.HeadSize
	n := len(q) / (heads * d)
	first := max(from, 1+l.rep.Period) // the first period is not scored
	scratches := make([]scratch, work.Workers(heads))
	work.Each(len(scratches), heads, func(worker, h int) {
		w := &scratches[worker]
		for t := first; t < from+n; t += block {
			queries := min(block, from+n-t)
			w.q = w.q[:0]
			for i := range queries {
				at := ((t-from+i)*heads + h) * d
				w.q = append(w.q, q[at:at+d]...)
			}
			l.addBlock(w, h, t, queries)
		}
	})
}

// scratch is what one worker needs for a block of queries.
type scratch struct {
	q     []float32 // [queries, D]
	tile  [block * partition]float32
	query [block]queryScratch
}

// queryScratch has, for one query, m_p and z_p of each partition, and e of the keys whose weights are scored,
// nearest copy first.
type queryScratch struct {
	max, sum        []float32
	echo, induction []float32
}

// addBlock adds the scores of query head h for the queries w.q [n, D] of tokens
// t…t+n−1. With scale = 1/√D, for each query and partition p of its causal keys
//
//	s_i = (q·k_i)·scale    m_p = max s_i    e_i = exp(s_i − m_p)    z_p = Σ e_i
//
// in the order and rounding of ref/NUMERICS.md §4.
func (l *layer) addBlock(w *scratch, h, t, n int) {
	d := l.shape.HeadSize
	keys := l.keys[h/l.shape.Group]
	scale := 1 / float32(math.Sqrt(float64(d)))
	for i := range n {
		w.query[i].reset(l.rep.copies(t + i))
	}
	for lo := 0; lo < t+n; lo += partition {
		hi := min(lo+partition, t+n)
		vec.DotsGroup(w.tile[:], partition, w.q, keys[lo*d:hi*d], n, d)
		for i := range n {
			causal := min(hi, t+i+1)
			if causal <= lo {
				continue
			}
			e := w.tile[i*partition:][:causal-lo]
			for j := range e {
				e[j] *= scale
			}
			x := &w.query[i]
			m := vec.Max(e)
			vec.ExpSub(e, e, m)
			x.max = append(x.max, m)
			x.sum = append(x.sum, vec.Sum(e))
			pick(x.echo, e, lo, t+i, l.rep.Period)
			pick(x.induction, e, lo, t+i+1, l.rep.Period)
		}
	}
	for i := range n {
		echo, induction := w.query[i].gained(t+i, l.rep.Period)
		l.echo[h] += echo
		l.induction[h] += induction
	}
}

func (x *queryScratch) reset(copies int) {
	x.max, x.sum = x.max[:0], x.sum[:0]
	if cap(x.echo) < copies {
		x.echo, x.induction = make([]float32, copies), make([]float32, copies)
	}
	x.echo, x.induction = x.echo[:copies], x.induction[:copies]
}

// pick copies the weight of key at−c·period to dst[c−1], for every c from 1 to len(dst) for which that key is
// one of lo…lo+len(e)−1.
func pick(dst, e []float32, lo, at, period int) {
	c := max(1, (at-lo-len(e))/period+1) // the first below lo+len(e)
	for ; c <= len(dst) && at-c*period >= lo; c++ {
		dst[c-1] = e[at-c*period-lo]
	}
}

// gained returns what the query of token t adds to the scores of its head. With
//
//	M = max m_p    Z = Σ exp(m_p − M)·z_p    f_p = exp(m_p − M) / Z    P_i = e_i·f_p
//
// in binary32, echo is the sum of P over the earlier copies of the token, and induction the sum over the
// tokens that follow those copies; both in binary64, nearest copy first.
func (x *queryScratch) gained(t, period int) (echo, induction float64) {
	m := vec.Max(x.max)
	var z float32
	for p, mp := range x.max {
		z += float32(vec.Exp(mp-m) * x.sum[p])
	}
	weight := func(e float32, key int) float64 {
		f := vec.Exp(x.max[key/partition]-m) / z
		return float64(e * f)
	}
	for c := range x.echo {
		key := t - (c+1)*period
		echo += weight(x.echo[c], key)
		induction += weight(x.induction[c], key+1)
	}
	return echo, induction
}
