package validate

import (
	"math"
	"math/rand/v2"
	"slices"

	"kvcompress/dtype"
	"kvcompress/internal/ceil"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/ref/draw"
)

// unusual has the properties that make some random pipelines larger or their values harder. It is drawn
// separately from the rest of a pipeline.
type unusual struct {
	shape     *kv.Shape // nil for any
	blockSize int       // 0 for any
	prompts   []int     // of the sequences; nil for any
	edges     bool      // values at the edges of the cache's formats
	spread    bool      // values of many magnitudes
	scale     float32   // of the values; 0 for any
}

// randomUnusual draws the unusual properties of a seed's pipeline. In 5 of 16 pipelines on average a size is
// large, and in 7 of 16 the values are hard.
func randomUnusual(seed, refused uint64) unusual {
	r := rand.New(rand.NewPCG(seed, 1<<62+refused))
	u := randomLarge(r)
	switch r.IntN(16) {
	case 0, 1:
		u.edges = true
	case 2:
		u.scale = 12 // scores differ by 87 to 104, where e^x is subnormal
	case 3:
		u.scale = 0x1p-128 // most values are subnormal
	case 4, 5, 6:
		u.spread = true
	}
	return u
}

// maxLarge is the number of draws after which large sizes are dropped, if all draws were too much work.
const maxLarge = 50

// after returns the unusual properties after a number of draws that were too much work. From maxLarge draws
// on there are no large sizes: a method that observes all queries, for example, takes too long on long prompts.
func (u unusual) after(draws int) unusual {
	if draws >= maxLarge {
		u.shape, u.blockSize, u.prompts = nil, 0, nil
	}
	return u
}

// randomLarge draws a size at which kernels run another iteration of a loop, launch more thread blocks, or
// exceed the range of a type.
func randomLarge(r *rand.Rand) unusual {
	switch r.IntN(16) {
	case 0: // 2¹⁶ blocks, and a few less or more
		return unusual{
			shape:     &kv.Shape{Layers: 4, KVHeads: 16, Group: 1, HeadSize: 8},
			blockSize: 1,
			prompts:   []int{1020 + r.IntN(32)},
		}
	case 1: // more heads or layers than a thread block has threads, or a word has bits
		s := pick(r, [2]int{1, 257}, [2]int{3, 86}, [2]int{2, 513}, [2]int{65, 1}, [2]int{33, 8})
		return unusual{
			shape:   &kv.Shape{Layers: s[0], KVHeads: s[1], Group: pick(r, 1, 1, 2), HeadSize: 8},
			prompts: []int{1 + r.IntN(40), 1 + r.IntN(40)},
		}
	case 2: // many sequences
		u := unusual{shape: &kv.Shape{Layers: pick(r, 1, 2), KVHeads: pick(r, 1, 3), Group: pick(r, 1, 2), HeadSize: 8}}
		for range pick(r, 9, 17, 33, 65) {
			u.prompts = append(u.prompts, 1+r.IntN(40))
		}
		return u
	case 4: // positions and lengths past 16 bits
		return unusual{
			shape:   &kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 8},
			prompts: []int{1<<16 - 6 + r.IntN(12)},
		}
	case 3: // long sequences
		return unusual{
			shape:   &kv.Shape{Layers: 1, KVHeads: pick(r, 1, 2), Group: pick(r, 1, 2, 5), HeadSize: pick(r, 8, 16)},
			prompts: []int{pick(r, 1023, 1025, 2048, 4095, 4097, 5000), 1 + r.IntN(40)},
		}
	}
	return unusual{}
}

// longest reports whether positions exceed 16 bits. Prefills with a long window, and methods that compare all
// KVs with each other, take too long then.
func (u unusual) longest() bool { return len(u.prompts) > 0 && u.prompts[0] > 1<<15 }

// harden adds features that are drawn separately, so that the rest of a seed stays the same: scores with
// nearly equal costs, a cache beyond 2 GiB if blocks are large, and a head bias with many bins.
func (p *Pipeline) harden(seed, refused uint64) {
	r := rand.New(rand.NewPCG(seed, 1<<60+refused))
	p.hardScores(r)
	if r.IntN(4) == 0 {
		p.placeFar()
	}
	if c := &p.Config.Compression; c.HeadBias != nil && r.IntN(2) == 0 {
		c.HeadBias = draw.HeadBias(r, p.Shape, pick(r, 5, 8, 17, 40))
	}
	if r.IntN(4) == 0 {
		p.placeRowsFar()
	}
}

const (
	farBytes  = 1 << 31 // offset in an array that does not fit in 31 bits
	farBlocks = 1 << 16
	mostFar   = 1 << 19 // blocks before a far cache, to bound the free list
)

// placeFar places the cache so that block numbers do not fit in 16 bits and, if blocks are large enough, offsets of
// keys and values do not fit in 31 bits.
func (p *Pipeline) placeFar() {
	cfg := p.config()
	p.Before = max(farBlocks, (farBytes/(cfg.BlockSize*cfg.RowBytes())+31)/32*32)
	if p.Before > mostFar {
		p.Before = farBlocks
	}
}

// placeSlotsFar is placeFar, but offsets in arrays with a number for each slot do not fit in 31 bits either, unless this
// would exceed maxBeforeBytes before the cache. The free list is long then.
func (p *Pipeline) placeSlotsFar() {
	cfg := p.config()
	p.placeFar()
	if blocks := farBytes / 4 / p.Config.BlockSize; blocks <= maxBeforeBytes/cfg.BlockBytes() {
		p.Before = blocks
	}
}

// placeRowsFar gives the sequences such rows of the block tables that their offsets do not fit in 31 bits, and the numbers of
// their entries do not either, unless a head has fewer than four blocks, or also lists of quantized or merged pages.
func (p *Pipeline) placeRowsFar() {
	blocks, entries := max(1, ceil.Div(slices.Max(p.Inputs.Tokens), p.Config.BlockSize)), farBytes
	switch m := p.newMethod(); {
	case m == nil:
	case ref.KeepsAll(m):
		entries /= 4
	default: // a head's table has at most all blocks
		blocks = min(blocks, p.Config.Blocks)
	}
	p.BeforeRows = min(entries/blocks, farBytes/4)/p.Shape.Heads() + 1
}

// edge turns random bits into a value at an edge of a cache format: halfway between two of its numbers, next
// to that, or subnormal in binary32.
func edge(bits uint64) float32 {
	const exponents = 16 // 2⁻⁸ to 2⁷
	b := uint32(bits>>32)&0x807fffff | (127-exponents/2+uint32(bits>>8)%exponents)<<23
	dropped := [...]int{13, 16, 20, 21} // bits of a binary32 number that f16, bf16, e4m3 and e5m2 drop
	half := uint32(1) << (dropped[bits%4] - 1)
	switch bits / 4 % 8 {
	case 0:
		b &= 0x807fffff
	case 1:
		b = b&^(2*half-1) | half - 1
	case 2:
		b = b&^(2*half-1) | half + 1
	default:
		b = b&^(2*half-1) | half
	}
	return math.Float32frombits(b)
}

// tie turns random bits into a value halfway between two numbers of a cache's format, an eighth of them subnormal in it, or
// next to that.
func tie(bits uint64, format dtype.DType) float32 {
	numbers := ties[format]
	b := uint32(bits>>32)&0x807fffff | uint32(127+numbers.low+int(bits>>8%uint64(numbers.high-numbers.low+1)))<<23
	half := uint32(1) << (numbers.dropped - 1)
	b = b&^(2*half-1) | half
	if bits>>16&7 == 0 {
		steps := float64(bits>>32&(1<<(23-numbers.dropped)-1)) + 0.5
		b = math.Float32bits(float32(math.Ldexp(steps, numbers.step))) | b&(1<<31)
	}
	switch bits & 7 {
	case 0:
		b--
	case 1:
		b++
	}
	return math.Float32frombits(b)
}

// ties has, for each format, exponents of its normal numbers, how many bits of a binary32 number it drops, and the exponent
// of the step between its subnormal numbers. f32 drops none, and has f16's.
var ties = map[dtype.DType]struct{ low, high, dropped, step int }{
	dtype.F32:  {-14, 4, 13, -24},
	dtype.F16:  {-14, 4, 13, -24},
	dtype.BF16: {-14, 4, 16, -133},
	dtype.E4M3: {-6, 4, 20, -9},
	dtype.E5M2: {-14, 4, 21, -16},
}
