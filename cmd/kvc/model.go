package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kvcompress/bench/models"
	"kvcompress/internal/near"
	"kvcompress/trace/llama"
	"kvcompress/trace/regular"
	"kvcompress/trace/tokenizer"
)

// loadModel reads a model by the name of a bundled one or from a path.
func loadModel(name string) (*llama.Model, error) {
	if slices.Contains(models.Names(), name) {
		return models.Load(name)
	}
	if _, err := os.Stat(name); err != nil {
		return nil, usagef("--model %s: %w%s; the bundled models are %s", name, regular.Short(err), near.Hint(name, models.Names()), strings.Join(models.Names(), ", "))
	}
	return llama.Load(name)
}

// tokenizerOf reads a tokenizer from a path or, if that is empty, from the model's folder.
// It returns nil if there is none and none is needed.
func tokenizerOf(path, model string, needed bool) (tokenizer.Tokenizer, error) {
	if path != "" {
		return tokenizer.Load(path)
	}
	path = filepath.Join(model, "tokenizer.json")
	if _, err := os.Stat(path); err != nil {
		switch {
		case !needed:
			return nil, nil
		case errors.Is(err, fs.ErrNotExist):
			return nil, usagef("--tokenizer is missing: there is no tokenizer.json in %s", model)
		default: // the model is a file
			return nil, usagef("--tokenizer is missing: a llama2.c checkpoint comes with a tokenizer.bin")
		}
	}
	tok, err := tokenizer.Load(path)
	if err != nil && !needed {
		return nil, nil // tokens are then printed as ids
	}
	return tok, err
}
