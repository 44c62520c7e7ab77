package trace

import (
	"fmt"
	"strings"

	"kvcompress/internal/near"
	"kvcompress/kv"
)

// Model is the name and the attention shape of a published model.
type Model struct {
	Name   string
	Shape  kv.Shape
	Source string // where its shape is published
}

// Models returns the models that are known by name, in the order of user-visible lists.
func Models() []Model {
	return []Model{
		{"llama-3.1-8b", kv.Shape{Layers: 32, KVHeads: 8, Group: 4, HeadSize: 128}, "config.json of meta-llama/Llama-3.1-8B on Hugging Face"},
		{"llama-3.1-70b", kv.Shape{Layers: 80, KVHeads: 8, Group: 8, HeadSize: 128}, "config.json of meta-llama/Llama-3.1-70B on Hugging Face"},
		{"llama-2-7b", kv.Shape{Layers: 32, KVHeads: 32, Group: 1, HeadSize: 128}, "config.json of meta-llama/Llama-2-7b-hf on Hugging Face"},
		{"mistral-7b", kv.Shape{Layers: 32, KVHeads: 8, Group: 4, HeadSize: 128}, "config.json of mistralai/Mistral-7B-v0.1 on Hugging Face"},
		{"qwen2.5-7b", kv.Shape{Layers: 28, KVHeads: 4, Group: 7, HeadSize: 128}, "config.json of Qwen/Qwen2.5-7B on Hugging Face"},
		{"stories260k", kv.Shape{Layers: 5, KVHeads: 4, Group: 2, HeadSize: 8}, "header of stories260K.bin of karpathy/tinyllamas on Hugging Face"},
	}
}

// FindModel returns the model with the given name. The error lists the known names.
func FindModel(name string) (Model, error) {
	var names []string
	for _, m := range Models() {
		if m.Name == name {
			return m, nil
		}
		names = append(names, m.Name)
	}
	return Model{}, fmt.Errorf("unknown model %q%s, want one of %s", name, near.Hint(name, names), strings.Join(names, ", "))
}
