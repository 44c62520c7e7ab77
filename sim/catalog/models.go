package catalog

import (
	"kvcompress/kv"
)

// Models returns the models that are known by name, in the order in which they are
// listed to a user. The figures are those of each model's config.json on Hugging
// Face.
func Models() []Model {
	const (
		llama31 = 131072
		llama2  = 4096
	)
	hf := func(repo string) string { return "config.json of " + repo + " on Hugging Face" }
	return append([]Model{
		{Name: "llama-3.1-8b", Aliases: []string{"Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B-Instruct"},
			Shape: kv.Shape{Layers: 32, KVHeads: 8, Group: 4, HeadSize: 128}, Hidden: 4096, Intermediate: 14336, Vocab: 128256,
			MaxLen: llama31, Weights: BF16, Source: hf("meta-llama/Llama-3.1-8B")},
		{Name: "llama-3.1-70b", Aliases: []string{"Llama-3.1-70B-Instruct", "meta-llama/Llama-3.1-70B", "meta-llama/Llama-3.1-70B-Instruct"},
			Shape: kv.Shape{Layers: 80, KVHeads: 8, Group: 8, HeadSize: 128}, Hidden: 8192, Intermediate: 28672, Vocab: 128256,
			MaxLen: llama31, Weights: BF16, Source: hf("meta-llama/Llama-3.1-70B")},
		{Name: "llama-3.1-70b-fp8", Aliases: []string{"Llama-3.1-70B-Instruct-FP8", "neuralmagic/Meta-Llama-3.1-70B-Instruct-FP8"},
			Shape: kv.Shape{Layers: 80, KVHeads: 8, Group: 8, HeadSize: 128}, Hidden: 8192, Intermediate: 28672, Vocab: 128256,
			MaxLen: llama31, Weights: FP8, Source: hf("neuralmagic/Meta-Llama-3.1-70B-Instruct-FP8")},
		{Name: "llama-3.3-70b", Aliases: []string{"Llama-3.3-70B-Instruct", "meta-llama/Llama-3.3-70B-Instruct"},
			Shape: kv.Shape{Layers: 80, KVHeads: 8, Group: 8, HeadSize: 128}, Hidden: 8192, Intermediate: 28672, Vocab: 128256,
			MaxLen: llama31, Weights: BF16, Source: hf("meta-llama/Llama-3.3-70B-Instruct")},
		{Name: "llama-2-7b", Aliases: []string{"meta-llama/Llama-2-7b-hf"},
			Shape: kv.Shape{Layers: 32, KVHeads: 32, Group: 1, HeadSize: 128}, Hidden: 4096, Intermediate: 11008, Vocab: 32000,
			MaxLen: llama2, Weights: F16, Source: hf("meta-llama/Llama-2-7b-hf")},
		{Name: "llama-2-13b", Aliases: []string{"meta-llama/Llama-2-13b-hf"},
			Shape: kv.Shape{Layers: 40, KVHeads: 40, Group: 1, HeadSize: 128}, Hidden: 5120, Intermediate: 13824, Vocab: 32000,
			MaxLen: llama2, Weights: F16, Source: hf("meta-llama/Llama-2-13b-hf")},
		{Name: "llama-2-70b", Aliases: []string{"meta-llama/Llama-2-70b-hf"},
			Shape: kv.Shape{Layers: 80, KVHeads: 8, Group: 8, HeadSize: 128}, Hidden: 8192, Intermediate: 28672, Vocab: 32000,
			MaxLen: llama2, Weights: F16, Source: hf("meta-llama/Llama-2-70b-hf")},
		{Name: "mistral-7b", Aliases: []string{"Mistral-7B-Instruct-v0.2", "mistralai/Mistral-7B-Instruct-v0.2"},
			Shape: kv.Shape{Layers: 32, KVHeads: 8, Group: 4, HeadSize: 128}, Hidden: 4096, Intermediate: 14336, Vocab: 32000,
			MaxLen: 32768, Weights: BF16, Source: hf("mistralai/Mistral-7B-Instruct-v0.2")},
		qwen("qwen2.5-0.5b", 24, 2, 7, 64, 896, 4864, true, 151936),
		qwen("qwen2.5-1.5b", 28, 2, 6, 128, 1536, 8960, true, 151936),
		qwen("qwen2.5-3b", 36, 2, 8, 128, 2048, 11008, true, 151936),
		qwen("qwen2.5-7b", 28, 4, 7, 128, 3584, 18944, false, 152064),
		qwen("qwen2.5-14b", 48, 8, 5, 128, 5120, 13824, false, 152064),
		qwen("qwen2.5-32b", 64, 8, 5, 128, 5120, 27648, false, 152064),
		qwen("qwen2.5-72b", 80, 8, 8, 128, 8192, 29568, false, 152064),
		qwen3("qwen3-0.6b", 28, 8, 2, 1024, 3072, true),
		qwen3("qwen3-1.7b", 28, 8, 2, 2048, 6144, true),
		qwen3("qwen3-4b", 36, 8, 4, 2560, 9728, true),
		qwen3("qwen3-8b", 36, 8, 4, 4096, 12288, false),
		qwen3("qwen3-14b", 40, 8, 5, 5120, 17408, false),
		qwen3("qwen3-32b", 64, 8, 8, 5120, 25600, false),
	}, denseModels()...)
}

func qwen(name string, layers, kvHeads, group, headSize, hidden, intermediate int, tied bool, vocab int) Model {
	repo := "Qwen/Qwen2.5-" + name[len("qwen2.5-"):]
	return Model{Name: name, Aliases: []string{repo, repo + "-Instruct"},
		Shape:  kv.Shape{Layers: layers, KVHeads: kvHeads, Group: group, HeadSize: headSize},
		Hidden: hidden, Intermediate: intermediate, Vocab: vocab, Tied: tied, QKVBias: true,
		MaxLen: 32768, Weights: BF16, Source: "config.json of " + repo + " on Hugging Face"}
}

func qwen3(name string, layers, kvHeads, group, hidden, intermediate int, tied bool) Model {
	repo := "Qwen/Qwen3-" + name[len("qwen3-"):]
	return Model{Name: name, Aliases: []string{repo},
		Shape:  kv.Shape{Layers: layers, KVHeads: kvHeads, Group: group, HeadSize: 128},
		Hidden: hidden, Intermediate: intermediate, Vocab: 151936, Tied: tied,
		MaxLen: 40960, Weights: BF16, Source: "config.json of " + repo + " on Hugging Face"}
}
