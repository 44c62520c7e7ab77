package validate

import (
	"math/rand/v2"
	"slices"

	"kvcompress/dtype"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/ref/draw"
	"kvcompress/trace"
)

// edgeOfCounts returns the i-th pipeline at which a count, or the number of rounds of a loop, is another than in most pipelines. It is
// nil for every eighth i, and if none was found.
func edgeOfCounts(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
	switch {
	case i%2 == 0:
		return edgeOfElements(r, i/2, methods)
	case i%4 == 3:
		return edgeOfCount(r, i/4, withPlain.of(methods))
	case i%16 == 1:
		return edgeOfFreeBlocks(r, methods)
	case i%16 == 9:
		return edgeOfFloor(r, methods)
	}
	return nil, nil
}

// edgeOfCount returns the i-th pipeline of edgeOfHoles, edgeOfChunks, edgeOfParts or edgeOfPieces.
func edgeOfCount(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
	switch i % 8 {
	case 3:
		return edgeOfHoles(r, i/8, methods)
	case 0, 4, 6:
		return edgeOfChunks(r, i/2, methods)
	case 2, 7:
		return edgeOfParts(r, methods)
	default:
		return edgeOfPieces(r, i/4, methods)
	}
}

// elementRules are predicates on methods, one for each kernel of attention in decode steps, and for each tile of keys in it.
var elementRules = []struct {
	methods methodSet
	is      func(cfg *ref.Config, m ref.Method) bool
}{
	{withPlain, edgeReadings[0]},
	{withPlain, edgeReadings[1]},
	{withPlain, edgeReadings[2]},
	{withOwnPages, func(cfg *ref.Config, m ref.Method) bool { return !merges(cfg, m) }},
	{withOwnPages, func(cfg *ref.Config, m ref.Method) bool { return merges(cfg, m) && !quantizes(m) }},
	{withOwnPages, func(cfg *ref.Config, m ref.Method) bool { return merges(cfg, m) && quantizes(m) }},
}

// oddElements is a head size at which a loop over every eighth four elements of a key, from the first eighth on, has fewer rounds if
// its step is nine: at multiples of 64 it has as many.
const oddElements = 248

// edgeOfElements returns the i-th pipeline of heads of oddElements, with a group of which a kernel takes four queries, two and one. 30
// consecutive i cover every rule of elementRules and every format.
func edgeOfElements(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
	rule, format := elementRules[i%len(elementRules)], i/len(elementRules)
	methods = rule.methods.of(methods)
	for range maxEdgeDraws {
		p := &Pipeline{
			Shape:  kv.Shape{Layers: 1, KVHeads: 1, HeadSize: oddElements, Group: 7},
			Inputs: Inputs{Seed: r.Uint64(), Spread: r.IntN(2) == 0, Scale: 1},
			Rope:   &trace.Rope{Base: 10000, RotarySize: oddElements, Pairing: pick(r, trace.Half, trace.Interleaved)},
		}
		p.Config = ref.Default()
		p.Config.BlockSize, p.Config.DType, p.Config.Blocks = pick(r, kv.BlockSizes()...), edgeFormats[format%len(edgeFormats)], 1
		if rule.methods == withOwnPages {
			p.Shape.Layers, p.Config.DType = 3, edgeFormats[format%pageFormats]
		}
		found, err := p.drawMethod(r, methods, rule.is)
		if err != nil {
			return nil, err
		}
		if !found { // small blocks hold no group
			continue
		}
		p.fillEdges(r, 2, 33+r.IntN(40))
		if rule.methods == withOwnPages { // new pages are taken before plain ones come free
			p.Config.Blocks *= 2
		}
		if cfg := p.config(); cfg.Validate() == nil && p.work() <= maxWork {
			return p, nil
		}
	}
	return nil, nil
}

// chunks are numbers of sequences, layers and KV heads, whose product exceeds the 1,024 heads of one thread block.
var chunks = [][3]int{{3, 3, 120}, {2, 4, 150}, {5, 2, 110}}

// edgeOfChunks returns the i-th pipeline in which several thread blocks give blocks to the heads of a decode step, and heads of
// all layers differ in length: some lose several small blocks, and others none. It is nil if KV-Compress is not among methods.
func edgeOfChunks(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
	size := chunks[i%len(chunks)]
	sequences := size[0]
	for range maxEdgeDraws {
		p := &Pipeline{
			Shape:  kv.Shape{Layers: size[1], KVHeads: size[2], HeadSize: 8, Group: 1},
			Inputs: Inputs{Seed: r.Uint64(), Scale: 4},
		}
		p.Config = ref.Default()
		p.Config.BlockSize, p.Config.DType, p.Config.Blocks = 2, edgeFormats[i%len(edgeFormats)], 1
		if found, err := p.drawMethod(r, named(methods, ref.KVCompress), anyReading); err != nil || !found {
			return nil, err
		}
		const least, steps = 9, 3
		p.Config.Metric = ref.Default().Metric
		p.Config.Metric.MaxPool = 0 // of KVs with the same cost, all would be lost by the first heads
		p.Config.Compression = ref.Compression{MaxCacheTokens: least - 1 - r.IntN(2)}
		var all []kv.SeqID
		for id := range sequences {
			n := least + id%2
			all = append(all, kv.SeqID(id))
			p.Inputs.Tokens = append(p.Inputs.Tokens, n+steps)
			p.Config.Blocks += ((n+steps)/p.Config.BlockSize + 1) * p.Shape.Heads()
			one := []kv.SeqID{kv.SeqID(id)}
			p.Operations = append(p.Operations, Operation{OpPrefill, one, n}, Operation{OpCompress, one, 0})
		}
		for range steps {
			p.Operations = append(p.Operations, Operation{OpDecode, slices.Clone(all), 0})
		}
		if cfg := p.config(); cfg.Validate() == nil && p.work() <= maxWork {
			p.placeRowsFar()
			return p, nil
		}
	}
	return nil, nil
}

// oddHeadSizes are head sizes for which an fp8 row has more pieces of 8 bytes than a warp has lanes for, and none of 16.
var oddHeadSizes = []int{136, 248, 168, 200}

// edgeOfPieces returns the i-th pipeline in which a warp moves a key and a value of fp8 in several rounds, beyond 2 GiB. It is nil if
// evicting at random is not among methods.
func edgeOfPieces(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
	p := &Pipeline{
		Shape:  kv.Shape{Layers: 1, KVHeads: 1 + r.IntN(2), HeadSize: oddHeadSizes[i%len(oddHeadSizes)], Group: 1},
		Inputs: Inputs{Seed: r.Uint64(), Spread: true, Scale: 1},
	}
	p.Config = ref.Default()
	p.Config.BlockSize, p.Config.DType, p.Config.Blocks = 32, pick(r, dtype.E4M3, dtype.E5M2), 1
	if found, err := p.drawMethod(r, named(methods, "random"), anyReading); err != nil || !found {
		return nil, err
	}
	p.Config.Compression = ref.Compression{MaxCacheTokens: 20 + r.IntN(20)}
	p.fillEdges(r, 2, 65+r.IntN(40))
	p.placeFar()
	return p, nil
}

// edgeOfParts returns a pipeline in which several thread blocks count the costs of a head that are multiplied by its share, and a
// few of its KVs cost less than all others. It is nil if Ada-SnapKV is not among methods.
func edgeOfParts(r *rand.Rand, methods []*draw.Method) (*Pipeline, error) {
	p := &Pipeline{
		Shape:  kv.Shape{Layers: 1, KVHeads: 2, HeadSize: 8, Group: 1},
		Inputs: Inputs{Seed: r.Uint64(), Scale: 1},
	}
	p.Config = ref.Default()
	p.Config.BlockSize, p.Config.DType, p.Config.Blocks = pick(r, kv.BlockSizes()...), pick(r, edgeFormats...), 1
	shares := func(cfg *ref.Config, m ref.Method) bool { return rankingOf(cfg, m).Share != nil }
	if found, err := p.drawMethod(r, named(methods, "ada-snapkv"), shares); err != nil || !found {
		return nil, err
	}
	const prompt, rounds, most = 65, 4, 2*longHead + 100
	p.Config.Compression = ref.Compression{MaxCacheTokens: longHead - 100}
	one := []kv.SeqID{0}
	p.Inputs.Tokens = []int{prompt + most}
	p.Config.Blocks = ((prompt+most)/p.Config.BlockSize + 2) * p.Shape.Heads()
	for round := range rounds {
		more := most - round%2*longHead
		p.Operations = append(p.Operations, Operation{OpPrefill, one, prompt}, Operation{OpGrow, one, more},
			Operation{OpScores, one, 0}, Operation{OpCompress, one, 0}, Operation{OpRelease, one, 0})
	}
	if cfg := p.config(); cfg.Validate() != nil {
		return nil, nil
	}
	return p, nil
}

// holesOf are the methods of edgeOfHoles: one that evicts a run of the oldest KVs, and reads keys at their positions in the
// cache, and one that evicts KVs all over a head.
var holesOf = []struct {
	name    string
	reading func(*ref.Config, ref.Method) bool
}{{"streaming-llm", edgeReadings[2]}, {"random", anyReading}}

// edgeOfHoles returns the i-th pipeline in which a compression evicts more than 2¹⁶ KVs of each head, which still holds more than
// 2¹⁶ then. StreamingLLM moves as many. It is nil if the method is not among methods.
func edgeOfHoles(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
	by := holesOf[i%len(holesOf)]
	p := &Pipeline{
		Shape:  kv.Shape{Layers: 1, KVHeads: 2, HeadSize: 8, Group: 1},
		Inputs: Inputs{Seed: r.Uint64(), Spread: true, Scale: 1},
		Rope:   &trace.Rope{Base: 10000, RotarySize: 8, Pairing: pick(r, trace.Half, trace.Interleaved)},
	}
	p.Config = ref.Default()
	p.Config.BlockSize, p.Config.DType, p.Config.Blocks = pick(r, kv.BlockSizes()...), pick(r, edgeFormats...), 1
	if found, err := p.drawMethod(r, named(methods, by.name), by.reading); err != nil || !found {
		return nil, err
	}
	const kept = 1<<16 + 40
	p.set("sinks", nil) // a few
	p.Config.Compression = ref.Compression{MaxCacheTokens: kept}
	one := []kv.SeqID{0}
	p.Inputs.Tokens = []int{9}
	p.Operations = []Operation{{OpPrefill, one, 8}, {OpCompress, one, 0}, {OpDecode, one, 0}}
	p.Config.Blocks = (9/p.Config.BlockSize + 1) * p.Shape.Heads()
	p.growFirst(2 * kept)
	if cfg := p.config(); cfg.Validate() != nil {
		return nil, nil
	}
	return p, nil
}

// edgeOfFreeBlocks returns a pipeline in which a prompt takes blocks from several chunks of the free list, each a thread block's, after
// a compression has freed some of each chunk. It is nil if evicting at random is not among methods.
func edgeOfFreeBlocks(r *rand.Rand, methods []*draw.Method) (*Pipeline, error) {
	const chunk = 32 * 1024 // blocks
	p := &Pipeline{
		Shape:  kv.Shape{Layers: 4, KVHeads: 16, HeadSize: 8, Group: 1},
		Inputs: Inputs{Seed: r.Uint64(), Scale: 1},
	}
	p.Config = ref.Default()
	p.Config.BlockSize, p.Config.DType, p.Config.Blocks = 1, pick(r, edgeFormats...), 1
	if found, err := p.drawMethod(r, named(methods, "random"), anyReading); err != nil || !found {
		return nil, err
	}
	heads := p.Shape.Heads()
	kvs := (chunk + chunk/8 + r.IntN(chunk/2)) / heads
	evicted := 8 + r.IntN(8)
	p.Config.Compression = ref.Compression{MaxCacheTokens: kvs - evicted}
	both := []kv.SeqID{0, 1}
	prompts := []int{8, evicted - r.IntN(2)}
	p.Inputs.Tokens = []int{kvs + 2, prompts[1] + 2}
	p.Config.Blocks = (kvs + prompts[1] + 4) * heads
	p.Operations = []Operation{
		{OpPrefill, both[:1], prompts[0]}, {OpGrow, both[:1], kvs - prompts[0]}, {OpCompress, both[:1], 0},
		{OpPrefill, both[1:], prompts[1]}, {OpDecode, both, 0}, {OpDecode, both, 0},
	}
	if cfg := p.config(); cfg.Validate() != nil {
		return nil, nil
	}
	return p, nil
}

// edgeOfFloor returns a pipeline in which each head keeps at least more than 2¹⁶ KVs, and as many are evicted as this allows. It is nil
// if Ada-SnapKV is not among methods.
func edgeOfFloor(r *rand.Rand, methods []*draw.Method) (*Pipeline, error) {
	p := &Pipeline{
		Shape:  kv.Shape{Layers: 1, KVHeads: 2, HeadSize: 8, Group: 1},
		Inputs: Inputs{Seed: r.Uint64(), Scale: 1},
	}
	p.Config = ref.Default()
	p.Config.BlockSize, p.Config.DType, p.Config.Blocks = pick(r, kv.BlockSizes()...), pick(r, edgeFormats...), 1
	if found, err := p.drawMethod(r, named(methods, "ada-snapkv"), anyReading); err != nil || !found {
		return nil, err
	}
	p.set("floor", 1)
	const prompt, kept = 65, 1<<16 + 100
	more := 60 + r.IntN(600)
	p.Config.Compression = ref.Compression{MaxCacheTokens: kept}
	one := []kv.SeqID{0}
	p.Inputs.Tokens = []int{kept + more}
	p.Config.Blocks = ((kept+more)/p.Config.BlockSize + 2) * p.Shape.Heads()
	p.Operations = []Operation{{OpPrefill, one, prompt}, {OpGrow, one, kept + more - prompt}, {OpScores, one, 0}, {OpCompress, one, 0}}
	if cfg := p.config(); cfg.Validate() != nil {
		return nil, nil
	}
	return p, nil
}
