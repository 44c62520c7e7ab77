package validate

import (
	"encoding/json"
	"math/rand/v2"
	"slices"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/ref/draw"
	"kvcompress/trace"
)

// edgeOfWidth returns the i-th pipeline in which one number is larger than in most others: the sequences of a decode
// step, the query heads of a KV head, the options of the method, or what a compression folds, quantizes or merges. It is nil
// if none was found.
func edgeOfWidth(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
	switch i, kind := i/4, i%4; kind {
	case 0:
		return edgeOfBatch(r, i, methods)
	case 1:
		return edgeOfGroup(r, i, methods)
	case 2:
		return edgeOfOption(r, i, methods)
	default:
		if i%2 == 0 {
			return edgeOfFolding(r, i/2, methods)
		}
		return edgeOfLists(r, i/2, methods)
	}
}

// wideRules are predicates on methods, one for each kernel that runs on all sequences of a decode step or on all queries of
// a group, and for each way in which it reads KVs.
var wideRules = []struct {
	methods methodSet
	is      func(cfg *ref.Config, m ref.Method) bool
}{
	{withPlain, edgeReadings[0]},
	{withPlain, edgeReadings[1]},
	{withPlain, edgeReadings[2]},
	{withPlain, edgeReadings[3]},
	{withPlain, edgeReadings[4]},
	{withPlain, func(_ *ref.Config, m ref.Method) bool { // new KVs are hidden
		masker, ok := m.(ref.Masker)
		return ok && masker.HidesNew(1, 40)
	}},
	{withPlain, func(cfg *ref.Config, m ref.Method) bool { return rankingOf(cfg, m).Width > 1 }},
	{withPlain, func(cfg *ref.Config, m ref.Method) bool { return rankingOf(cfg, m).Key == ref.ByHash }},
	{withPlain, func(cfg *ref.Config, _ ref.Method) bool { return cfg.Method == "" || cfg.Method == ref.KVCompress }},
	{withPlain, scoredBy[*ref.ExpectedAttention]},
	{withPlain, pools},
	{withPlain, meansOverHeads},
	{withOwnPages, func(cfg *ref.Config, m ref.Method) bool { return !merges(cfg, m) }},
	{withOwnPages, merges},
}

// merges reports whether a method merges layers.
func merges(_ *ref.Config, m ref.Method) bool {
	merger, ok := m.(ref.Merger)
	return ok && merger.Merging().Pairs > 0
}

// drawWide draws a configuration that rule k of wideRules matches, with one of the methods. The format of the cache
// changes from round to round. It reports whether a method was found.
func (p *Pipeline) drawWide(r *rand.Rand, k, round int, methods []*draw.Method) (bool, error) {
	rule, format := wideRules[k], edgeFormats[(k+2*round)%len(edgeFormats)]
	if rule.methods == withOwnPages {
		p.Shape.Layers, format = 2, edgeFormats[(k+round)%pageFormats]
	}
	p.Config = ref.Default()
	p.Config.BlockSize, p.Config.DType, p.Config.Blocks = pick(r, kv.BlockSizes()...), format, 1
	return p.drawMethod(r, methods, rule.is)
}

// batches are numbers of sequences of a decode step.
var batches = []int{33, 9, 65, 17, 40}

// edgeOfBatch returns the i-th pipeline with many short sequences, which have more than 256 KV heads in a layer: more than
// a thread block has threads. Five times as many consecutive i as there are wideRules cover each of them with every number of sequences and
// every format.
func edgeOfBatch(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
	k, round := i%len(wideRules), i/len(wideRules)
	rule := wideRules[k]
	if methods = rule.methods.of(methods); len(methods) == 0 {
		return nil, nil
	}
	for range maxEdgeDraws {
		sequences := batches[(k+round)%len(batches)]
		p := &Pipeline{
			Shape:  kv.Shape{Layers: 1, KVHeads: 256/sequences + 1, HeadSize: 8, Group: 2},
			Inputs: Inputs{Seed: r.Uint64(), Integers: r.IntN(4) == 0, Scale: 1},
			Rope:   &trace.Rope{Base: 10000, RotarySize: 8, Pairing: pick(r, trace.Half, trace.Interleaved)},
		}
		if found, err := p.drawWide(r, k, round, methods); err != nil || !found {
			return nil, err
		}
		p.fillBatch(r, sequences)
		if cfg := p.config(); cfg.Validate() != nil || p.work() > maxWork {
			continue
		}
		if rule.methods == withPlain {
			p.placeRowsFar()
		}
		return p, nil
	}
	return nil, nil
}

// fillBatch sets the operations of a pipeline, and the number of blocks of its cache: all sequences enter, and each of two
// steps decodes all of them, in another order, after a few were compressed.
func (p *Pipeline) fillBatch(r *rand.Rand, sequences int) {
	const steps = 2
	blocks := 0
	var all []kv.SeqID
	for i := range sequences {
		n := 1 + r.IntN(8)
		switch i { // two that have something to lose, one of them often in a second partition
		case sequences - 1:
			n += pick(r, 20, 130)
		case sequences - 2:
			n += 20
		}
		all = append(all, kv.SeqID(i))
		p.Inputs.Tokens = append(p.Inputs.Tokens, n+steps)
		p.Operations = append(p.Operations, Operation{OpPrefill, []kv.SeqID{kv.SeqID(i)}, n})
		blocks += 2*(n+steps)/p.Config.BlockSize + 3
	}
	p.Config.Blocks = blocks * p.Shape.Heads()
	for range steps {
		for _, id := range []kv.SeqID{all[sequences-1], all[sequences-2], pick(r, all...)} {
			p.Operations = append(p.Operations, Operation{OpCompress, []kv.SeqID{id}, 0})
		}
		var batch []kv.SeqID
		for _, at := range r.Perm(sequences) {
			batch = append(batch, all[at])
		}
		p.Operations = append(p.Operations, Operation{OpDecode, batch, 0})
	}
}

// wideGroups are numbers of query heads of a KV head that need more than one or two tiles of 8 queries: those of models with
// one KV head, and others.
var wideGroups = []int{17, 32, 71, 16, 128, 24, 48}

// maxGroupWork is maxWork for wide groups, with which a few tokens are enough.
const maxGroupWork = 3e6

// edgeOfGroup returns the i-th pipeline with a wide group. As many consecutive i as there are wideRules cover each of them.
func edgeOfGroup(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
	k, round := i%len(wideRules), i/len(wideRules)
	rule := wideRules[k]
	if methods = rule.methods.of(methods); len(methods) == 0 {
		return nil, nil
	}
	for range maxEdgeDraws {
		d := pick(r, 8, 8, 16, 24)
		p := &Pipeline{
			Shape:  kv.Shape{Layers: 1, KVHeads: 1 + r.IntN(2), HeadSize: d, Group: wideGroups[(k+round)%len(wideGroups)]},
			Inputs: Inputs{Seed: r.Uint64(), Spread: r.IntN(2) == 0, Scale: 1},
			Rope:   &trace.Rope{Base: 10000, RotarySize: d, Pairing: pick(r, trace.Half, trace.Interleaved)},
		}
		if found, err := p.drawWide(r, k, round, methods); err != nil || !found {
			return nil, err
		}
		p.fillEdges(r, 2, pick(r, 5, 31, 33, 40), pick(r, 0, 3))
		if cfg := p.config(); cfg.Validate() == nil && p.work() <= maxGroupWork {
			return p, nil
		}
	}
	return nil, nil
}

// wideOptions are values of integer options: more than a thread block has threads, a partition KVs, and a warp lanes.
var wideOptions = []int{257, 129, 200, 128, 64}

// edgeOfOption returns the i-th pipeline that enumerates the integer options of the methods: one of them has one of
// wideOptions, and the prompt is long enough for it.
func edgeOfOption(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
	type option struct {
		of  *draw.Method
		key string
	}
	var options []option
	for _, m := range methods {
		for _, o := range m.Options() {
			if isInteger([]byte(o.Default)) {
				options = append(options, option{m, o.Key})
			}
		}
	}
	if len(options) == 0 {
		return nil, nil
	}
	o := options[i%len(options)]
	const draws = 4 // an option with few values has none of wideOptions
	for range draws {
		p := &Pipeline{
			Shape:  kv.Shape{Layers: 1, KVHeads: 1, HeadSize: 8, Group: 1 + r.IntN(2)},
			Inputs: Inputs{Seed: r.Uint64(), Spread: r.IntN(2) == 0, Scale: 1},
			Rope:   &trace.Rope{Base: 10000, RotarySize: 8, Pairing: pick(r, trace.Half, trace.Interleaved)},
		}
		p.Config = ref.Default()
		p.Config.BlockSize, p.Config.DType, p.Config.Blocks = pick(r, kv.BlockSizes()...), pick(r, edgeFormats...), 1
		if o.of.OwnPages { // a page is to hold a long group
			p.Shape = kv.Shape{Layers: 2, KVHeads: 1, HeadSize: pick(r, 128, 256), Group: 1}
			p.Config.BlockSize, p.Config.DType = 32, edgeFormats[i%pageFormats]
		}
		found, err := p.drawMethod(r, []*draw.Method{o.of}, anyReading)
		if err != nil || !found {
			return nil, err
		}
		n := p.widen(o.key, i/len(options))
		if n == 0 {
			continue
		}
		p.fillEdges(r, 2, 2*n+60+r.IntN(70))
		if o.of.OwnPages { // new pages are allocated before plain ones are freed
			p.Config.Blocks *= 2
		}
		if cfg := p.config(); cfg.Validate() == nil && p.work() <= maxWork {
			return p, nil
		}
	}
	return nil, nil
}

// widen sets an option to the first of wideOptions, from the given one on, that is valid, and returns it; 0 if none is.
func (p *Pipeline) widen(key string, from int) int {
	old := p.Config.Set
	for k := range wideOptions {
		n := wideOptions[(from+k)%len(wideOptions)]
		p.set(key, n)
		if cfg := p.config(); cfg.Validate() == nil {
			return n
		}
	}
	p.Config.Set = old
	return 0
}

// foldedHeadSizes are head sizes for which a thread block of fold has one to four warps.
var foldedHeadSizes = []int{256, 8, 128, 64, 24}

// edgeOfFolding returns the i-th pipeline of a method with stand-ins, in which several KVs at once are folded into one that
// is there already. 25 consecutive i cover every format and number of warps.
func edgeOfFolding(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
	methods = withPlain.of(methods)
	round := i / len(edgeFormats)
	for range maxEdgeDraws {
		d := foldedHeadSizes[(i+round)%len(foldedHeadSizes)]
		p := &Pipeline{
			Shape:  kv.Shape{Layers: 1 + r.IntN(2), KVHeads: 1 + r.IntN(2), HeadSize: d, Group: 1 + r.IntN(2)},
			Inputs: Inputs{Seed: r.Uint64(), Spread: r.IntN(2) == 0, Scale: 1},
		}
		p.Config = ref.Default()
		p.Config.BlockSize, p.Config.DType, p.Config.Blocks = pick(r, kv.BlockSizes()...), edgeFormats[i%len(edgeFormats)], 1
		const steps, together = 3, 4
		prompt := pick(r, 33, 65, 130)
		found, err := p.drawMethod(r, methods, edgeReadings[4])
		if err != nil || !found {
			return nil, err
		}
		p.set("threshold", 1+r.IntN(8)) // few are kept, so that many are folded
		p.set("ratio", 5)
		one := []kv.SeqID{0}
		tokens := prompt + steps*together
		p.Inputs.Tokens = []int{tokens}
		p.Config.Blocks = (tokens/p.Config.BlockSize + 2) * p.Shape.Heads()
		p.Operations = []Operation{{OpPrefill, one, prompt}, {OpCompress, one, 0}}
		for range steps {
			p.Operations = append(p.Operations, slices.Repeat([]Operation{{OpDecode, one, 0}}, together)...)
			p.Operations = append(p.Operations, Operation{OpCompress, one, 0})
		}
		if cfg := p.config(); cfg.Validate() != nil || p.work() > maxWork {
			continue
		}
		if d <= 24 && r.IntN(2) == 0 { // a stand-in for thousands of KVs
			p.growFirst(pick(r, grownTokens[0], grownTokens[3]))
		}
		return p, nil
	}
	return nil, nil
}

// edgeOfLists returns the i-th pipeline with pages of their own in a cache of small blocks, so that a head has more pages
// than a thread block has threads. As many consecutive i as there are methods and formats cover each of them.
func edgeOfLists(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
	if methods = withOwnPages.of(methods); len(methods) == 0 {
		return nil, nil
	}
	for range maxEdgeDraws {
		p := &Pipeline{
			Shape:  kv.Shape{Layers: 2, KVHeads: 1, HeadSize: 8, Group: 1 + r.IntN(2)},
			Inputs: Inputs{Seed: r.Uint64(), Spread: r.IntN(2) == 0, Scale: 1},
		}
		p.Config = ref.Default()
		p.Config.BlockSize, p.Config.DType, p.Config.Blocks = pick(r, 1, 2), edgeFormats[i/len(methods)%pageFormats], 1
		found, err := p.drawMethod(r, methods[i%len(methods):][:1], anyReading)
		if err != nil || !found {
			return nil, err
		}
		p.fillEdges(r, 2, pick(r, 600, 700))
		p.Config.Blocks *= 4 // each token takes a separate page before its plain block is freed
		if cfg := p.config(); cfg.Validate() == nil && p.work() <= maxWork {
			return p, nil
		}
	}
	return nil, nil
}

// isInteger reports whether a text is an integer in JSON.
func isInteger(text []byte) bool {
	var n int
	return json.Unmarshal(text, &n) == nil
}
