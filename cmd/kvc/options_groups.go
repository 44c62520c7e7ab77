package main

import (
	"kvcompress/dtype"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
)

// addMethod binds which method compresses, with its own options, and to how much.
func (b *binder) addMethod() {
	fs := b.fs
	b.method = addMethodFlags(fs)
	bind(b, fs.IntVar, "max-cache-tokens", func(o *sim.Options) *int { return &o.Compression.MaxCacheTokens },
		"compress to this many KVs a head: kvc methods NAME says on what average (clears the options' rate)")
	b.also(func(o *sim.Options) { o.Compression.Rate = 0 })
	bind(b, fs.Float64Var, "rate", func(o *sim.Options) *float64 { return &o.Compression.Rate },
		"compress to this part, in (0, 1]: kvc methods NAME says of what (clears the options' max_cache_tokens)")
	b.also(func(o *sim.Options) { o.Compression.MaxCacheTokens = 0 })
	fs.BoolVar(&b.none, "no-compression", false, "compress nothing, whatever the options say")
}

// addEviction binds the options of KV-Compress that decide how many KVs of which heads are
// evicted.
func (b *binder) addEviction() {
	fs := b.fs
	bind(b, fs.IntVar, "protected-window", func(o *sim.Options) *int { return &o.Compression.ProtectedWindow },
		"never evict this many of the newest tokens")
	bind(b, fs.IntVar, "sinks", func(o *sim.Options) *int { return &o.Compression.Sinks },
		"never evict this many of the oldest tokens")
	bind(b, fs.BoolVar, "even-layers", func(o *sim.Options) *bool { return &o.Compression.EvenLayers },
		"evict as many blocks from every layer (clears the options' uniform)")
	b.also(func(o *sim.Options) { o.Compression.Uniform = o.Compression.Uniform && !o.Compression.EvenLayers })
	bind(b, fs.BoolVar, "uniform", func(o *sim.Options) *bool { return &o.Compression.Uniform },
		"evict as many blocks from every head (clears the options' even_layers)")
	b.also(func(o *sim.Options) { o.Compression.EvenLayers = o.Compression.EvenLayers && !o.Compression.Uniform })
	bind(b, fs.IntSliceVar, "control-layers", func(o *sim.Options) *[]int { return &o.Compression.ControlLayers },
		"with even layers, the `layers` that lose nothing, as in 0,31")
}

// addRanking binds the options of KV-Compress that decide only which KVs are evicted: a
// plan does not depend on them.
func (b *binder) addRanking() {
	fs := b.fs
	bind(b, fs.BoolVar, "random", func(o *sim.Options) *bool { return &o.Compression.Random },
		"evict at random: the baseline")
	bind(b, fs.Uint64Var, "seed", func(o *sim.Options) *uint64 { return &o.Compression.Seed },
		"seed of --random")
	fs.StringVar(&b.biasFile, "head-bias", "", "add a bias to every KV's cost by layer, head and position: a `file`, JSON {\"bins\": [0, …], \"bias\": [L][H][bins]}, or safetensors or npz with bias and pos_bins")
	bind(b, fs.Float32Var, "bias-weight", func(o *sim.Options) *float32 { return &o.Compression.BiasWeight },
		"weight of the head bias; where the options have none, --head-bias makes it 1")
}

// addSchedule binds when sequences are compressed.
func (b *binder) addSchedule() {
	fs := b.fs
	bind(b, fs.BoolVar, "compress-once", func(o *sim.Options) *bool { return &o.Schedule.Once },
		"compress each sequence a single time")
	bind(b, fs.IntVar, "interval", func(o *sim.Options) *int { return &o.Schedule.Interval },
		"decode steps between compressions; with 0, only a prefill or a full cache forces one: that is the default of KV-Compress in kvc sim and kvc sweep, as it was measured")
	bind(b, fs.IntVar, "new-token-limit", func(o *sim.Options) *int { return &o.Schedule.NewTokenLimit },
		"compress when more tokens than this have entered; 0 is no limit")
	bind(b, fs.IntVar, "max-kv-per-compression", func(o *sim.Options) *int { return &o.Schedule.MaxKVPerCompression },
		"slots that one compression sorts at most; 0 is no limit, which is the default where a trace is replayed; kvc sim and kvc sweep have 5,000,000, as KV-Compress was measured")
}

// addRules binds the rules in which this project's servers and the real ones differ.
func (b *binder) addRules() {
	fs := b.fs
	bind(b, fs.BoolVar, "drop-outgrown", func(o *sim.Options) *bool { return &o.Limits.DropOutgrown },
		"refuse a preempted sequence that has outgrown a batch, as vLLM 0.6 does, instead of recomputing it in a batch of its own")
	bind(b, fs.BoolVar, "hold-after-preemption", func(o *sim.Options) *bool { return &o.Limits.HoldAfterPreemption },
		"by the rules of vllm-0.6, admit nobody after a preemption until a sequence finishes; vLLM 0.6 does not")
	bind(b, fs.BoolVar, "strict-max-kv", func(o *sim.Options) *bool { return &o.Schedule.Strict },
		"have --max-kv-per-compression hold for the first sequence of a compression too, as KV-Compress's server does")
	bind(b, fs.BoolVar, "compress-until-free", func(o *sim.Options) *bool { return &o.Schedule.UntilFree },
		"compress again where a decode step lacks blocks, until no more come free, before anyone is preempted; KV-Compress's server compresses once in a step")
}

// addPages binds the size and format of the cache's blocks, addBlocks their number.
func (b *binder) addPages() {
	fs := b.fs
	bind(b, fs.IntVar, "block-size", func(o *sim.Options) *int { return &o.BlockSize },
		"KVs of one block: 1, 2, 4, 8, 16 or 32")
	bind(b, enumVar(fs, dtype.F32, dtype.F16, dtype.BF16, dtype.E4M3, dtype.E5M2), "kv-dtype", func(o *sim.Options) *dtype.DType { return &o.DType },
		"format of keys and values in the cache: f32, f16, bf16, fp8_e4m3 or fp8_e5m2 (one without scales clears the options' kv_scale)")
	b.also(func(o *sim.Options) {
		if o.DType.Size() > 1 {
			o.KVScale = nil
		}
	})
}

// addScales binds the scales of an fp8 cache. Where one of K and V has none, it is 1.
func (b *binder) addScales() {
	k, v := []float32{1}, []float32{1}
	b.addScale("k-scale", "keys", &k, func(s *kv.Scale) *[]float32 { return &s.K })
	b.addScale("v-scale", "values", &v, func(s *kv.Scale) *[]float32 { return &s.V })
}

func (b *binder) addScale(name, what string, given *[]float32, at func(*kv.Scale) *[]float32) {
	b.fs.Float32SliceVar(given, name, *given, "what "+what+" of an fp8 cache are divided by when they are stored, and multiplied by when they are read: one of the `numbers` for all layers, or one for each")
	b.last = name
	b.also(func(o *sim.Options) {
		scale := kv.Scale{K: []float32{1}, V: []float32{1}}
		if o.KVScale != nil {
			scale = *o.KVScale
		}
		*at(&scale) = *given
		o.KVScale = &scale
	})
}

func (b *binder) addBlocks() {
	bind(b, b.fs.IntVar, "blocks", func(o *sim.Options) *int { return &o.Blocks },
		"blocks of the cache, each of one head; 0 is as many as hold all requests of a trace uncompressed, and for kvc sim as the card's memory holds")
}

// addMetric binds how KV-Compress makes a metric of attention, addWindow of which.
func (b *binder) addMetric() {
	fs := b.fs
	bind(b, enumVar(fs, ref.L2, ref.L1), "norm", func(o *sim.Options) *ref.Norm { return &o.Metric.Norm },
		"what a KV gains from an attention weight: its square (L2) or itself (L1)")
	bind(b, enumVar(fs, ref.Sum, ref.Avg), "reduction", func(o *sim.Options) *ref.Reduction { return &o.Metric.Reduction },
		"how its gains over many queries become one: sum or avg")
	bind(b, fs.IntVar, "max-pool", func(o *sim.Options) *int { return &o.Metric.MaxPool },
		"tokens that a prompt's metric is max-pooled over, an odd number; 0 is none")
	bind(b, fs.IntVar, "chunk", func(o *sim.Options) *int { return &o.Metric.Chunk },
		"queries of the window that are max-pooled together, before their sums are added up; 0 is all of them; on the reference engine alone")
	bind(b, fs.IntVar, "buffer", func(o *sim.Options) *int { return &o.Metric.Buffer },
		"a query counts only for keys at least this many tokens back")
	bind(b, fs.BoolVar, "prefill-metrics-only", func(o *sim.Options) *bool { return &o.Metric.PrefillOnly },
		"decode steps add nothing to the metric: it is what the prompt's last queries gave")
}

func (b *binder) addWindow() {
	bind(b, b.fs.IntVar, "window", func(o *sim.Options) *int { return &o.Metric.Window },
		"last queries of a prompt that the metric observes")
}

// addSequences binds how many sequences run at a time, addBatch the other limits.
func (b *binder) addSequences() {
	bind(b, b.fs.IntVar, "max-num-seqs", func(o *sim.Options) *int { return &o.Limits.MaxNumSeqs },
		"sequences that run at a time")
}

func (b *binder) addBatch() {
	fs := b.fs
	bind(b, fs.IntVar, "max-num-batched-tokens", func(o *sim.Options) *int { return &o.Limits.MaxNumBatchedTokens },
		"tokens of one prefill batch")
	bind(b, fs.IntVar, "max-model-len", func(o *sim.Options) *int { return &o.Limits.MaxModelLen },
		"tokens of the longest request, prompt and output: a longer one is refused; 0 is no limit")
	bind(b, fs.Float64Var, "watermark", func(o *sim.Options) *float64 { return &o.Limits.Watermark },
		"part of the blocks that an admission leaves free")
}
