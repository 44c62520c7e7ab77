package trace

import "fmt"

// Model is a published model's name and attention shape.
type Model struct {
	Name   string
	Shape  Shape
	Source string // where the shape is published
}

// Models returns the models whose shapes are known by name, in the order in which
// they are listed to a user.
func Models() []Model {
	return []Model{
		{"llama-3.1-8b", Shape{32, 8, 4, 128}, "config.json of meta-llama/Llama-3.1-8B on Hugging Face"},
		{"llama-3.1-70b", Shape{80, 8, 8, 128}, "config.json of meta-llama/Llama-3.1-70B on Hugging Face"},
		{"llama-2-7b", Shape{32, 32, 1, 128}, "config.json of meta-llama/Llama-2-7b-hf on Hugging Face"},
		{"mistral-7b", Shape{32, 8, 4, 128}, "config.json of mistralai/Mistral-7B-v0.1 on Hugging Face"},
		{"qwen2.5-7b", Shape{28, 4, 7, 128}, "config.json of Qwen/Qwen2.5-7B on Hugging Face"},
		{"stories260k", Shape{5, 4, 2, 8}, "header of stories260K.bin of karpathy/tinyllamas on Hugging Face"},
	}
}

// FindModel returns the model of the given name. The error lists those there are.
func FindModel(name string) (Model, error) {
	names := ""
	for _, m := range Models() {
		if m.Name == name {
			return m, nil
		}
		names += " " + m.Name
	}
	return Model{}, fmt.Errorf("unknown model %q; known are%s", name, names)
}
