package cost

import (
	"errors"
	"math"

	"gonum.org/v1/gonum/mat"
)

// nnls returns the x ≥ 0 that minimises |a·x − b|, by the active-set method of
// Lawson and Hanson, Solving Least Squares Problems (1974), chapter 23. The rows of
// a are equations. A column that adds nothing to those before it stays at 0.
func nnls(a *mat.Dense, b []float64) ([]float64, error) {
	rows, n := a.Dims()
	scaled, scale := mat.NewDense(rows, n, nil), make([]float64, n)
	for j := range n {
		col := mat.Col(nil, j, a)
		scale[j] = mat.Norm(mat.NewVecDense(rows, col), 2)
		if scale[j] == 0 {
			scale[j] = 1
		}
		for i, v := range col {
			scaled.Set(i, j, v/scale[j])
		}
	}
	target := mat.NewVecDense(rows, b)
	const tolerance = 1e-10
	x, free := make([]float64, n), make([]bool, n)
	refused := make([]bool, n) // for this x: to free it made it negative at once
	for range 10*n + 10 {
		j := steepest(scaled, target, x, free, refused, tolerance*mat.Norm(target, 2))
		if j < 0 {
			for j := range x {
				x[j] /= scale[j]
			}
			return x, nil
		}
		free[j] = true
		for first := true; ; first = false {
			z, ok := solveFree(scaled, target, free)
			if !ok || first && z[j] <= 0 {
				free[j], refused[j] = false, true
				break
			}
			step, at := 1.0, -1
			for i := range z {
				if free[i] && z[i] <= 0 {
					if s := x[i] / (x[i] - z[i]); s < step || at < 0 {
						step, at = s, i
					}
				}
			}
			if at < 0 {
				x = z
				clear(refused)
				break
			}
			for i := range x {
				x[i] += step * (z[i] - x[i])
			}
			for i := range x {
				if free[i] && (i == at || x[i] <= 0) {
					x[i], free[i] = 0, false
				}
			}
		}
	}
	return nil, errors.New("cost: the fit does not settle")
}

// steepest returns the column, of those held at 0, along which the error falls
// fastest, the first of equals; −1 if there is none.
func steepest(a *mat.Dense, b *mat.VecDense, x []float64, free, refused []bool, tolerance float64) int {
	var rest, gradient mat.VecDense
	rest.MulVec(a, mat.NewVecDense(len(x), x))
	rest.SubVec(b, &rest)
	gradient.MulVec(a.T(), &rest)
	best, at := tolerance, -1
	for j := range x {
		if g := gradient.AtVec(j); !free[j] && !refused[j] && g > best*(1+1e-9) {
			best, at = g, j
		}
	}
	return at
}

// solveFree solves for the free columns alone. It reports false if they depend on
// each other.
func solveFree(a *mat.Dense, b *mat.VecDense, free []bool) ([]float64, bool) {
	rows, n := a.Dims()
	var at []int
	for j, f := range free {
		if f {
			at = append(at, j)
		}
	}
	if len(at) > rows {
		return nil, false
	}
	sub := mat.NewDense(rows, len(at), nil)
	for k, j := range at {
		sub.SetCol(k, mat.Col(nil, j, a))
	}
	var qr mat.QR
	qr.Factorize(sub)
	if c := qr.Cond(); math.IsNaN(c) || c > 1e10 {
		return nil, false
	}
	var z mat.VecDense
	if err := qr.SolveVecTo(&z, false, b); err != nil {
		return nil, false
	}
	x := make([]float64, n)
	for k, j := range at {
		x[j] = z.AtVec(k)
	}
	return x, true
}
