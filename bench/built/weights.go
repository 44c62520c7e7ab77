package built

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
)

// The residual stream has a constant, a mark of BOS, and four codes of codeSize elements: of
// the token, of the previous one, of the predicted one, and a sum of what the other heads read.
// A token's code has elements ±1; that of BOS is 0. The constant and BOS's mark have the norm of
// a code, so that all tokens have the same norm.
const (
	codeSize = 64
	atConst  = 0
	atBOS    = 1
	atToken  = 2
	atBefore = atToken + codeSize
	atNext   = atBefore + codeSize
	atOther  = atNext + codeSize
	dim      = atOther + codeSize

	constant = 8 // √codeSize
)

// RoPE turns pair i of a head's elements, i and i+half, by ropeBase^(−i/half) radians for each
// position: 1 for the first pair, and less than 0.17 in 8,192 positions from slowPair on. Fast
// pairs encode positions, slow pairs hold codes.
const (
	headSize = 128
	half     = headSize / 2
	ropeBase = 1e10

	fastPairs = 17 // 0…16, down to 0.003 radians
	localPair = 6  // from here on positions are coarse enough for local heads
	slowPair  = 30
	restPair  = 62 // for the first token of the sequence
)

// The attention logits of the tokens that a head attends to, in nats above the others'. They
// are large enough that these tokens get nearly all weight in contexts of thousands of tokens.
const (
	matchLogit = 40 // of a copy; other tokens' codes have up to half of it
	restLogit  = 22 // of BOS, if an induction head finds no copy; the norm multiplies it by up to 1.23
	sinkLogit  = 20 // of BOS, in sink heads
	nextLogit  = 16 // of a predicted token
)

// maxOverlap bounds the magnitude of the dot product of two codes: equal signs less unequal ones.
const maxOverlap = 32

// matrix is a weight matrix [rows, cols], row-major.
type matrix struct {
	rows, cols int
	data       []float32
}

func newMatrix(rows, cols int) *matrix {
	return &matrix{rows, cols, make([]float32, rows*cols)}
}

// set rounds to 2⁻¹⁶, so that the last bit of a cosine does not matter.
func (m *matrix) set(row, col int, x float64) {
	m.data[row*m.cols+col] = float32(math.Round(x*(1<<16)) / (1 << 16))
}

// codes draws a code for every token; BOS has none.
func (o Options) codes() ([]uint64, error) {
	random := rand.New(rand.NewPCG(o.Seed, 1))
	codes := make([]uint64, 1, o.Vocab)
	for tries := 0; len(codes) < o.Vocab; tries++ {
		if tries > 100*maxVocab {
			return nil, fmt.Errorf("built: seed %d: found only %d codes", o.Seed, len(codes))
		}
		c, good := random.Uint64(), true
		for _, other := range codes[1:] {
			if overlap := codeSize - 2*bits.OnesCount64(c^other); overlap > maxOverlap || overlap < -maxOverlap {
				good = false
				break
			}
		}
		if good {
			codes = append(codes, c)
		}
	}
	return codes, nil
}

// sign returns element j of a code.
func sign(code uint64, j int) float64 {
	if code>>j&1 == 1 {
		return 1
	}
	return -1
}

// attention has the projections of one layer.
type attention struct {
	q, k, v, o *matrix // q [H·G·D, dim], k and v [H·D, dim], o [dim, H·G·D]
}

// codeRow returns the element of a head's query or key that holds element j of a code.
func codeRow(j int) int {
	if j < codeSize/2 {
		return slowPair + j
	}
	return half + slowPair + j - codeSize/2
}

// attention makes the projections of layer l, without noise.
func (o Options) attention(l int) *attention {
	kvHeads := len(o.Heads[l])
	a := &attention{
		q: newMatrix(kvHeads*o.Group*headSize, dim),
		k: newMatrix(kvHeads*headSize, dim),
		v: newMatrix(kvHeads*headSize, dim),
		o: newMatrix(dim, kvHeads*o.Group*headSize),
	}
	for h, kind := range o.Heads[l] {
		a.key(o, l, h, kind)
		a.value(h, kind)
		for g := range o.Group {
			a.query(h*o.Group+g, kind)
			a.output(o, l, h*o.Group+g, kind)
		}
	}
	return a
}

// weight returns w such that a query w·x and a key w·x have the given logit, w²·x²/√D.
func weight(logit, x2 float64) float64 { return math.Sqrt(logit * math.Sqrt(headSize) / x2) }

// positional returns the weight of the constant in the fast pairs of a previous-token or local
// head, and the first of these pairs. The logit of a token Δ positions back is
// Σ_i A·cos(f_i·(Δ−1)) in a previous-token head and Σ_i A·cos(f_i·Δ) in a local one, where f_i
// is the frequency of pair i. A is chosen so that a previous-token head prefers the previous
// token to its neighbors by 14 nats, and the logit of a local head drops by one nat in six
// tokens.
func positional(kind Kind) (w float64, first int) {
	loss, nats, distance := 0.0, 14.0, 1.0
	if kind == Local {
		first, nats, distance = localPair, 1, 6
	}
	for i := first; i < fastPairs; i++ {
		loss += 1 - math.Cos(distance*frequency(i))
	}
	return weight(nats/loss, constant*constant), first
}

func frequency(pair int) float64 { return math.Pow(ropeBase, -float64(pair)/half) }

func (a *attention) key(o Options, l, h int, kind Kind) {
	row := h * headSize
	switch kind {
	case Previous, Local:
		w, first := positional(kind)
		for i := first; i < fastPairs; i++ {
			a.k.set(row+i, atConst, w)
		}
	case Induction, Echo:
		from := atToken
		if kind == Induction {
			from = atBefore
			a.k.set(row+restPair, atBOS, weight(restLogit, constant*constant))
		}
		for j := range codeSize {
			a.k.set(row+codeRow(j), from+j, weight(matchLogit, codeSize))
		}
	case Sink:
		a.k.set(row+restPair, atBOS, weight(sinkLogit, constant*constant))
	}
}

func (a *attention) query(head int, kind Kind) {
	row := head * headSize
	switch kind {
	case Previous, Local:
		w, first := positional(kind)
		for i := first; i < fastPairs; i++ {
			turn := 0.0
			if kind == Previous {
				turn = frequency(i) // one position back
			}
			a.q.set(row+i, atConst, w*math.Cos(turn))
			a.q.set(row+half+i, atConst, -w*math.Sin(turn))
		}
	case Induction, Echo:
		if kind == Induction {
			a.q.set(row+restPair, atConst, weight(restLogit, constant*constant))
		}
		for j := range codeSize {
			a.q.set(row+codeRow(j), atToken+j, weight(matchLogit, codeSize))
		}
	case Sink:
		a.q.set(row+restPair, atConst, weight(sinkLogit, constant*constant))
	}
}

func (a *attention) value(h int, kind Kind) {
	from := atToken
	switch kind {
	case Echo:
		from = atBefore
	case Sink, Uniform:
		return
	}
	for j := range codeSize {
		a.v.set(h*headSize+j, from+j, 1)
	}
}

// otherScale is the scale of the fourth code, which no head reads: small, so that it hardly changes the norm.
const otherScale = 0.125

func (a *attention) output(o Options, l, head int, kind Kind) {
	to, scale := atOther, otherScale
	switch {
	case kind == Sink || kind == Uniform:
		return
	case kind == Previous && l == o.writes():
		to, scale = atBefore, 1/float64(o.count(Previous, l+1)*o.Group)
	case kind == Induction:
		to, scale = atNext, 1/float64(o.count(Induction, len(o.Heads))*o.Group)
	}
	for j := range codeSize {
		a.o.set(to+j, head*headSize+j, scale)
	}
}

// squares returns the mean squares of the elements of the residual stream before layer l, for
// tokens other than BOS.
func (o Options) squares(l int) []float64 {
	x := make([]float64, dim)
	x[atConst] = constant * constant
	for j := range codeSize {
		x[atToken+j] = 1
		if o.after(l) {
			x[atBefore+j] = 1
		}
		if o.count(Induction, l) > 0 {
			x[atNext+j] = 1
		}
	}
	return x
}

// rootMeanSquare returns the root mean square of the residual stream before layer l, for nearly
// all tokens. It is the weight of the norm there, so that the norm changes nothing.
func (o Options) rootMeanSquare(l int) float64 {
	sum := 0.0
	for _, x := range o.squares(l) {
		sum += x
	}
	return math.Sqrt(sum / dim)
}

// addNoise adds uniform noise to the rows of one head in a projection.
func (o Options) addNoise(m *matrix, row int, squares []float64, random *rand.Rand) {
	signal, input := 0.0, 0.0
	for _, x := range squares {
		input += x
	}
	rows := m.data[row*m.cols:][:headSize*m.cols]
	for i, w := range rows {
		signal += float64(w*w) * squares[i%m.cols]
	}
	// Uniform numbers in [−1, 1] have a standard deviation of 1/√3.
	scale := o.Noise * math.Sqrt(3*signal/headSize/input)
	for i := range headSize {
		for j := range m.cols {
			x := scale * (2*random.Float64() - 1)
			m.set(row+i, j, float64(rows[i*m.cols+j])+x)
		}
	}
}
