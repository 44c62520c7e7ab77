package validate

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"kvcompress/dtype"
	"kvcompress/internal/testsize"
)

// TestEdgesOfRules: each rule has pipelines, which can be run and whose method follows the rule. Some have the cache
// behind 2²⁹ slots.
func TestEdgesOfRules(t *testing.T) {
	methods := withPlain.of(allMethods(t))
	far, n := 0, testsize.Of(2, 2, 4)*len(edgeRules)
	for i := range n {
		p, err := edgeOfRule(rand.New(rand.NewPCG(1, uint64(i))), i, methods)
		if err != nil {
			t.Fatal(err)
		}
		if p == nil {
			t.Errorf("rule %d has no pipeline", i)
			continue
		}
		if err := p.check(); err != nil {
			t.Errorf("%s: %v", p, err)
		}
		if 4*p.Before*p.Config.BlockSize >= farBytes {
			far++
		}
		if cfg := p.config(); !edgeRules[i%len(edgeRules)](&cfg, p.newMethod()) {
			t.Errorf("rule %d has a pipeline of another: %s", i%len(edgeRules), p)
		}
	}
	if far < 3 {
		t.Errorf("%d of %d pipelines have the cache behind 2²⁹ slots", far, n)
	}
	if p, err := edgeOfRule(rand.New(rand.NewPCG(1, 0)), 0, only(t, "random")); p != nil || err != nil {
		t.Errorf("a pipeline of a method that does not follow the rule: %v, %v", p, err)
	}
}

// TestDigitScore: keys have digits at both ends in every place, and all scores are finite.
func TestDigitScore(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 0))
	var have [4][256]int
	for range 4000 {
		f := digitScore(r.Uint64(), true)
		if f != f || math.IsInf(float64(f), 0) {
			t.Fatal(f)
		}
		bits := math.Float32bits(f)
		key := bits ^ 1<<31
		if bits>>31 == 1 {
			key = ^bits
		}
		for i := range have {
			have[i][key>>(24-8*i)&255]++
		}
	}
	for i := range have {
		for _, digit := range []int{0, 1, 254, 255} {
			if want := 100; have[i][digit] < want {
				t.Errorf("digit %d of the key is %d in %d of 4000 scores, want %d", i, digit, have[i][digit], want)
			}
		}
	}
	if f := digitScore(r.Uint64(), false); f != 0 {
		t.Errorf("a further number is %v", f)
	}
}

// TestTies: most values lie halfway between two numbers of the format.
func TestTies(t *testing.T) {
	for _, format := range edgeFormats[1:] {
		r, halfway := rand.New(rand.NewPCG(1, 0)), 0
		numbers := numbersOf(format)
		for range 1000 {
			f := float64(tie(r.Uint64(), format))
			i, _ := slices.BinarySearch(numbers, f)
			if 0 < i && i < len(numbers) && numbers[i] > f && f-numbers[i-1] == numbers[i]-f {
				halfway++
			}
		}
		if halfway < 600 {
			t.Errorf("%s: %d of 1000 are halfway", format, halfway)
		}
	}
}

// numbersOf returns a format's finite numbers, ascending.
func numbersOf(format dtype.DType) []float64 {
	var numbers []float64
	for code := range 1 << (8 * format.Size()) {
		var one [1]float32
		format.Decode(one[:], []byte{byte(code), byte(code >> 8)}[:format.Size()])
		if x := float64(one[0]); !math.IsNaN(x) && !math.IsInf(x, 0) {
			numbers = append(numbers, x)
		}
	}
	slices.Sort(numbers)
	return slices.Compact(numbers)
}
