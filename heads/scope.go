package heads

import (
	"math"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// The scope of a head in an ALiBi model is the distance up to which a key can have a weight of ε or more
// (RazorAttention, Tang et al., arXiv 2407.15891). KVs further back can be dropped without a stand-in.
//
// The score of query m and key n of head h is q_m·k_n/√D − l_h·(m − n), where l_h is the head's slope. Since
// query m also attends to key m, the weight of key n is at most
//
//	exp(score(m, n) − score(m, m)) ≤ exp(2·B_h − l_h·(m − n))
//
// where B_h bounds |q·k|/√D. This is below ε if m − n > L_h = (2·B_h − ln ε)/l_h.

// Slopes returns the ALiBi slopes of n query heads: 2^(−8i/n) for i = 1 to n if n is a power
// of two. Otherwise they are the slopes of p heads, the largest power of two below n, and
// then the first, third, fifth … slope of 2·p heads until there are n.
func Slopes(n int) []float64 {
	p := 1
	for 2*p <= n {
		p *= 2
	}
	slopes := make([]float64, n)
	for i := range slopes {
		if i < p {
			slopes[i] = math.Exp2(-8 * float64(i+1) / float64(p))
		} else {
			slopes[i] = math.Exp2(-4 * float64(2*(i-p)+1) / float64(p))
		}
	}
	return slopes
}

// Projection computes a head's queries or keys from the norm's output x: W·x + b.
type Projection struct {
	Weight []float32 // [D, N]
	Bias   []float32 // [D], or nil for 0
}

// Norm is the LayerNorm or RMSNorm before a layer's attention: γ∘x̂ + β, where ‖x̂‖ ≤ √N.
type Norm struct {
	Gamma []float32 // [N]
	Beta  []float32 // [N], or nil for 0
}

// PublishedBound returns the paper's B_h, divided by √D since models divide their scores by it:
//
//	‖Wqᵀ·Wk‖₂ · (‖γ‖² + ‖β‖²) / √D
//
// It is not a bound if the elements of γ differ, since one element of x̂ may be as large as √(N−1), and it
// ignores the biases of the projections. See [ProvenBound].
func PublishedBound(q, k Projection, n Norm) float64 {
	square := func(x []float32) (sum float64) {
		for _, v := range x {
			sum += float64(v) * float64(v)
		}
		return sum
	}
	columns := len(n.Gamma)
	return spectral(dense(q.Weight, columns), dense(k.Weight, columns)) * (square(n.Gamma) + square(n.Beta)) / math.Sqrt(float64(len(q.Weight)/columns))
}

// ProvenBound returns a B_h that is valid for every x̂. With Pq = Wq·diag γ, pq = Wq·β + bq and Pk likewise,
// q_m·(k_n − k_m) is (Pq·x̂_m + pq)·Pk·(x̂_n − x̂_m): the constant part of the keys cancels. So 2·B_h can be
//
//	2·(N·‖Pqᵀ·Pk‖₂ + √N·‖Pkᵀ·pq‖) / √D
//
// It is rounded up by one part in 10⁹, which is more than all rounding errors of this computation.
func ProvenBound(q, k Projection, n Norm) float64 {
	columns := len(n.Gamma)
	rows := len(q.Weight) / columns
	pq, pk := dense(q.Weight, columns), dense(k.Weight, columns)
	var constant mat.VecDense
	constant.CloneFromVec(mat.NewVecDense(rows, wide(q.Bias, rows)))
	var beta mat.VecDense
	beta.MulVec(pq, mat.NewVecDense(columns, wide(n.Beta, columns)))
	constant.AddVec(&constant, &beta)
	gamma := wide(n.Gamma, columns)
	for i := range rows {
		floats.Mul(pq.RawRowView(i), gamma)
		floats.Mul(pk.RawRowView(i), gamma)
	}
	var across mat.VecDense
	across.MulVec(pk.T(), &constant)
	size := float64(columns)
	return (size*spectral(pq, pk) + math.Sqrt(size)*across.Norm(2)) / math.Sqrt(float64(rows)) * (1 + 1e-9)
}

// Scope returns L_h: keys further back have weights below epsilon, which is in (0, 1).
func Scope(bound, slope, epsilon float64) float64 { return (2*bound - math.Log(epsilon)) / slope }

// Held returns how many of the newest KVs a head with the given scope can attend to in a sequence of the
// given length: ⌊L_h⌋ + 1, including the query's own, and at most all.
func Held(scope float64, tokens int) int {
	if !(scope < float64(tokens)-1) {
		return tokens
	}
	return int(scope) + 1
}

// dense copies rows into a matrix.
func dense(x []float32, columns int) *mat.Dense {
	return mat.NewDense(len(x)/columns, columns, wide(x, len(x)))
}

// wide returns x as n float64 numbers, or n zeros if x is nil.
func wide(x []float32, n int) []float64 {
	w := make([]float64, n)
	for i, v := range x {
		w[i] = float64(v)
	}
	return w
}

// spectral returns ‖aᵀ·b‖₂, the largest singular value, of matrices with at most as many rows as columns.
// With the QR decompositions of aᵀ and bᵀ it is the largest singular value of Ra·Rbᵀ, a small matrix. If that
// cannot be computed, it returns infinity.
func spectral(a, b *mat.Dense) float64 {
	most := func(x *mat.Dense) float64 { return max(mat.Max(x), -mat.Min(x)) }
	ma, mb := most(a), most(b)
	if ma == 0 || mb == 0 {
		return 0
	}
	upper := func(x *mat.Dense) *mat.TriDense {
		rows, _ := x.Dims()
		var qr mat.QR
		var scaled mat.Dense
		scaled.Scale(1/most(x), x) // so that no square overflows
		qr.Factorize(scaled.T())
		var r mat.Dense
		qr.RTo(&r)
		t := mat.NewTriDense(rows, mat.Upper, nil)
		for i := range rows {
			for j := i; j < rows; j++ {
				t.SetTri(i, j, r.At(i, j))
			}
		}
		return t
	}
	var product mat.Dense
	product.Mul(upper(a), upper(b).T())
	var svd mat.SVD
	if !svd.Factorize(&product, mat.SVDNone) {
		return math.Inf(1)
	}
	return ma * mb * svd.Values(nil)[0]
}
