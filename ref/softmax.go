package ref

import (
	"math"

	"kvcompress/ref/vec"
)

// Partition is the number of consecutive KVs of a head that attention handles together: each partition has
// its own maximum and sums, which are then combined in ascending order. In the CUDA engine a partition is one
// warp's work; a long context is split over many.
const Partition = 128

// softmax holds the attention of one query over the KVs of one head, as in NUMERICS.md §4: for each partition
// p
//
//	m_p = max s_i    e_i = exp(s_i - m_p)    z_p = Σ e_i
//
// and over all partitions
//
//	M = max m_p      w_p = exp(m_p - M)      Z = Σ w_p·z_p      f_p = w_p / Z
//
// so that the attention weight of a KV of partition p is P_i = e_i·f_p.
type softmax struct {
	max, sum, factor []float32 // m_p, z_p and f_p
}

// reset removes all partitions.
func (s *softmax) reset() { s.max, s.sum = s.max[:0], s.sum[:0] }

// add appends a partition with the given scores, and replaces the scores by their e_i.
func (s *softmax) add(scores []float32) {
	m := vec.Max(scores)
	vec.ExpSub(scores, scores, m)
	s.max = append(s.max, m)
	s.sum = append(s.sum, vec.Sum(scores))
}

// addSeen is add with some KVs hidden: they do not count for the maximum, and have e_i = 0. A partition with
// all KVs hidden has m_p = −∞ and z_p = 0.
func (s *softmax) addSeen(scores []float32, hidden []bool) {
	m := float32(math.Inf(-1))
	for i, score := range scores {
		if !hidden[i] {
			m = max(m, score)
		}
	}
	for i, score := range scores {
		if hidden[i] {
			scores[i] = 0
		} else {
			scores[i] = vec.Exp(score - m)
		}
	}
	s.max = append(s.max, m)
	s.sum = append(s.sum, vec.Sum(scores))
}

// factors returns f_p for every partition. A partition with all KVs hidden has f_p = 0, since exp(−∞) is 0
// and some partition has a finite maximum.
func (s *softmax) factors() []float32 {
	m := vec.Max(s.max)
	s.factor = append(s.factor[:0], s.max...)
	var z float32
	for p, mp := range s.max {
		w := vec.Exp(mp - m)
		s.factor[p] = w
		z += float32(w * s.sum[p])
	}
	for p := range s.factor {
		s.factor[p] /= z
	}
	return s.factor
}

// Attend computes the attention of one query over KVs in the order of NUMERICS.md §4. scores, [n], are their s_i,
// which it replaces by the attention weights P_i; values are [n, D]. It writes out [D]. D is a multiple of 8 up to
// vec.MaxD, and n at least 1.
func Attend(out, scores, values []float32) {
	d := len(out)
	var soft softmax
	var partial []float32 // [partitions, D] o_p
	for first := 0; first < len(scores); first += Partition {
		e := scores[first:min(first+Partition, len(scores))]
		soft.add(e)
		partial = append(partial, make([]float32, d)...)
		vec.Accumulate(partial[len(partial)-d:], e, len(e), values[first*d:][:len(e)*d], 1, d)
	}
	clear(out)
	for p, f := range soft.factors() {
		for i, o := range partial[p*d:][:d] {
			out[i] += float32(o * f)
		}
		first := p * Partition
		for i, e := range scores[first:min(first+Partition, len(scores))] {
			scores[first+i] = float32(e * f)
		}
	}
}

// addGains adds to gained what one query's attention adds to the metrics of the KVs of one partition: P² or
// P, with P = e·f_p, where e has the partition's e_i and factor is f_p. Each product is rounded before it is
// used.
func addGains(norm Norm, gained, e []float32, factor float32) {
	gained = gained[:len(e)]
	if norm == L1 {
		for i, e := range e {
			gained[i] += float32(e * factor)
		}
		return
	}
	for i, e := range e {
		p := float32(e * factor)
		gained[i] += float32(p * p)
	}
}
