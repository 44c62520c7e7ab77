package validate

import (
	"math"
	"math/rand/v2"

	"kvcompress/internal/splitmix"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/ref/draw"
	"kvcompress/ref/vec"
)

// cosines are numbers c at which a fault in what MiniCache computes from the cosine of two vectors changes a distance or a
// weight, if the weight t of the deeper layer is one of angleWeights: faults in arccos c ([vec.Acos]) and in the three sines
// ([vec.Sin]) of the angle and its parts. Some of these faults change the result at fewer than one of 10⁵ cosines. TestCosines
// has the faults.
var cosines = []float32{
	0x1.000002p-01, 0x1.110b44p-26, -0x1.bbbd2ep-24, -0x1.e8fa4cp-02, 0x1.f92734p-02, -0x1.cfc2eep-04, -0x1.1102e6p-01,
	-0x1.773f3ap-03, -0x1.5929a4p-08, -0x1.40a656p-01, -0x1.e3b1a6p-02, 0x1.4bdabap-02, -0x1.4306e8p-01, -0x1.5df308p-02,
	-0x1.b00746p-05, -0x1.de446cp-02, -0x1.3b13f6p-01, -0x1.c57184p-01, -0x1.ef46dp-01, -0x1.fa4d8p-01, 0x1.65c18cp-01,
	0x1.27f976p-01,
}

// angleWeights are the weights t of the deeper layer in the pipelines of edgeOfAngles. With each of them another part of the
// angle can be more than a quarter turn.
var angleWeights = []float64{0.25, 0.75}

// angledVectors sets x and y to vectors of a number, whose cosine is cosines[number%len(cosines)], or in some numbers only close
// to it. Both have 8 bits in each element, so that every format has them. y has two elements that are not 0, of which x has a
// multiple. The others of x are integers, so that their sum of squares is exact.
func angledVectors(x, y []float32, seed uint64, number uint16) {
	clear(y)
	c := cosines[int(number)%len(cosines)]
	key := splitmix.Next(seed ^ uint64(number))
	var rest float64
	for range 100 {
		key = splitmix.Next(key)
		y[0], y[1] = float32(128+key%128), float32(128+key>>8%128)
		square := float64(y[0]*y[0] + y[1]*y[1])
		_, exponent := math.Frexp(math.Sqrt(square) / float64(c))
		factor := math.Copysign(math.Ldexp(1, 11-exponent), float64(c)) // so that x is 1024 to 2048 long
		rest = math.Round(factor * factor * square * (1/(float64(c)*float64(c)) - 1))
		x[0], x[1] = float32(factor)*y[0], float32(factor)*y[1]
		length, unit := float32(math.Sqrt(rest+factor*factor*square)), float32(math.Sqrt(square))
		if float32(x[0]/length*(y[0]/unit))+float32(x[1]/length*(y[1]/unit)) == c {
			break
		}
	}
	const most, last = 255, 12 // the last elements are as large as possible, until nothing is left
	for j := 2; j < len(x); j++ {
		bits := splitmix.Next(key ^ uint64(j))
		n := min(most, math.Floor(math.Sqrt(rest)))
		if left := len(x) - j; left > last {
			n = min(n, math.Floor(math.Sqrt(3*rest/float64(left))*float64(bits>>11)/(1<<53)))
		}
		rest -= n * n
		x[j] = float32(n) * float32(1-2*int(bits&1))
	}
}

// cosine returns the cosine of two vectors, as a kernel computes it.
func cosine(x, y []float32) float32 {
	dot := func(a, b []float32) float32 {
		var sum [1]float32
		vec.Dots(sum[:], a, b, len(a))
		return sum[0]
	}
	unit := func(v []float32) []float32 {
		length, u := float32(math.Sqrt(float64(dot(v, v)))), make([]float32, len(v))
		for j := range v {
			u[j] = v[j] / length
		}
		return u
	}
	return dot(unit(x), unit(y))
}

// edgeOfAngles returns the i-th pipeline of a method that merges, of vectors whose cosines are among cosines, and whose
// directions have an element near a tie (see nearTie): twelve consecutive i that are not nil cover every method, format and
// weight. It is nil for three of four i, if the method is not among methods, and if none was found.
func edgeOfAngles(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
	if i%4 != 3 {
		return nil, nil
	}
	i /= 4
	merging := &edgeMerging[i%2]
	return edgeOfVectors(r, merging.name, edgeFormats[i/2%pageFormats], len(cosines), methods, func(p *Pipeline) error {
		const each = 2 // vectors of a cosine
		p.Inputs.Angles = true
		p.set("t", angleWeights[i/2/pageFormats%2])
		by := p.newMethod().(ref.Merger).Merging()
		x, y, found := make([]float32, kv.MaxHeadSize), make([]float32, kv.MaxHeadSize), make([]int, len(cosines))
		for number := range uint16(1 << 14) {
			k := int(number) % len(cosines)
			if found[k] == each {
				continue
			}
			angledVectors(x, y, p.Inputs.Seed, number)
			if cosine(x, y) != cosines[k] {
				continue
			}
			near, err := nearTie(p.Config.DType, x, y, by.Slerp)
			if err != nil {
				return err
			}
			if near {
				found[k]++
				p.Inputs.Vectors = append(p.Inputs.Vectors, number)
			}
		}
		return nil
	})
}
