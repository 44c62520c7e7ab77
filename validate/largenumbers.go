package validate

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/ref/draw"
	"kvcompress/trace"
)

// laterTokens are the tokens of an OpLater: they exceed a word of 32 positions, the words of one, four and
// eight warps, and 16 bits.
var laterTokens = []int{31, 1100, 5000, 8200, 1<<16 - 3, 1<<16 + 40}

// edgeOfNumbers returns the i-th small pipeline with large numbers: positions, options, block numbers, offsets
// in arrays with a number for each slot, and rows of the block tables. Five times as many consecutive i as there
// are methods cover every method and format. It is nil if no such pipeline of the method is valid.
func edgeOfNumbers(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
	n := len(methods)
	m, format := methods[i%n], edgeFormats[(i%n+i/n)%len(edgeFormats)]
	if m.OwnPages {
		format = edgeFormats[(i%n+i/n)%pageFormats]
	}
	for range maxEdgeDraws {
		p := &Pipeline{
			Shape:  kv.Shape{Layers: 1 + r.IntN(2), KVHeads: 1 + r.IntN(3), HeadSize: 8, Group: pick(r, 1, 2, 4)},
			Inputs: Inputs{Seed: r.Uint64(), Integers: r.IntN(4) == 0, Spread: true, Scale: 1},
			Rope:   &trace.Rope{Base: 10000, RotarySize: 8, Pairing: pick(r, trace.Half, trace.Interleaved)},
		}
		p.Inputs.Spread = !p.Inputs.Integers
		p.Config = ref.Default()
		p.Config.BlockSize, p.Config.DType, p.Config.Blocks = 32, format, 1
		found, err := p.drawMethod(r, []*draw.Method{m}, anyReading)
		if err != nil || !found {
			return nil, err
		}
		p.largeOptions(r)
		p.fillEdges(r, 3, pick(r, edgePrompts...), pick(r, 0, pick(r, edgePrompts...)))
		if cfg := p.config(); cfg.Validate() != nil || p.work() > maxEdgeWork {
			continue
		}
		if !m.OwnPages { // methods with quantized or merged pages keep every token
			p.comeLater(r)
		}
		p.placeSlotsFar()
		p.placeRowsFar()
		return p, nil
	}
	return nil, nil
}

// grownTokens are the KVs of an OpGrow: more than a thread block processes in one round, more than one thread
// block processes at all, and more than 16 bits.
var grownTokens = []int{4200, 1<<16 + 40, 1100, 8300, 600, 2100}

// edgeOfGrowth returns the i-th pipeline with long heads. As many consecutive i as there are methods cover every
// method. It is nil if no such pipeline of the method is valid.
func edgeOfGrowth(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
	for range maxEdgeDraws {
		p := &Pipeline{
			Shape:  kv.Shape{Layers: 1, KVHeads: 1, HeadSize: 8, Group: pick(r, 1, 1, 2)},
			Inputs: Inputs{Seed: r.Uint64(), Spread: true, Scale: 1},
			Rope:   &trace.Rope{Base: 10000, RotarySize: 8, Pairing: pick(r, trace.Half, trace.Interleaved)},
		}
		p.Config = ref.Default()
		p.Config.BlockSize, p.Config.DType, p.Config.Blocks = pick(r, kv.BlockSizes()...), pick(r, edgeFormats...), 1
		found, err := p.drawMethod(r, methods[i%len(methods):][:1], anyReading)
		if err != nil || !found {
			return nil, err
		}
		n := grownTokens[(i%len(methods)+i/len(methods))%len(grownTokens)]
		if c := &p.Config.Compression; c.MaxCacheTokens > 0 && r.IntN(2) == 0 {
			c.MaxCacheTokens += pick(r, n/2, n-40) // large enough that most KVs are kept
		}
		p.fillEdges(r, 2, pick(r, edgePrompts...))
		if cfg := p.config(); cfg.Validate() != nil {
			continue
		}
		p.Config.Blocks += (n/p.Config.BlockSize + 1) * p.Shape.Heads()
		p.Inputs.Tokens[0] += n
		p.Operations = slices.Insert(p.Operations, pick(r, 1, 1, 2), Operation{OpGrow, []kv.SeqID{0}, n})
		return p, nil
	}
	return nil, nil
}

// largeOptions adds 2¹⁶ to some of the integer options, if the configuration stays valid.
func (p *Pipeline) largeOptions(r *rand.Rand) {
	for _, key := range slices.Sorted(maps.Keys(p.Config.Set)) {
		var n int
		if json.Unmarshal(p.Config.Set[key], &n) != nil || r.IntN(3) > 0 {
			continue
		}
		p.set(key, n+1<<16)
		if cfg := p.config(); cfg.Validate() != nil {
			p.set(key, n)
		}
	}
	m, c := &p.Config.Metric, &p.Config.Compression
	for _, n := range []*int{&c.MaxCacheTokens, &c.Sinks, &c.ProtectedWindow, &m.Window, &m.Buffer} {
		if *n > 0 && r.IntN(4) == 0 {
			*n += 1 << 16
		}
	}
}

// comeLater inserts an OpLater before one or two of the operations after the first prefill.
func (p *Pipeline) comeLater(r *rand.Rand) {
	for range 1 + r.IntN(2) {
		at := 1 + r.IntN(len(p.Operations)-1)
		id := kv.SeqID(r.IntN(len(p.Inputs.Tokens)))
		n := pick(r, laterTokens...)
		p.Inputs.Tokens[id] += n
		p.Operations = slices.Insert(p.Operations, at, Operation{OpLater, []kv.SeqID{id}, n})
	}
}
