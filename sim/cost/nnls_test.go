package cost

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/mat"
)

// residual returns |a·x − b|².
func residual(a *mat.Dense, b, x []float64) float64 {
	var r mat.VecDense
	r.MulVec(a, mat.NewVecDense(len(x), x))
	r.SubVec(&r, mat.NewVecDense(len(b), b))
	return mat.Dot(&r, &r)
}

// bruteNNLS solves for every subset of the columns and takes the best of the
// solutions without a negative.
func bruteNNLS(a *mat.Dense, b []float64) float64 {
	_, n := a.Dims()
	best := mat.Dot(mat.NewVecDense(len(b), b), mat.NewVecDense(len(b), b))
	for set := 1; set < 1<<n; set++ {
		free := make([]bool, n)
		for j := range n {
			free[j] = set>>j&1 == 1
		}
		x, ok := solveFree(a, mat.NewVecDense(len(b), b), free)
		negative := !ok
		for _, v := range x {
			negative = negative || v < 0
		}
		if !negative {
			best = min(best, residual(a, b, x))
		}
	}
	return best
}

func TestNNLS(t *testing.T) {
	for seed := range 300 {
		rng := rand.New(rand.NewPCG(uint64(seed), 3))
		rows, n := 1+rng.IntN(12), 1+rng.IntN(6)
		a, b := mat.NewDense(rows, n, nil), make([]float64, rows)
		for i := range rows {
			b[i] = rng.NormFloat64() + 0.5
			for j := range n {
				a.Set(i, j, rng.NormFloat64()*math.Pow(10, float64(j)))
			}
		}
		x, err := nnls(a, b)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for _, v := range x {
			if v < 0 {
				t.Fatalf("seed %d: %v", seed, x)
			}
		}
		if got, want := residual(a, b, x), bruteNNLS(a, b); got > want*(1+1e-6)+1e-9 {
			t.Errorf("seed %d: %d×%d: %v leaves %g, the best %g", seed, rows, n, x, got, want)
		}
	}
}

// TestNNLSAlike solves with columns that are multiples of each other, and with a column of zeros.
func TestNNLSAlike(t *testing.T) {
	a := mat.NewDense(3, 4, []float64{1, 2, 0, 1, 2, 4, 0, 0, 3, 6, 0, 1})
	x, err := nnls(a, []float64{2, 4, 6})
	if err != nil || math.Abs(x[0]-2) > 1e-9 || x[1] != 0 || x[2] != 0 || math.Abs(x[3]) > 1e-9 {
		t.Errorf("%v, %v: want all on the first of equal columns", x, err)
	}
}
