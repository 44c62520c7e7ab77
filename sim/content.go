package sim

import (
	"math/bits"

	"kvcompress/kv"
)

// Segment is consecutive tokens of a stream. Two tokens are alike if they are of one
// stream and at one position in it.
type Segment struct {
	Stream uint64
	First  int // position of its first token
	Tokens int
}

// Content is what the tokens of a request are.
type Content struct {
	Prompt []Segment
	Output uint64 // stream of the tokens that it generates, by their position in the sequence
}

// contentOf is the Content of a request whose prefix hashes stand for tokens tokens each:
// a stream for each prefix block, after the blocks before it, and one that is the
// request's own for all other tokens.
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

// ownStream keeps the streams of requests apart from those of prefix blocks.
const ownStream = 0x6f776e2073747265

// segment returns the segment of the token at a position, and how many tokens from there
// on are in it.
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

// block returns the hash of the block of n tokens from a position on, after a block with
// hash before.
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

// mix returns a hash of two numbers, of which the first may be a hash: the folded product
// of each, with a constant added, as in wyhash.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^0xa0761d6478bd642f, b^0xe7037ed1a0b428db)
	h := hi ^ lo
	h ^= h >> 32
	h *= 0x9fb21c651e98df25
	return h ^ h>>28
}
