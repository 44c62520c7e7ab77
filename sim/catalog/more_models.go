package catalog

import "kvcompress/kv"

// denseModels are further dense models of the Llama family.
func denseModels() []Model {
	of := func(repo string, shape kv.Shape, hidden, intermediate, vocab, context int, names ...string) Model {
		return Model{Name: names[0], Aliases: append(names[1:], repo), Shape: shape, Hidden: hidden, Intermediate: intermediate, Vocab: vocab,
			MaxLen: context, Weights: BF16, Source: "config.json of " + repo + " on Hugging Face"}
	}
	shape := func(layers, kvHeads, group, headSize int) kv.Shape {
		return kv.Shape{Layers: layers, KVHeads: kvHeads, Group: group, HeadSize: headSize}
	}
	tied := func(m Model) Model { m.Tied = true; return m }
	return []Model{
		of("meta-llama/Meta-Llama-3-8B", shape(32, 8, 4, 128), 4096, 14336, 128256, 8192, "llama-3-8b", "Meta-Llama-3-8B", "Meta-Llama-3-8B-Instruct", "meta-llama/Meta-Llama-3-8B-Instruct"),
		of("meta-llama/Meta-Llama-3-70B", shape(80, 8, 8, 128), 8192, 28672, 128256, 8192, "llama-3-70b", "Meta-Llama-3-70B", "Meta-Llama-3-70B-Instruct", "meta-llama/Meta-Llama-3-70B-Instruct"),
		tied(of("meta-llama/Llama-3.2-1B", shape(16, 8, 4, 64), 2048, 8192, 128256, 131072, "llama-3.2-1b", "Llama-3.2-1B-Instruct", "meta-llama/Llama-3.2-1B-Instruct")),
		tied(of("meta-llama/Llama-3.2-3B", shape(28, 8, 3, 128), 3072, 8192, 128256, 131072, "llama-3.2-3b", "Llama-3.2-3B-Instruct", "meta-llama/Llama-3.2-3B-Instruct")),
		of("codellama/CodeLlama-34b-hf", shape(48, 8, 8, 128), 8192, 22016, 32000, 16384, "codellama-34b", "CodeLlama-34b-Instruct-hf", "codellama/CodeLlama-34b-Instruct-hf"),
		of("mistralai/Mistral-Nemo-Instruct-2407", shape(40, 8, 4, 128), 5120, 14336, 131072, 1024000, "mistral-nemo", "Mistral-Nemo-12B", "Mistral-Nemo-Instruct-2407", "mistralai/Mistral-Nemo-Base-2407"),
		of("01-ai/Yi-34B", shape(60, 8, 7, 128), 7168, 20480, 64000, 4096, "yi-34b", "01-ai/Yi-34B-Chat"),
	}
}
