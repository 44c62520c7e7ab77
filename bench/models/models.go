// Package models has the models that a bench runs by default, recall-0 and recall-1: two seeds
// of a Llama model of 418,656 parameters in f16, trained to find records in contexts of up to
// 2,048 tokens. They have 4 layers, 4 query and 2 KV heads of 32 elements, and a vocabulary of
// 256 token ids, in which package bench/task writes its tasks. The folder training has the
// scripts.
//
// Their retrieval heads: KV head 0 of layers 1 and 2 (in recall-1 also of layer 3) is an
// induction head, and KV head 1 of layer 2 is an echo head.
//
// wide-0 has twice the heads, 8 query and 4 KV heads in each layer, and 566,112 parameters. It
// was trained on contexts of up to 2,048 tokens. Its induction heads are KV heads 0 and 2 of
// layers 1 and 2, its echo heads KV heads 1 and 3 of layer 2.
//
// Two more models have linear attention in all of their three layers (linear-0) or in two of
// them (hybrid-0). They were trained on the same tasks for a quarter of the steps.
//
// Start with [Load] and [LoadLinear].
package models

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"kvcompress/bench/linear"
	"kvcompress/internal/near"
	"kvcompress/trace/llama"
)

//go:embed recall-0/config.json recall-0/model.safetensors recall-1/config.json recall-1/model.safetensors
//go:embed wide-0/config.json wide-0/model.safetensors
//go:embed linear-0/config.json linear-0/model.safetensors hybrid-0/config.json hybrid-0/model.safetensors
var files embed.FS

// Names returns the names of the bundled models. The first is the default.
func Names() []string { return []string{"recall-0", "recall-1", "wide-0"} }

// Load reads a bundled model. The error for an unknown name lists the known ones.
func Load(name string) (*llama.Model, error) {
	if !slices.Contains(Names(), name) {
		return nil, fmt.Errorf("models: there is no bundled model %q%s: there are %s", name, near.Hint(name, Names()), strings.Join(Names(), ", "))
	}
	dir, err := fs.Sub(files, name)
	if err != nil {
		return nil, fmt.Errorf("models: %w", err)
	}
	return llama.LoadFS(dir)
}

// LinearNames returns the names of the bundled models with layers of linear attention.
func LinearNames() []string { return []string{"linear-0", "hybrid-0"} }

// LoadLinear returns a bundled model with layers of linear attention. Every call returns the
// same model. The error for an unknown name lists the known ones.
func LoadLinear(name string) (*linear.Model, error) {
	load := linearModels[name]
	if load == nil {
		return nil, fmt.Errorf("models: there is no bundled model %q with linear attention: there are %s", name, strings.Join(LinearNames(), ", "))
	}
	return load()
}

var linearModels = func() map[string]func() (*linear.Model, error) {
	all := map[string]func() (*linear.Model, error){}
	for _, name := range LinearNames() {
		all[name] = sync.OnceValues(func() (*linear.Model, error) {
			dir, err := fs.Sub(files, name)
			if err != nil {
				return nil, fmt.Errorf("models: %w", err)
			}
			return linear.LoadFS(dir)
		})
	}
	return all
}()
