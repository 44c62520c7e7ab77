package cost

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"

	"kvcompress/internal/ceil"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/trace"
)

// The methods that can be projected and that no engine runs.
const (
	quest      = "quest"      // selects the pages that a query reads
	infLLM     = "infllm"     // keeps most KVs in the host's memory
	llmLingua2 = "llmlingua2" // drops tokens of prompts
)

// FullShare is the key of an option that only projections have: the fraction of the heads, from 0 to
// 1, that keep everything. It stands for the option full of a method, which names these heads;
// projections depend only on their number.
const FullShare = "full_share"

// fullKey is the option of a method that names the heads that keep everything.
const fullKey = "full"

// methodName returns the name of the method for errors.
func (d *Deployment) methodName() string { return cmp.Or(d.Method.Method, ref.KVCompress) }

// Compresses reports whether the deployment has a method that evicts, folds or hides KVs.
func (d *Deployment) Compresses() bool {
	cfg := d.Config()
	return cfg.Compresses()
}

// Config returns the configuration of an engine of the deployment, without the number of blocks. Its
// compression is that of d.Method. For a method that no engine runs it has no compression; see
// [Deployment.Selection].
func (d *Deployment) Config() ref.Config {
	cfg := ref.Default()
	cfg.Shape, cfg.BlockSize, cfg.DType = d.shape(), d.BlockSize, d.KV
	cfg.Compression = ref.Compression{}
	m := &d.Method
	switch m.Method {
	case quest, infLLM, llmLingua2:
		return cfg
	case "", ref.KVCompress:
		cfg.Compression, cfg.Set = m.Compression, m.Set
		if m.Metric != (ref.Metric{}) {
			cfg.Metric = m.Metric
		}
		return cfg
	}
	cfg.UseMethod(m.Method)
	cfg.Compression, cfg.Metric = m.Compression, m.Metric
	cfg.Set, _ = d.settings() // Validate returns the error
	cfg.Shape = cfg.CacheShape(cfg.Shape)
	// A projection does not depend on the rotary embedding.
	cfg.Rope = &trace.Rope{Base: 10000, RotarySize: cfg.Shape.HeadSize, Pairing: trace.Half}
	return cfg
}

// settings returns the method's own options for an engine: FullShare is replaced by a map of heads
// that are spread evenly over the layers.
func (d *Deployment) settings() (ref.Settings, error) {
	m := &d.Method
	e, err := ref.FindMethod(m.Method)
	if err != nil {
		return m.Set, nil // KV-Compress, or a wrong method, for which Validate returns an error
	}
	keeps := slices.ContainsFunc(e.Options(), func(o ref.Option) bool { return o.Key == fullKey })
	share, shared := m.Set[FullShare]
	_, given := m.Set[fullKey]
	switch {
	case shared && !keeps:
		return m.Set, fmt.Errorf("method %s has no option %q: it has no heads that keep everything", e.Name, FullShare)
	case shared && given:
		return m.Set, fmt.Errorf("method %s: %s and a map of heads exclude each other", e.Name, FullShare)
	case keeps && !shared && !given:
		return m.Set, fmt.Errorf("method %s keeps everything of some heads, and a projection needs their number: set map=FILE, a map of the model's heads that kvc heads wrote, or %s=0.15, a fraction of the heads (0 for none)", e.Name, FullShare)
	case !shared:
		return m.Set, nil
	}
	var part float64
	if err := json.Unmarshal(share, &part); err != nil || !(part >= 0 && part <= 1) {
		return m.Set, fmt.Errorf("method %s: %s is %s: want a fraction of the heads, from 0 to 1", e.Name, FullShare, share)
	}
	full, err := json.Marshal(evenMap(d.Model.Shape, part))
	set := maps.Clone(m.Set)
	delete(set, FullShare)
	set[fullKey] = full
	return set, err
}

// evenMap returns a map of heads [L][H] in which n = round(part·L·H) are 1: in layer l the first
// ⌊(l+1)·n/L⌋ − ⌊l·n/L⌋.
func evenMap(s kv.Shape, part float64) [][]int {
	n := int(math.Round(float64(s.Heads()) * part))
	full := make([][]int, s.Layers)
	for l := range full {
		full[l] = make([]int, s.KVHeads)
		for h := range (l+1)*n/s.Layers - l*n/s.Layers {
			full[l][h] = 1
		}
	}
	return full
}

// Selection returns how much of each head a decode step reads, by a method or by the model's indexer; nil if it
// reads all KVs.
func (d *Deployment) Selection() *sim.Selection {
	if x := &d.Model.Indexer; x.Tokens > 0 {
		return &sim.Selection{Tokens: x.Tokens}
	}
	if d.Method.Method != quest {
		return nil
	}
	cfg := d.Method
	cfg.Shape = d.Model.Shape
	tokens, page, err := cfg.QuestReads()
	if err != nil {
		return nil // Validate returns the error
	}
	return &sim.Selection{Tokens: tokens, Page: page}
}

// checkMethod returns an error if the method cannot be projected. It says what to do.
func (d *Deployment) checkMethod() error {
	if d.Method.Method == quest {
		cfg := d.Method
		cfg.Shape = d.Model.Shape
		_, _, err := cfg.QuestReads()
		return err
	}
	switch d.Method.Method {
	case infLLM:
		_, err := d.Method.InfLLMReads()
		if err == nil && d.Card.Host == 0 {
			err = fmt.Errorf("method %s on %s, whose host_bytes_per_sec is not known: set it in a file of the card", infLLM, d.Card.Name)
		}
		return err
	case llmLingua2:
		_, err := d.Method.PromptCompression()
		return err
	}
	_, err := d.settings()
	if err != nil {
		return err
	}
	cfg := d.Config()
	cfg.Blocks = 1
	if err := cfg.Validate(); err != nil {
		return err
	}
	if cfg.Method != "" && !cfg.Compression.Enabled() {
		method, err := cfg.NewMethod()
		if err != nil {
			return err
		}
		const long = 1 << 20
		if method.Asks(ref.Counts{Prompt: long, Tokens: long, Heads: slices.Repeat([]int{long}, cfg.Shape.Heads())}) == 0 {
			return fmt.Errorf("method %s compresses nothing without max_cache_tokens or rate", cfg.Method)
		}
	}
	return nil
}

// blockMetadata returns the bytes of a block other than its keys and values.
func (d *Deployment) blockMetadata() int {
	cfg := d.Config()
	if s := d.Selection(); s != nil && s.Page > 0 { // the bounds of a page's keys are as many bytes as a KV
		return ceil.Div(cfg.PageBytes(), s.Page)
	}
	if !cfg.Compresses() {
		return 0
	}
	return int(cfg.MetadataBytes(1))
}

// ranks reports whether a compression ranks KVs, for which it needs scratch.
func (d *Deployment) ranks() bool {
	cfg := d.Config()
	method, err := cfg.NewMethod()
	if err != nil || !cfg.Compresses() {
		return false
	}
	return sim.Ranks(method)
}

// attentionBytes returns the bytes that decode attention moves for each KV that it reads: K and V, the
// weight of a stand-in, the mask of hidden KVs, and scores that are read, updated and written. The
// metrics of KV-Compress are part of the term's factor, which was measured with them.
func (d *Deployment) attentionBytes() int {
	cfg := d.Config()
	bytes := d.rowBytes()
	if cfg.CountsBlocks() {
		return bytes
	}
	method, err := cfg.NewMethod()
	if err != nil {
		return bytes
	}
	columns := method.Columns()
	if f, ok := method.(ref.Folder); ok {
		if w := f.StandIns().Weight; w != ref.None {
			bytes += columns[w].Bytes()
		}
	}
	if m, ok := method.(ref.Masker); ok {
		bytes += columns[m.Hidden()].Bytes()
	}
	if o := method.Observe(); o != nil && o.Decode {
		bytes += 2 * columns[o.Column].Bytes()
	}
	return bytes
}

// foldedBytes returns the bytes that a compression reads of each evicted KV: K and V if it folds them
// into a stand-in, else 0.
func (d *Deployment) foldedBytes() int {
	cfg := d.Config()
	if cfg.CountsBlocks() {
		return 0
	}
	if method, err := cfg.NewMethod(); err == nil {
		if f, ok := method.(ref.Folder); ok && f.StandIns().Weight != ref.None {
			return 2 * cfg.RowBytes()
		}
	}
	return 0
}

// quantizeBytes returns the bytes that are read and written to quantize a key or a value, the mean of
// both.
func (d *Deployment) quantizeBytes() float64 {
	cfg := d.Config()
	method, err := cfg.NewMethod()
	if err != nil {
		return 0
	}
	q, ok := method.(ref.Quantizer)
	if !ok {
		return 0
	}
	keys, values := q.Formats()
	return float64(cfg.RowBytes()) + (cfg.Payload(keys)+cfg.Payload(values))/2
}

// mergeBytes returns the bytes that are read and written to merge a key or a value: it is read, half a
// direction and its norms are written, and if its token is retained it is written unmerged too.
func (d *Deployment) mergeBytes() float64 {
	cfg := d.Config()
	method, err := cfg.NewMethod()
	if err != nil {
		return 0
	}
	m, ok := method.(ref.Merger)
	if !ok {
		return 0
	}
	const prompt = 1 << 20
	retained, _ := m.Retains(prompt)
	return float64(cfg.RowBytes()) + float64(cfg.UnitBytes(m.Directions()))/2 + float64(retained)/prompt*float64(cfg.UnitBytes(ref.RetainedFormat()))
}

// Notes returns the assumptions of a projection about its model and its method, a sentence or two
// each. There are none for models with equal layers and KV-Compress, whose throughput was measured.
func (d *Deployment) Notes() []string { return append(d.modelNotes(), d.methodNotes()...) }

func (d *Deployment) methodNotes() []string {
	if s := d.Selection(); s != nil && s.Page > 0 {
		notes := []string{"The kernels of the method are not measured: reading a KV is assumed to cost the same as with KV-Compress, and so are the bounds of a page, which have as many bytes. No memory is freed, and the bounds need some."}
		if s.Tokens > d.Method.Compression.MaxCacheTokens {
			notes = append(notes, fmt.Sprintf("The %d query heads of a KV head are assumed to read different pages, %d KVs in all; with shared=true they read the same.", d.Model.Shape.Group, s.Tokens))
		}
		return notes
	}
	if notes := d.plannedNotes(); notes != nil {
		return notes
	}
	cfg := d.Config()
	method, err := cfg.NewMethod()
	if err != nil || method.Name() == ref.KVCompress {
		return nil
	}
	notes := []string{"The kernels of the method are not measured: compression is assumed to cost the same as KV-Compress's per KV, sequence and step."}
	say := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	if m, ok := method.(ref.Merger); ok {
		from := m.Merging().First
		say("Of %d layers those from %d on share directions, in %d pairs: both layers of a pair share the memory, and each reads all of it.", cfg.Shape.Layers, from, m.Merging().Pairs)
	}
	if _, ok := method.(ref.Masker); ok {
		say("It frees nothing: hidden KVs are held, and assumed to be read.")
	}
	if n := cfg.Shape.KVHeads / d.Model.Shape.KVHeads; n > 1 {
		say("It caches a copy of K and V for each query head: %d times the KVs of the model's heads.", n)
	}
	if _, ok := d.Method.Set[FullShare]; ok {
		full := 0
		for _, heads := range evenMap(d.Model.Shape, d.fullShare()) {
			for _, v := range heads {
				full += v
			}
		}
		say("Of %d heads %d are assumed to keep everything, spread evenly over the layers: a projection depends on their number only.", cfg.Shape.Heads(), full)
	}
	if dropper, ok := method.(ref.Dropper); ok {
		const prompt = 1 << 20
		r := dropper.Rank(ref.Counts{Prompt: prompt, Tokens: prompt, Heads: slices.Repeat([]int{prompt}, cfg.Shape.Heads())})
		if slices.ContainsFunc(r.Quotas, func(q ref.Quota) bool { return q.Heads > 1 }) {
			say("Which heads of a layer lose more KVs than others depends on values: all are assumed to keep the same number, unless a measured profile says otherwise.")
		}
	}
	return notes
}

// fullShare returns the value of FullShare.
func (d *Deployment) fullShare() float64 {
	var part float64
	if err := json.Unmarshal(d.Method.Set[FullShare], &part); err != nil {
		return 0
	}
	return part
}
