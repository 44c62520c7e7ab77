package validate

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"kvcompress/ref/merge"
)

// angleTolerance is the tolerance of distances near 0 and 1, those of parallel and opposite vectors. arccos
// turns a rounding error δ of the cosine into δ / sin Ω, which is 700·δ at the smallest angle.
const angleTolerance = 1e-4

// compareMiniCache compares one merged pair of layers: norms, directions, distances, retained tokens, and
// both layers as they are read back.
func compareMiniCache(c *methodCase) (CaseResult, error) {
	var (
		heads, tokens, dim int
		s                  merge.Slerp
		gamma              float64
		retained           [][]int32
		count              *int
		margin             *float64
	)
	if err := (fields{
		"heads": &heads, "tokens": &tokens, "dim": &dim, "interpolation": &s.T, "eps": &s.Eps, "retention_ratio": &gamma, "retained_indices": &retained,
	}).decode(c.found); err != nil {
		return CaseResult{}, err
	}
	if err := (fields{"retention_count": &count, "margin": &margin}).optional(c.found); err != nil {
		return CaseResult{}, err
	}
	if err := checkQuantShape(1, heads, tokens, dim, 1); err != nil {
		return CaseResult{}, err
	}
	if err := errors.Join(s.Check(), merge.CheckGamma(gamma)); err != nil {
		return CaseResult{}, err
	}
	if len(retained) != heads {
		return CaseResult{}, fmt.Errorf("retained_indices has %d heads, heads is %d", len(retained), heads)
	}
	n := merge.RatioCount(tokens, gamma)
	result := CaseResult{
		Detail:   fmt.Sprintf("%d heads of %d, %d tokens, t %v, eps %v, ratio %v: %d retained", heads, dim, tokens, s.T, s.Eps, gamma, n),
		Compared: "norms, directions, distances, retained tokens, and both layers as they are read back",
	}
	if count != nil {
		if *count < 0 {
			return CaseResult{}, fmt.Errorf("retention_count is %d, want at least 0", *count)
		}
		n = min(*count, tokens)
		result.Detail = fmt.Sprintf("%d heads of %d, %d tokens, t %v, eps %v: %d retained", heads, dim, tokens, s.T, s.Eps, n)
	}
	recorded := map[string][]float32{}
	for _, t := range []struct {
		name string
		dims []int
	}{
		{"current", []int{1, heads, tokens, dim}}, {"previous", []int{1, heads, tokens, dim}}, {"direction", []int{1, heads, tokens, dim}},
		{"current_magnitude", []int{1, heads, tokens, 1}}, {"previous_magnitude", []int{1, heads, tokens, 1}}, {"angular_distance", []int{1, heads, tokens}},
		{"restored_current", []int{1, heads, tokens, dim}}, {"restored_previous", []int{1, heads, tokens, dim}},
	} {
		var err error
		if recorded[t.name], err = c.floats(t.name, t.dims...); err != nil {
			return CaseResult{}, err
		}
	}
	deep, shallow, distances := recorded["current"], recorded["previous"], recorded["angular_distance"]
	m, err := s.Merge(deep, shallow, dim)
	if err != nil {
		return CaseResult{}, err
	}
	plain, err := s.Spec(deep, shallow, dim)
	if err != nil {
		return CaseResult{}, err
	}

	// Tokens that the recording retains are compared unmerged.
	current, previous := make([]float32, len(deep)), make([]float32, len(deep))
	merge.Restore(current, m.Directions, m.Deep)
	merge.Restore(previous, m.Directions, m.Shallow)
	for head, want := range retained {
		first := head * tokens
		mine := m.Distances[first : first+tokens]
		got := merge.Largest(mine, n)
		if !slices.Equal(got, merge.LargestSpec(mine, n)) {
			result.Mismatch = cmp.Or(result.Mismatch, fmt.Sprintf("head %d: Largest and LargestSpec retain different tokens", head))
		}
		result.Mismatch = cmp.Or(result.Mismatch, sameKept(head, got, want, distances[first:first+tokens], margin))
		result.Values += len(want)
		for _, i := range want {
			if i < 0 || int(i) >= tokens {
				return CaseResult{}, fmt.Errorf("retained_indices: head %d has token %d of %d", head, i, tokens)
			}
			at := (first + int(i)) * dim
			copy(current[at:at+dim], deep[at:at+dim])
			copy(previous[at:at+dim], shallow[at:at+dim])
		}
	}

	ofDirections := func(i int) float64 { return directionTolerance(s, m.Distances[i/dim]) }
	ofDistances := func(i int) float64 {
		if math.Sin(math.Pi*float64(m.Distances[i])) < tensorTolerance/angleTolerance {
			return angleTolerance
		}
		return tensorTolerance
	}
	for _, t := range []struct {
		name             string
		got, plain, want []float32
		tolerance        func(int) float64
	}{
		{"current_magnitude", m.Deep, plain.Deep, recorded["current_magnitude"], everywhere},
		{"previous_magnitude", m.Shallow, plain.Shallow, recorded["previous_magnitude"], everywhere},
		{"angular_distance", m.Distances, plain.Distances, distances, ofDistances},
		{"direction", m.Directions, plain.Directions, recorded["direction"], ofDirections},
		{"restored_current", current, nil, recorded["restored_current"], ofDirections},
		{"restored_previous", previous, nil, recorded["restored_previous"], ofDirections},
	} {
		if t.plain != nil && !slices.Equal(t.got, t.plain) {
			result.Mismatch = cmp.Or(result.Mismatch, t.name+": the quick form differs from the plain one")
		}
		mismatch, far := nearEach(t.name, t.got, t.want, t.tolerance)
		result.Mismatch = cmp.Or(result.Mismatch, mismatch)
		result.MaxError = max(result.MaxError, far)
		result.Values += len(t.want)
	}
	return result, nil
}

// everywhere is the tolerance of tensors with the same tolerance for every element.
func everywhere(int) float64 { return tensorTolerance }

// directionTolerance returns the tolerance of a direction's elements. Both implementations sum terms as large
// as the larger weight, w, with three roundings each; relative to the length of the sum,
// e|² = p² + q² + 2pq·cos Ω. Only for opposite vectors is this more than the tolerance of other tensors; it is
// capped at 10⁻³.
func directionTolerance(s merge.Slerp, distance float32) float64 {
	angle := math.Pi * float64(distance)
	sin := math.Sin(angle)
	p, q := math.Sin((1-s.T)*angle)/sin, math.Sin(s.T*angle)/sin
	length := math.Sqrt(max(0, p*p+q*q+2*p*q*math.Cos(angle)))
	const u = 0x1p-24
	if tolerance := 4 * u * max(p, q) / length; tolerance < 1e-3 {
		return max(tensorTolerance, tolerance)
	}
	return 1e-3
}

// nearEach is near with a tolerance for each element.
func nearEach(name string, got, want []float32, tolerance func(int) float64) (mismatch string, far float64) {
	largest := 1.0
	for _, v := range want {
		largest = max(largest, math.Abs(float64(v)))
	}
	for i := range want {
		distance := math.Abs(float64(got[i])-float64(want[i])) / largest
		far = max(far, distance)
		if !(distance <= tolerance(i)) && mismatch == "" {
			mismatch = fmt.Sprintf("%s[%d]: %g, %g recorded", name, i, got[i], want[i])
		}
	}
	return mismatch, far
}
