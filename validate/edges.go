package validate

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"

	"kvcompress/dtype"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/ref/draw"
	"kvcompress/trace"
)

// The parameters whose values edge pipelines enumerate, while random pipelines draw them. A
// kernel is compiled for each format, and has different loops for different head sizes and
// numbers of queries per KV head.
var (
	edgeFormats   = []dtype.DType{dtype.F32, dtype.F16, dtype.BF16, dtype.E4M3, dtype.E5M2}
	edgeHeadSizes = []int{8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 128, 192, 256}
	edgeGroups    = []int{1, 4, 2, 8, 3, 5, 12, 7, 6}
	edgePrompts   = []int{1, 2, 3, 5, 31, 32, 33, 34, 35, 63, 65, 127, 128, 129, 130, 131, 160, 257}
)

// edgeReadings are predicates on methods, one for each way in which attention reads KVs
// under a method.
var edgeReadings = []func(_ *ref.Config, m ref.Method) bool{
	func(_ *ref.Config, m ref.Method) bool { // KVs are read unchanged
		_, hides := m.(ref.Masker)
		_, turns := m.(ref.Rerotator)
		_, folds := m.(ref.Folder)
		return !hides && !turns && !folds
	},
	func(_ *ref.Config, m ref.Method) bool { // some KVs are hidden
		_, ok := m.(ref.Masker)
		return ok
	},
	func(_ *ref.Config, m ref.Method) bool { // keys are rotated to their position in the cache
		r, ok := m.(ref.Rerotator)
		return ok && r.ByCachePosition()
	},
	func(_ *ref.Config, m ref.Method) bool { // a KV may stand in for several KVs
		f, ok := m.(ref.Folder)
		return ok && f.StandIns().Weight != ref.None && f.StandIns().Keys == ref.None
	},
	func(_ *ref.Config, m ref.Method) bool { // a KV may stand in for several KVs, and later ones are added to it
		f, ok := m.(ref.Folder)
		return ok && f.StandIns().Keys != ref.None
	},
}

// edgeLong are methods with a separate kernel that counts a head's costs. It uses several
// thread blocks for a head of more than 4,096 KVs. Methods that observe all queries of such
// a prompt would take too long.
var edgeLong = []string{"random", "ada-snapkv"}

const (
	longEvery   = 32 // seeds
	headsEvery  = 16
	maxLongWork = 3e7
	maxEdgeWork = 1e7
)

// methodSet is a set of methods, by the pages that they use.
type methodSet int

const (
	allOfThem    methodSet = iota
	withPlain              // plain pages only
	withOwnPages           // quantized or merged pages
)

// of returns the methods in the set.
func (set methodSet) of(methods []*draw.Method) []*draw.Method {
	if set == allOfThem {
		return methods
	}
	return slices.DeleteFunc(slices.Clone(methods), func(m *draw.Method) bool { return m.OwnPages != (set == withOwnPages) })
}

// edgeKind is a kind of edge pipelines. It has a pipeline for every seed, or for every second one.
type edgeKind struct {
	name    string
	methods methodSet
	seeds   seedSet
	hard    bool // inputs are made hard: see hardInputs
	// draw returns the kind's i-th pipeline, of one of the methods, of which there is at least one. It returns nil if
	// it finds none.
	draw func(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error)
}

// seedSet says which seeds have a pipeline of a kind.
type seedSet int

const (
	everySeed seedSet = iota
	evenSeeds
	oddSeeds
)

// index returns the number of the seed in the set, from 0 on, and whether it is in it.
func (set seedSet) index(seed int) (i int, in bool) {
	if set == everySeed {
		return seed, true
	}
	return seed / 2, (set == oddSeeds) == (seed%2 == 1)
}

// edgeKinds are the kinds of edge pipelines. The place in the list seeds a kind's generator.
var edgeKinds = []edgeKind{
	{name: "a reading", methods: withPlain, hard: true, draw: func(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
		return edgeOfReading(r, 2*i, methods)
	}},
	{name: "the next reading", methods: withPlain, hard: true, draw: func(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
		return edgeOfReading(r, 2*i+1, methods)
	}},
	{name: "a method, or large sizes", methods: withPlain, hard: true, draw: edgeOfSize},
	{name: "a method with pages of its own", methods: withOwnPages, hard: true, draw: edgeOfNext},
	{name: "quantized pages", methods: withOwnPages, hard: true, draw: edgeOfPages},
	{name: "merged pages", methods: withOwnPages, hard: true, draw: edgeOfMerging},
	{name: "large numbers", seeds: oddSeeds, draw: edgeOfNumbers},
	{name: "long heads", methods: withPlain, seeds: evenSeeds, draw: edgeOfGrowth},
	{name: "rounds of a warp", methods: withOwnPages, seeds: oddSeeds, draw: edgeOfRounds},
	{name: "a rule", methods: withPlain, draw: func(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
		return edgeOfRule(r, 2*i, methods)
	}},
	{name: "the next rule", methods: withPlain, draw: func(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
		return edgeOfRule(r, 2*i+1, methods)
	}},
	{name: "exponents", seeds: oddSeeds, draw: edgeOfExponents},
	{name: "a large number", seeds: evenSeeds, draw: edgeOfWidth},
	{name: "merged ties", methods: withOwnPages, seeds: evenSeeds, draw: edgeOfTies},
	{name: "a count", seeds: oddSeeds, draw: edgeOfCounts},
	{name: "merged angles", methods: withOwnPages, seeds: oddSeeds, draw: edgeOfAngles},
}

// EdgePipelines returns the edge pipelines of a seed with the given methods, at most one of each kind. The pipelines of
// 163 consecutive seeds cover every combination of format, head size and reading, as far as the methods do. Those of 64
// consecutive seeds cover edgeLong.
func EdgePipelines(seed uint64, methods []*draw.Method) ([]Pipeline, error) {
	var all []Pipeline
	for k := range edgeKinds {
		kind := &edgeKinds[k]
		own := kind.methods.of(methods)
		i, in := kind.seeds.index(int(seed % (1 << 32)))
		if !in || len(own) == 0 {
			continue
		}
		r := rand.New(rand.NewPCG(seed, 1<<61+uint64(k)))
		p, err := kind.draw(r, i, own)
		if err != nil {
			return nil, fmt.Errorf("validate: edge pipeline of %s: %w", kind.name, err)
		}
		if p == nil {
			continue
		}
		if !p.Inputs.Exponents { // whose keys are 1
			p.Config.KVScale = draw.Scale(r, p.Config.DType, p.Shape.Layers)
		}
		if kind.hard {
			p.hardInputs(r)
		}
		p.hardScores(r)
		all = append(all, *p)
	}
	return all, nil
}

// edgeOfSize returns the i-th pipeline that enumerates the methods; every longEvery-th has a long head, and every
// headsEvery-th many heads.
func edgeOfSize(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
	switch {
	case i%longEvery == longEvery/2:
		return edgeOfLength(r, i/longEvery, methods)
	case i%headsEvery == headsEvery/4:
		return edgeOfHeads(r, i/headsEvery, methods)
	}
	return edgeOfNext(r, i, methods)
}

// edgeOfNext returns the i-th pipeline that enumerates the methods.
func edgeOfNext(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
	return edgeOfMethod(r, i/len(methods), methods[i%len(methods)])
}

// subnormal has, for each format, a scale at which most values are subnormal.
var subnormal = map[dtype.DType]float32{dtype.F32: 0x1p-128, dtype.BF16: 0x1p-128, dtype.F16: 0x1p-19, dtype.E4M3: 0x1p-6, dtype.E5M2: 0x1p-14}

// hardInputs gives most edge pipelines hard values, and a third each a cache and block tables at
// large offsets: see placeFar and placeRowsFar.
func (p *Pipeline) hardInputs(r *rand.Rand) {
	in := &p.Inputs
	kind := r.IntN(12)
	if o := p.observation(); o != nil && o.Scorer != nil { // it does not use attention scores alone
		kind %= 9
	}
	in.Integers = in.Integers && (kind == 0 || kind > 8)
	switch kind {
	case 0:
		in.Mirror = true
	case 1:
		in.Edges = true
	case 2:
		in.Scale = 12 // scores differ by 87 to 104, where e^x is subnormal
	case 3:
		in.Scale = 0x1p-45 // norms are about as small as their lower bound
	case 4:
		in.Scale = subnormal[p.Config.DType]
	case 5:
		if in.Edges = p.Config.DType == dtype.F16; !in.Edges {
			in.Scale = 0x1p40 // beyond the range that kernels count
		}
	case 6, 7, 8:
		in.Spread = true
	}
	if p.quantizes() && r.IntN(2) == 0 {
		in.Integers, in.Edges, in.Spread, in.Grid = false, false, false, true
	}
	if r.IntN(3) == 0 {
		p.placeFar()
	}
	if r.IntN(3) == 0 {
		p.placeRowsFar()
	}
}

// edgeAxes returns the indices of the i-th pipeline's format and head size, and the number of
// times that all combinations of the two occurred before. Size and round determine the reading.
func edgeAxes(i int) (format, size, round int) {
	return i % len(edgeFormats), i / len(edgeFormats) % len(edgeHeadSizes), i / len(edgeFormats) / len(edgeHeadSizes)
}

// edgeOfReading returns the i-th pipeline that enumerates format, head size and reading; nil if
// no method has the reading.
func edgeOfReading(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
	format, size, round := edgeAxes(i)
	return edgeOf(r, i, 1, edgeFormats[format], size, round, edgeReadings[(size+round)%len(edgeReadings)], methods)
}

// edgeOfPages returns the i-th pipeline that enumerates the format of a cache with quantized pages,
// the bits of a code and the head size: 156 consecutive i cover every combination.
func edgeOfPages(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
	format, bits := i%pageFormats, i/pageFormats%maxBits+1
	size := i / pageFormats / maxBits
	for range maxEdgeDraws {
		p, err := edgeOf(r, i, 1, edgeFormats[format], size%len(edgeHeadSizes), size/len(edgeHeadSizes), anyReading, methods)
		if p == nil || err != nil {
			return p, err
		}
		p.set("bits", bits)
		if cfg := p.config(); cfg.Validate() == nil {
			return p, nil
		}
	}
	return nil, nil
}

// edgeMerging are the methods that merge, with the number of layers of their edge pipelines: a merged pair, and if the
// method also quantizes, a layer that is not merged.
var edgeMerging = []struct {
	name   string
	layers int
}{{"minicache", 2}, {"minicache+kivi", 3}}

// edgeOfMerging returns the i-th pipeline of a method that merges: 78 consecutive i cover every method, format and
// head size. It is nil if the method is not among methods, or if no such pipeline was found.
func edgeOfMerging(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
	merging := edgeMerging[i%len(edgeMerging)]
	if methods = named(methods, merging.name); methods == nil {
		return nil, nil
	}
	i /= len(edgeMerging)
	size := i / pageFormats
	for range mergingDraws {
		p, err := edgeOf(r, i, merging.layers, edgeFormats[i%pageFormats], size%len(edgeHeadSizes), size/len(edgeHeadSizes), anyReading, methods)
		if err != nil {
			return nil, err
		}
		if p == nil {
			continue
		}
		if r.IntN(4) > 0 { // a plan allocates merged and retained pages before it frees plain pages
			p.Config.Blocks *= 2
		}
		return p, nil
	}
	return nil, nil
}

// mergingDraws is the number of draws of edgeOfMerging until a page can hold a quantization group.
const mergingDraws = 8

// anyReading accepts every method.
func anyReading(*ref.Config, ref.Method) bool { return true }

// Quantized pages are possible in a cache of the first pageFormats of edgeFormats: there is no type for
// scales in an fp8 cache. Codes have 1 to maxBits bits.
const (
	pageFormats = 3
	maxBits     = 4
)

// edgeOf returns a pipeline with the given layers, format, head size and reading, of one of the methods; nil if none was
// found.
func edgeOf(r *rand.Rand, i, layers int, format dtype.DType, size, round int, reading func(*ref.Config, ref.Method) bool, methods []*draw.Method) (*Pipeline, error) {
	for range maxEdgeDraws {
		p := &Pipeline{
			Shape: kv.Shape{
				Layers: layers, KVHeads: 1 + r.IntN(2), HeadSize: edgeHeadSizes[size],
				Group: edgeGroups[(i+size+5*round)%len(edgeGroups)],
			},
			Inputs: Inputs{Seed: r.Uint64(), Integers: r.IntN(8) == 0, Scale: 1},
			Rope:   &trace.Rope{Base: 10000, RotarySize: edgeHeadSizes[size] / pick(r, 1, 1, 2), Pairing: pick(r, trace.Half, trace.Interleaved)},
		}
		if p.Shape.HeadSize == 8 { // only here four queries have no more elements than a warp has lanes
			p.Shape.Group = pick(r, 4, 12)
			if round%2 == 1 {
				p.Shape.Group = pick(r, 1, 2, 3)
			}
		}
		if p.Shape.HeadSize > 64 && r.IntN(2) == 0 { // loops over elements are repeated only here
			p.Shape.Group = 7 // four queries, two and one
		}
		p.Config = ref.Default()
		p.Config.BlockSize, p.Config.DType, p.Config.Blocks = pick(r, kv.BlockSizes()...), format, 1
		found, err := p.drawMethod(r, methods, reading)
		if err != nil || !found {
			return nil, err
		}
		p.fillEdges(r, p.decodeSteps(r), pick(r, edgePrompts...), pick(r, 0, pick(r, edgePrompts...)))
		if p.work() <= maxWork {
			return p, nil
		}
	}
	return nil, nil
}

// edgeWords are options of methods that score the prompt, and their values. The edge
// pipelines of a method enumerate all combinations.
var edgeWords = []struct {
	key    string
	values []string
}{
	{"group", []string{`"sum"`, `"mean"`, `"max"`}},
	{"order", []string{`"before"`, `"after"`}},
	{"pooling", []string{`"avg"`, `"max"`}},
	{"cross", []string{"true", "false"}},
}

// edgeOfMethod returns the i-th pipeline of a method on prompts of several partitions, with a random
// head size; nil if none was found.
func edgeOfMethod(r *rand.Rand, i int, m *draw.Method) (*Pipeline, error) {
	for range maxEdgeDraws {
		d := pick(r, edgeHeadSizes...)
		p := &Pipeline{
			Shape:  kv.Shape{Layers: 1 + r.IntN(2), KVHeads: 1 + r.IntN(3), HeadSize: d, Group: pick(r, edgeGroups...)},
			Inputs: Inputs{Seed: r.Uint64(), Integers: r.IntN(4) == 0, Scale: 1},
		}
		if r.IntN(4) > 0 {
			p.Rope = &trace.Rope{Base: 10000, RotarySize: d / pick(r, 1, 1, 2, 4), Pairing: pick(r, trace.Half, trace.Interleaved)}
		}
		formats := edgeFormats
		if m.OwnPages {
			formats = formats[:pageFormats]
		}
		p.Config = ref.Default()
		p.Config.BlockSize, p.Config.DType, p.Config.Blocks = pick(r, kv.BlockSizes()...), pick(r, formats...), 1
		found, err := p.drawMethod(r, []*draw.Method{m}, anyReading)
		if err != nil || !found {
			return nil, err
		}
		word := i
		for _, w := range edgeWords {
			if slices.ContainsFunc(m.Options(), func(o ref.Option) bool { return o.Key == w.key }) {
				p.set(w.key, json.RawMessage(w.values[word%len(w.values)]))
			}
			word /= len(w.values)
		}
		if cfg := p.config(); cfg.Validate() != nil {
			continue
		}
		p.fillEdges(r, p.decodeSteps(r), pick(r, 129, 130, 130, 200, 200, 257, 257, 300, 513, 1100), pick(r, 0, 0, pick(r, edgePrompts...)))
		if p.work() <= maxEdgeWork {
			return p, nil
		}
	}
	return nil, nil
}

// edgeOfLength returns the i-th pipeline with a head of more than 4,096 KVs; nil if none was found.
func edgeOfLength(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
	if methods = named(methods, edgeLong[i%len(edgeLong)]); methods == nil {
		return nil, nil
	}
	for range maxEdgeDraws {
		p := &Pipeline{
			Shape:  kv.Shape{Layers: 1, KVHeads: 1, HeadSize: 8, Group: 1 + r.IntN(2)},
			Inputs: Inputs{Seed: r.Uint64(), Integers: r.IntN(2) == 0, Scale: 1},
		}
		p.Config = ref.Default()
		p.Config.BlockSize, p.Config.DType, p.Config.Blocks = pick(r, kv.BlockSizes()...), pick(r, edgeFormats...), 1
		found, err := p.drawMethod(r, methods, anyReading)
		if err != nil || !found {
			return nil, err
		}
		p.fillEdges(r, p.decodeSteps(r), pick(r, 4097, 4100, 4161, 5000), 0)
		if p.work() <= maxLongWork {
			return p, nil
		}
	}
	return nil, nil
}

// manyHeads are numbers of layers and of KV heads. Their products, or the numbers of layers, exceed the
// threads of a thread block, 64 quotas, or 1,024.
var manyHeads = [][2]int{{1, 257}, {65, 1}, {2, 513}, {3, 86}, {33, 8}}

// edgeOfHeads returns the i-th pipeline of KV-Compress on many heads, some of them with blocks of
// equal cost. Blocks are evicted from all heads together, from each head alike (Uniform), or from each
// layer alike (EvenLayers). It is nil if KV-Compress is not among methods.
func edgeOfHeads(r *rand.Rand, i int, methods []*draw.Method) (*Pipeline, error) {
	if methods = named(methods, ref.KVCompress); methods == nil {
		return nil, nil
	}
	for range maxEdgeDraws {
		heads := manyHeads[i%len(manyHeads)]
		p := &Pipeline{
			Shape:  kv.Shape{Layers: heads[0], KVHeads: heads[1], HeadSize: 8, Group: 1},
			Inputs: Inputs{Seed: r.Uint64(), Integers: r.IntN(2) == 0, Scale: 1},
		}
		p.Config = ref.Default()
		p.Config.BlockSize, p.Config.DType, p.Config.Blocks = pick(r, 1, 2, 4), pick(r, edgeFormats...), 1
		found, err := p.drawMethod(r, methods, anyReading)
		if err != nil || !found {
			return nil, err
		}
		c := &p.Config.Compression
		*c = ref.Compression{MaxCacheTokens: 2 + r.IntN(8), ProtectedWindow: r.IntN(3), HeadBias: c.HeadBias, BiasWeight: c.BiasWeight}
		c.Uniform, c.EvenLayers = i%3 == 1, i%3 == 2
		p.fillEdges(r, p.decodeSteps(r), 20+r.IntN(20))
		if cfg := p.config(); cfg.Validate() == nil && p.work() <= maxEdgeWork {
			return p, nil
		}
	}
	return nil, nil
}

// maxEdgeDraws is the number of draws until a pipeline is small enough.
const maxEdgeDraws = 100

// drawMethod draws a method and options for which is returns true and that compress. It returns false
// if it finds none.
func (p *Pipeline) drawMethod(r *rand.Rand, methods []*draw.Method, is func(*ref.Config, ref.Method) bool) (bool, error) {
	for _, k := range r.Perm(len(methods)) {
		m := methods[k]
		if m.OwnPages && p.Config.DType.Size() == 1 {
			continue // there is no type for scales in an fp8 cache
		}
		for range 30 {
			model := p.config()
			cfg, err := m.Config(r, model)
			if err != nil && m.OwnPages {
				break // no page of this shape holds a group
			}
			if err != nil {
				return false, err
			}
			run, err := cfg.NewMethod()
			if err != nil {
				return false, err
			}
			if is(&cfg, run) && (cfg.Compression.Enabled() || m.OwnPages) {
				p.Shape, p.Config = cfg.Shape, cfg
				p.Config.Shape, p.Config.Rope = kv.Shape{}, nil
				return true, nil
			}
		}
	}
	return false, nil
}

// named returns the method of a name alone; nil if it is not among methods.
func named(methods []*draw.Method, name string) []*draw.Method {
	k := slices.IndexFunc(methods, func(m *draw.Method) bool { return m.Name == name })
	if k < 0 {
		return nil
	}
	return methods[k : k+1]
}

// quantizes reports whether a method quantizes.
func quantizes(m ref.Method) bool {
	_, quantizes := m.(ref.Quantizer)
	return quantizes
}

// quantizes reports whether the pipeline's method quantizes.
func (p *Pipeline) quantizes() bool { return quantizes(p.newMethod()) }

// observation returns what the pipeline's method observes; nil if nothing.
func (p *Pipeline) observation() *ref.Observation {
	if m := p.newMethod(); m != nil {
		return m.Observe()
	}
	return nil
}

// newMethod returns the pipeline's method; nil if its configuration is invalid.
func (p *Pipeline) newMethod() ref.Method {
	cfg := p.config()
	m, err := cfg.NewMethod()
	if err != nil {
		return nil
	}
	return m
}

// decodeSteps draws the number of decode steps of an edge pipeline. A compression follows each.
func (p *Pipeline) decodeSteps(r *rand.Rand) int {
	if p.quantizes() && r.IntN(2) == 0 {
		return 50 // enough tokens for several pages
	}
	return 5
}

// fillEdges sets the operations of a pipeline and the number of blocks of its cache. Each prompt length
// that is not 0 is a sequence. After the prefills, each step decodes all sequences and compresses one.
func (p *Pipeline) fillEdges(r *rand.Rand, steps int, prompts ...int) {
	cfg := &p.Config
	var all []kv.SeqID
	blocks := 0
	for i, n := range prompts {
		if n == 0 {
			continue
		}
		id := kv.SeqID(i)
		all = append(all, id)
		p.Inputs.Tokens = append(p.Inputs.Tokens, n+steps+3)
		blocks += (n+steps+3)/cfg.BlockSize + 2
		p.Operations = append(p.Operations, Operation{OpPrefill, []kv.SeqID{id}, n})
		if r.IntN(3) > 0 {
			p.Operations = append(p.Operations, Operation{OpCompress, []kv.SeqID{id}, 0})
		}
	}
	cfg.Blocks = blocks * p.Shape.Layers * p.Shape.KVHeads
	for range steps {
		p.Operations = append(p.Operations, Operation{OpDecode, slices.Clone(all), 0})
		p.Operations = append(p.Operations, Operation{OpCompress, []kv.SeqID{pick(r, all...)}, 0})
	}
}
