package sim

import (
	"math/bits"

	"kvcompress/kv"
)

// Segment is a range of consecutive tokens of a stream. Two tokens are equal if they have the same stream
// and the same position in it.
type Segment struct {
	Stream uint64
	First  int // position of its first token
	Tokens int
}

// Content identifies the tokens of a request.
type Content struct {
	Prompt []Segment
	Output uint64 // stream of the generated tokens, by their position in the sequence
}

// contentOf returns the Content of a request whose prefix hashes stand for this many tokens each. Each
// prefix block has a stream that depends on it and on the blocks before it; all other tokens have a
// stream that only this request has.
func contentOf(id kv.SeqID, hashes []uint64, tokens, prompt int) Content {
	own := mix(ownStream, uint64(id))
	c := Content{Output: own}
	stream := uint64(0)
	for _, h := range hashes {
		stream = mix(stream, h)
		c.Prompt = append(c.Prompt, Segment{stream, 0, tokens})
		prompt -= tokens
	}
	if prompt > 0 {
		c.Prompt = append(c.Prompt, Segment{own, len(hashes) * tokens, prompt})
	}
	return c
}

// ownStream makes the streams of requests differ from those of prefix blocks.
const ownStream = 0x6f776e2073747265

// segment returns the segment of the token at a position, and the number of tokens in it from there on.
func (c *Content) segment(at int) (s Segment, left int) {
	first := 0
	for _, s := range c.Prompt {
		if at < first+s.Tokens {
			s.First += at - first
			return s, first + s.Tokens - at
		}
		first += s.Tokens
	}
	return Segment{c.Output, at, 1}, 1
}

// block returns the hash of the block of n tokens from position at on; before is the hash of the block
// before it.
func (c *Content) block(before uint64, at, n int) uint64 {
	h := before
	for n > 0 {
		s, left := c.segment(at)
		left = min(left, n)
		for i := range left {
			h = mix(mix(h, s.Stream), uint64(s.First+i))
		}
		at += left
		n -= left
	}
	return h
}

// mix returns a hash of two numbers, the first of which may be a hash: as in wyhash, the folded product
// of the two, each XORed with a constant.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^0xa0761d6478bd642f, b^0xe7037ed1a0b428db)
	h := hi ^ lo
	h ^= h >> 32
	h *= 0x9fb21c651e98df25
	return h ^ h>>28
}
