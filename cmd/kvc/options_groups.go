package main

import (
	"kvcompress/dtype"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
)

// addMethod binds the method, its own options, and how much it compresses to.
func (b *binder) addMethod() {
	fs := b.fs
	b.method = addMethodFlags(fs)
	bind(b, fs.IntVar, "max-cache-tokens", func(o *sim.Options) *int { return &o.Compression.MaxCacheTokens },
		"compress to this many KVs per head, averaged as kvc methods NAME says (clears the options' rate)")
	b.also(func(o *sim.Options) { o.Compression.Rate = 0 })
	bind(b, fs.Float64Var, "rate", func(o *sim.Options) *float64 { return &o.Compression.Rate },
		"compress to this fraction, in (0, 1]; kvc methods NAME says of what (clears the options' max_cache_tokens)")
	b.also(func(o *sim.Options) { o.Compression.MaxCacheTokens = 0 })
	fs.BoolVar(&b.none, "no-compression", false, "do not compress, whatever the options say")
}

// addEviction binds the options of KV-Compress that decide how many KVs of which heads are
// evicted.
func (b *binder) addEviction() {
	fs := b.fs
	bind(b, fs.IntVar, "protected-window", func(o *sim.Options) *int { return &o.Compression.ProtectedWindow },
		"newest tokens whose KVs are never evicted")
	bind(b, fs.IntVar, "sinks", func(o *sim.Options) *int { return &o.Compression.Sinks },
		"oldest tokens whose KVs are never evicted")
	bind(b, fs.BoolVar, "even-layers", func(o *sim.Options) *bool { return &o.Compression.EvenLayers },
		"evict the same number of blocks from every layer (clears the options' uniform)")
	b.also(func(o *sim.Options) { o.Compression.Uniform = o.Compression.Uniform && !o.Compression.EvenLayers })
	bind(b, fs.BoolVar, "uniform", func(o *sim.Options) *bool { return &o.Compression.Uniform },
		"evict the same number of blocks from every head (clears the options' even_layers)")
	b.also(func(o *sim.Options) { o.Compression.EvenLayers = o.Compression.EvenLayers && !o.Compression.Uniform })
	bind(b, fs.IntSliceVar, "control-layers", func(o *sim.Options) *[]int { return &o.Compression.ControlLayers },
		"with --even-layers, `layers` from which nothing is evicted, such as 0,31")
}

// addRanking binds the options of KV-Compress that decide which KVs are evicted and not how
// many. Projections do not depend on them.
func (b *binder) addRanking() {
	fs := b.fs
	bind(b, fs.BoolVar, "random", func(o *sim.Options) *bool { return &o.Compression.Random },
		"evict random KVs, as a baseline")
	bind(b, fs.Uint64Var, "seed", func(o *sim.Options) *uint64 { return &o.Compression.Seed },
		"seed of --random")
	fs.StringVar(&b.biasFile, "head-bias", "", "add a bias to each KV's eviction metric by layer, head and position: a `file`, JSON {\"bins\": [0, …], \"bias\": [L][H][bins]}, or safetensors or npz with bias and pos_bins")
	bind(b, fs.Float32Var, "bias-weight", func(o *sim.Options) *float32 { return &o.Compression.BiasWeight },
		"weight of the head bias (default 1 with --head-bias, unless the options have one)")
}

// addSchedule binds the options that decide when sequences are compressed.
func (b *binder) addSchedule() {
	fs := b.fs
	bind(b, fs.BoolVar, "compress-once", func(o *sim.Options) *bool { return &o.Schedule.Once },
		"compress each sequence once only")
	bind(b, fs.IntVar, "interval", func(o *sim.Options) *int { return &o.Schedule.Interval },
		"decode steps between compressions; 0: compress only after a prefill or when the cache is full, which is the default of KV-Compress in kvc sim and kvc sweep, as it was measured")
	bind(b, fs.IntVar, "new-token-limit", func(o *sim.Options) *int { return &o.Schedule.NewTokenLimit },
		"compress when more than this many tokens were added since the last compression; 0 is no limit")
	bind(b, fs.IntVar, "max-kv-per-compression", func(o *sim.Options) *int { return &o.Schedule.MaxKVPerCompression },
		"most KV slots that one compression sorts; 0 is no limit, the default of a replay; kvc sim and kvc sweep have 5,000,000, as KV-Compress was measured")
}

// addRules binds rules in which the schedulers here differ from the published servers by
// default.
func (b *binder) addRules() {
	fs := b.fs
	bind(b, fs.BoolVar, "drop-outgrown", func(o *sim.Options) *bool { return &o.Limits.DropOutgrown },
		"refuse a preempted sequence that has become longer than a prefill batch, as vLLM 0.6 does, instead of recomputing it in a batch of its own")
	bind(b, fs.BoolVar, "hold-after-preemption", func(o *sim.Options) *bool { return &o.Limits.HoldAfterPreemption },
		"with the scheduler of vllm-0.6, admit no request after a preemption until a sequence finishes; vLLM 0.6 itself does not wait")
	bind(b, fs.BoolVar, "strict-max-kv", func(o *sim.Options) *bool { return &o.Schedule.Strict },
		"apply --max-kv-per-compression to the first sequence of a compression too, as KV-Compress's server does")
	bind(b, fs.BoolVar, "compress-until-free", func(o *sim.Options) *bool { return &o.Schedule.UntilFree },
		"when a decode step lacks blocks, compress until there are enough or no more can be freed, before a sequence is preempted; KV-Compress's server compresses once per step")
}

// addPages binds the size and format of the cache's blocks; addBlocks binds their number.
func (b *binder) addPages() {
	fs := b.fs
	bind(b, fs.IntVar, "block-size", func(o *sim.Options) *int { return &o.BlockSize },
		"KVs per block: 1, 2, 4, 8, 16 or 32")
	bind(b, enumVar(fs, dtype.F32, dtype.F16, dtype.BF16, dtype.E4M3, dtype.E5M2), "kv-dtype", func(o *sim.Options) *dtype.DType { return &o.DType },
		"format of keys and values in the cache: f32, f16, bf16, fp8_e4m3 or fp8_e5m2 (a format without scales clears the options' kv_scale)")
	b.also(func(o *sim.Options) {
		if o.DType.Size() > 1 {
			o.KVScale = nil
		}
	})
}

// addScales binds the scales of an fp8 cache. If only those of K or V are given, the others are 1.
func (b *binder) addScales() {
	k, v := []float32{1}, []float32{1}
	b.addScale("k-scale", "keys", &k, func(s *kv.Scale) *[]float32 { return &s.K })
	b.addScale("v-scale", "values", &v, func(s *kv.Scale) *[]float32 { return &s.V })
}

func (b *binder) addScale(name, what string, given *[]float32, at func(*kv.Scale) *[]float32) {
	b.fs.Float32SliceVar(given, name, *given, "scale of the "+what+" in an fp8 cache, which are divided by it when stored and multiplied when read: one number, or `numbers` for each layer")
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
		"blocks of the cache, each of one head; 0: enough to hold all requests of a trace uncompressed, or in kvc sim what the card's memory holds")
}

// addMetric binds how KV-Compress computes a KV's metric from attention weights; addWindow binds
// the number of a prompt's queries that it observes.
func (b *binder) addMetric() {
	fs := b.fs
	bind(b, enumVar(fs, ref.L2, ref.L1), "norm", func(o *sim.Options) *ref.Norm { return &o.Metric.Norm },
		"what an attention weight adds to a KV's metric: its square (L2) or itself (L1)")
	bind(b, enumVar(fs, ref.Sum, ref.Avg), "reduction", func(o *sim.Options) *ref.Reduction { return &o.Metric.Reduction },
		"how these are reduced over queries: sum or avg")
	bind(b, fs.IntVar, "max-pool", func(o *sim.Options) *int { return &o.Metric.MaxPool },
		"width, an odd number of tokens, over which a prompt's metric is max-pooled; 0 is none")
	bind(b, fs.IntVar, "chunk", func(o *sim.Options) *int { return &o.Metric.Chunk },
		"queries of the window that are summed and max-pooled together, before these results are added up; 0 is all; reference engine only")
	bind(b, fs.IntVar, "buffer", func(o *sim.Options) *int { return &o.Metric.Buffer },
		"a query counts only for keys that are at least this many tokens older")
	bind(b, fs.BoolVar, "prefill-metrics-only", func(o *sim.Options) *bool { return &o.Metric.PrefillOnly },
		"observe the prompt's last queries only, and no decode steps")
}

func (b *binder) addWindow() {
	bind(b, b.fs.IntVar, "window", func(o *sim.Options) *int { return &o.Metric.Window },
		"number of a prompt's last queries that the metric observes")
}

// addSequences binds the number of sequences that run at a time; addBatch binds the other limits.
func (b *binder) addSequences() {
	bind(b, b.fs.IntVar, "max-num-seqs", func(o *sim.Options) *int { return &o.Limits.MaxNumSeqs },
		"most sequences that run at a time; in kvc sim with vllm-v1, unless given, vLLM's default for the card")
}

func (b *binder) addBatch() {
	fs := b.fs
	bind(b, fs.IntVar, "max-num-batched-tokens", func(o *sim.Options) *int { return &o.Limits.MaxNumBatchedTokens },
		"most tokens of one prefill batch; in kvc sim with vllm-v1, of one iteration, and unless given vLLM's default for the card")
	bind(b, fs.IntVar, "max-model-len", func(o *sim.Options) *int { return &o.Limits.MaxModelLen },
		"most tokens of a request, prompt and output; a longer one is refused; 0 is the context of the --model, or no limit without one")
	bind(b, fs.Float64Var, "watermark", func(o *sim.Options) *float64 { return &o.Limits.Watermark },
		"fraction of the blocks that stays free when a request is admitted")
}
