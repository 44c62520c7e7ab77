package trace

import "math"

// How the heads of a synthetic trace come to behave as their kinds say.
//
// Every element of Q, K and V is noise. On top of it a head's dimensions are
// shared out among what its kind is made of, so that the parts of the sum q·k/√D
// do not disturb each other:
//
//	sink       1 dimension, large in every query and in the keys of the first
//	           SinkTokens tokens
//	local      pairs of dimensions, which queries and keys turn at the same few
//	           speeds as RoPE does: the sum of A·cos(2π·distance/period)
//	retrieval  the others: a few tokens of each NeedleBlock have as their key a
//	           random pattern of signs, and a query that seeks them has the same
//
// A logit of A nats above the noise outweighs e^A other tokens. The parts of a
// mixed head are set so that they share the attention about equally.

const (
	// SinkTokens is how many tokens at the beginning a sink head attends to.
	SinkTokens = 4
	// NeedleBlock is the distance of the needles of a retrieval head, in tokens.
	NeedleBlock = 64
	// NeedleTokens is how many tokens in a row one needle has.
	NeedleTokens = 3
	// topic is for how many queries in a row the same needle is sought.
	topic = 16

	// In nats. Against 32,768 tokens of noise a sink is e^(11+ln 4-ln 32768) = 7
	// times as heavy and a needle 100 times.
	sinkLevel   = 11
	needleLevel = 14
	lobeLevel   = 10 // by how much what is outside the window is lower, at least

	// farthest is the longest period of a local head: beyond this distance it sees
	// tokens as near again.
	farthest  = 18 // as a power of two
	maxPairs  = 10
	maxOctave = 6 // between the periods of two pairs, as a power of two
)

// plan is what is the same for all tokens of one KV head and its query heads.
type plan struct {
	kind  Head
	noise float64 // standard deviation of the noise of q and k
	value float64 // of v

	sink    float64 // amplitude, in q and in k
	sinkNat float64 // what one nat more takes in q

	pairAt int // the first dimension of the pairs
	pairs  int
	step   [maxPairs]uint32  // phase from token to token
	turn   [maxPairs]float64 // amplitude

	signAt int // the first dimension of the signs; the rest follows
	sign   float64
}

// newPlan makes the plan of a KV head of size d from its key.
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
	level := 0.0 // log-mass of the lobe of a local head
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
		// The lobe is half a Gaussian with a deviation of 0.4 windows.
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
	// What a long query makes of the keys' noise shall stay below half a nat.
	p.noise = min(p.noise, 0.5*math.Sqrt(root/norm))
	return p
}

// planLobe chooses periods that tell distances below the window from all others
// up to 2^farthest, in at most room pairs, and the logit of each in turn. The
// first is 8 windows long, so that the window is the top of its wave; each
// following one is low wherever those before it are high again. It returns the
// head's own window, which is a little narrower than that of its kind.
func (p *plan) planLobe(window, room int, key uint64) float64 {
	period := max(6, uint64(window)*(6*256+below(key, 2*256))/256)
	octaves := 0
	for period<<octaves < 1<<farthest {
		octaves++
	}
	room = min(room, maxPairs)
	p.pairs = min(room, 1+(octaves+1)/2) // two octaves apart, if there is room
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
