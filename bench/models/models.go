// Package models has the models that a bench runs by default: two seeds of a Llama of
// 418,656 parameters, in f16, that was trained to find what a question asks for in contexts
// of up to 2,048 tokens. 4 layers, 4 query and 2 KV heads of 32 elements, a vocabulary of
// 256 token ids, which package bench/task writes in; training has the scripts.
//
// They retrieve: layers 1 and 2 (in recall-1 also 3) have an induction head each, KV head
// 0, and KV head 1 of layer 2 is an echo head.
package models

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"kvcompress/trace/llama"
)

//go:embed recall-0/config.json recall-0/model.safetensors recall-1/config.json recall-1/model.safetensors
var files embed.FS

// Names returns the names of the bundled models. The first is the default.
func Names() []string { return []string{"recall-0", "recall-1"} }

// Load reads a bundled model. The error lists the names that there are.
func Load(name string) (*llama.Model, error) {
	if !slices.Contains(Names(), name) {
		return nil, fmt.Errorf("models: there is no bundled model %q: there are %s", name, strings.Join(Names(), ", "))
	}
	dir, err := fs.Sub(files, name)
	if err != nil {
		return nil, fmt.Errorf("models: %w", err)
	}
	return llama.LoadFS(dir)
}
