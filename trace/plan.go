package trace

import "math"

// How the heads of a synthetic trace get the behaviour of their kinds.
//
// Every element of Q, K and V is noise. A head's dimensions are divided among the parts of its kind, so that
// the parts of the sum q·k/√D do not disturb each other:
//
//	sink       1 dimension, large in every query and in the keys of the first
//	           SinkTokens tokens
//	local      pairs of dimensions, which are rotated in queries and keys at the same
//	           few speeds, as in RoPE: the sum of A·cos(2π·distance/period)
//	retrieval  the other dimensions: in each NeedleBlock, a few tokens have a random
//	           pattern of signs as their key, and a query that looks for them has
//	           the same pattern
//
// A token whose logit is A nats above the noise has the weight of e^A other tokens. The parts of a mixed head
// are scaled so that they share the attention about equally.

const (
	// SinkTokens is how many tokens at the beginning a sink head attends to.
	SinkTokens = 4
	// NeedleBlock is the distance between the needles of a retrieval head, in tokens.
	NeedleBlock = 64
	// NeedleTokens is the length of a needle in consecutive tokens.
	NeedleTokens = 3
	// topic is the number of consecutive queries that look for the same needle.
	topic = 16

	// In nats. Compared with 32,768 tokens of noise a sink has e^(11+ln 4-ln 32768) = 7 times the weight, and
	// a needle 100 times.
	sinkLevel   = 11
	needleLevel = 14
	lobeLevel   = 10 // logits outside the window are lower by at least this

	// farthest is the longest period of a local head: tokens beyond this distance look near again.
	farthest  = 18 // as a power of two
	maxPairs  = 10
	maxOctave = 6 // largest ratio of the periods of two pairs, as a power of two
)

// plan is what all tokens of one KV head and its query heads have in common.
type plan struct {
	kind  Head
	noise float64 // standard deviation of the noise of q and k
	value float64 // standard deviation of v

	sink    float64 // amplitude, in q and in k
	sinkNat float64 // increase of q that raises the logit by one nat

	pairAt int // the first dimension of the pairs
	pairs  int
	step   [maxPairs]uint32  // phase from token to token
	turn   [maxPairs]float64 // amplitude

	signAt int // the first dimension of the signs; the rest follows
	sign   float64
}

// newPlan makes the plan of a KV head of size d from the head's key.
func newPlan(kind Head, d int, key uint64) plan {
	p := plan{
		kind:  kind,
		noise: 0.5,
		value: between(derive(key, 0), 0.5, 1.5),
	}
	if kind.Uniform {
		p.noise = between(derive(key, 1), 0.4, 0.65)
		return p
	}
	root := math.Sqrt(float64(d))
	at := 0
	if kind.Sink {
		at = 1
	}
	level := 0.0 // logarithm of the total weight of a local head's window
	norm := 0.0  // Σ of the parts' logits: |q|²/√d
	if kind.Local > 0 {
		room := (d - at) / 2
		if kind.Retrieval {
			room = d / 4
		}
		window := p.planLobe(kind.Local, room, derive(key, 2))
		p.pairAt = at
		at += 2 * p.pairs
		for i := range p.pairs {
			norm += p.turn[i]
			p.turn[i] = math.Sqrt(float64(p.turn[i] * root))
		}
		// The window's weights are half a Gaussian with a standard deviation of 0.4 windows.
		level = norm + ln(1+float64(0.5*window))
	}
	if kind.Retrieval {
		logit := needleLevel + between(derive(key, 3), -0.5, 0.5)
		if kind.Local > 0 {
			logit = level - ln(NeedleTokens)
		} else {
			level = logit + ln(NeedleTokens)
		}
		p.signAt = at
		p.sign = math.Sqrt(float64(logit*root) / float64(d-at))
		norm += logit
	}
	if kind.Sink {
		logit := sinkLevel + between(derive(key, 4), -0.5, 0.5)
		if kind.Local > 0 || kind.Retrieval {
			logit = level - ln(SinkTokens)
		}
		p.sink = math.Sqrt(float64(logit * root))
		p.sinkNat = root / p.sink
		norm += logit
	}
	// The product of a long query and the keys' noise must stay below half a nat.
	p.noise = min(p.noise, 0.5*math.Sqrt(root/norm))
	return p
}

// planLobe chooses the periods and amplitudes of at most room pairs so that distances below the window have
// higher logits than all others up to 2^farthest. The first period is 8 windows, so that the window is the
// top of the wave; each further wave is low where the earlier ones are high again. It returns the head's own
// window, which is a little narrower than that of its kind.
func (p *plan) planLobe(window, room int, key uint64) float64 {
	period := max(6, uint64(window)*(6*256+below(key, 2*256))/256)
	octaves := 0
	for period<<octaves < 1<<farthest {
		octaves++
	}
	room = min(room, maxPairs)
	p.pairs = min(room, 1+(octaves+1)/2) // two octaves apart, if room allows
	if p.pairs > 1 {
		octaves = min(octaves, maxOctave*(p.pairs-1))
	}
	at := 0
	for i := range p.pairs {
		before := at
		p.turn[i] = lobeLevel
		if i > 0 {
			at = octaves * i / (p.pairs - 1)
			_, cos := sincos(1 << 31 >> (at - before - 1))
			p.turn[i] = lobeLevel / (1 - cos)
		}
		p.step[i] = uint32((1 << 32) / (period << at))
	}
	return float64(period) / 8
}
