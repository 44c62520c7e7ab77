package cost

import (
	"errors"
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"
)

// leastSquares is a non-linear least-squares problem with bounds: find the x, with
// least[k] ≤ x[k] ≤ maxFactor, that minimises
//
//	Σ ρ(rᵢ(x)) + Σ pₖ(xₖ)²,  ρ(r) = 2δ²(√(1 + (r/δ)²) − 1),  pₖ(x) = trust·(x − start[k])/scale[k]
//
// of the residuals r of measurements and a prior p on each unknown. ρ is the pseudo-Huber loss: about
// r² for errors well below δ and 2δ|r| for errors well above, so that a few outliers do not decide
// the fit.
type leastSquares struct {
	residuals func(x []float64) ([]float64, error)
	least     []float64
	start     []float64
	scale     []float64 // natural size of a change of each x
	trust     float64
	delta     float64
}

// Bounds on the work of a solution. A fit that has not converged by then is returned as it is.
const (
	reweightings  = 8
	stepsOfWeight = 12
	dampings      = 12 // damping values tried for one step
)

// solve returns the solution and its Jacobian, of the residuals and then the priors.
//
// Each reweighting holds the weights w = ρ′(r)/2r = (1 + (r/δ)²)^−½ fixed and minimises
// Σ w·r² + Σ p² by the method of Levenberg and Marquardt: steps d solve
//
//	(JᵀWJ + μ·diag(JᵀWJ))·d = −JᵀW·r
//
// with μ lowered after a step that reduces the sum and raised after one that does not. An x at its
// bound is held there if the gradient points beyond the bound; steps beyond a bound end on it.
func (s *leastSquares) solve() ([]float64, *mat.Dense, error) {
	x := slices.Clone(s.start)
	r, err := s.all(x)
	if err != nil {
		return nil, nil, err
	}
	for range reweightings {
		w := s.weights(r)
		before := weightedSquares(r, w)
		if x, r, err = s.descend(x, r, w); err != nil {
			return nil, nil, err
		}
		if before-weightedSquares(r, w) < 1e-9*before {
			break
		}
	}
	j, err := s.jacobian(x, r)
	return x, j, err
}

// all returns the residuals and, after them, the priors.
func (s *leastSquares) all(x []float64) ([]float64, error) {
	r, err := s.residuals(x)
	if err != nil {
		return nil, err
	}
	for k := range x {
		r = append(r, s.trust*(x[k]-s.start[k])/s.scale[k])
	}
	return r, nil
}

// weights returns the pseudo-Huber weight of each residual, and 1 for the priors.
func (s *leastSquares) weights(r []float64) []float64 {
	w := make([]float64, len(r))
	for i := range r {
		w[i] = 1
		if i < len(r)-len(s.start) {
			w[i] = 1 / math.Hypot(1, r[i]/s.delta)
		}
	}
	return w
}

func weightedSquares(r, w []float64) float64 {
	sum := 0.0
	for i := range r {
		sum += float64(w[i] * float64(r[i]*r[i]))
	}
	return sum
}

// descend takes steps from x, with residuals r, as long as they reduce Σ w·r².
func (s *leastSquares) descend(x, r, w []float64) ([]float64, []float64, error) {
	damping := 1e-3
	now := weightedSquares(r, w)
	for range stepsOfWeight {
		j, err := s.jacobian(x, r)
		if err != nil {
			return nil, nil, err
		}
		reduced := false
		for range dampings {
			next := s.step(j, r, w, x, damping)
			nextR, err := s.all(next)
			if err != nil {
				return nil, nil, err
			}
			if sum := weightedSquares(nextR, w); sum < now {
				x, r, now, reduced = next, nextR, sum, true
				damping = max(damping/5, 1e-12)
				break
			}
			damping *= 4
		}
		if !reduced {
			break
		}
	}
	return x, r, nil
}

// jacobian returns the derivatives [residual][x], by forward differences.
func (s *leastSquares) jacobian(x, r []float64) (*mat.Dense, error) {
	j := mat.NewDense(len(r), len(x), nil)
	at := slices.Clone(x)
	for k := range x {
		h := 1e-4 * max(x[k], s.scale[k])
		at[k] = x[k] + h
		moved, err := s.all(at)
		if err != nil {
			return nil, err
		}
		for i, v := range moved {
			j.Set(i, k, (v-r[i])/h)
		}
		at[k] = x[k]
	}
	return j, nil
}

// step returns the end of a damped step from x, within the bounds.
func (s *leastSquares) step(j *mat.Dense, r, w, x []float64, damping float64) []float64 {
	n := len(x)
	var weighted mat.Dense
	weighted.Apply(func(i, _ int, v float64) float64 { return w[i] * v }, j)
	var a mat.Dense
	a.Mul(j.T(), &weighted)
	var g mat.VecDense
	g.MulVec(weighted.T(), mat.NewVecDense(len(r), r))
	for k := range n {
		if x[k] > s.least[k] || g.AtVec(k) < 0 {
			a.Set(k, k, a.At(k, k)*(1+damping)+1e-12)
			continue
		}
		for l := range n { // x[k] is held at its bound
			a.Set(k, l, 0)
			a.Set(l, k, 0)
		}
		a.Set(k, k, 1)
		g.SetVec(k, 0)
	}
	next := slices.Clone(x)
	var d mat.VecDense
	if err := d.SolveVec(&a, &g); err != nil && d.Len() == 0 {
		return next
	}
	for k := range next {
		if v := x[k] - d.AtVec(k); !math.IsNaN(v) {
			next[k] = min(max(v, s.least[k]), maxFactor)
		}
	}
	return next
}

// undetermined reports for each x whether the measurements determine it less than its prior does:
// whether its variance (JᵀJ)⁻¹ₖₖ, with measurements and prior, is more than half of (scale/trust)²,
// the variance by the prior alone. Each residual counts with a standard deviation of 1.
func (s *leastSquares) undetermined(j *mat.Dense) ([]bool, error) {
	var a mat.SymDense
	a.SymOuterK(1, j.T())
	var inverse mat.Dense
	if err := inverse.Inverse(&a); err != nil {
		var ill mat.Condition // the inverse is computed nonetheless, and accurate enough for a factor of two
		if !errors.As(err, &ill) || math.IsInf(float64(ill), 1) {
			return nil, err
		}
	}
	list := make([]bool, len(s.start))
	for k := range list {
		prior := s.scale[k] / s.trust
		list[k] = inverse.At(k, k) > prior*prior/2
	}
	return list, nil
}
