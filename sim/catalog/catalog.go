// Package catalog describes language models and GPUs as far as a projection needs it: layers,
// heads and parameters; memory, bandwidth and peak FLOP/s, each figure with its source. Models
// and cards that are not in it are read from a file: a model's Hugging Face config.json
// ([ParseConfig]), or a few lines of JSON about a card ([FindCard]).
package catalog

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"kvcompress/strictjson"
	"kvcompress/trace/regular"
)

// maxFileBytes bounds a description of a model or card.
const maxFileBytes = 1 << 20

// FindModel returns the model of that name; where there is none, and the name ends in a
// format, as llama-3.1-70b-int8, the model with its weights in it; or else reads name as the
// path of a config.json, or of its folder. A hf_quant_config.json in the same folder says
// how the weights are quantized.
func FindModel(name string) (Model, error) {
	wanted := key(name)
	for _, e := range entries() {
		if e.is(wanted) {
			return e.model()
		}
	}
	if m, ok, err := inFormat(name); ok {
		return m, err
	}
	if !isFile(name) {
		return Model{}, fmt.Errorf("unknown model %q: known are %s, and the path of any Hugging Face config.json", name, strings.Join(ModelNames(), ", "))
	}
	path := name
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		path = filepath.Join(name, configFile)
	}
	text, err := readFile(path)
	if err != nil {
		return Model{}, err
	}
	var quant []byte
	if sibling := filepath.Join(filepath.Dir(path), quantFile); filepath.Base(path) == configFile && isFile(sibling) {
		if quant, err = readFile(sibling); err != nil {
			return Model{}, err
		}
	}
	m, err := ParseConfig(text, quant)
	if err != nil {
		return Model{}, fmt.Errorf("%s: %w", path, err)
	}
	m.Name, m.Source = name, path
	return m, nil
}

// The files of a model's folder that are read.
const (
	configFile = "config.json"
	quantFile  = "hf_quant_config.json"
)

// FindCard returns the card of that name, or, where there is none, reads name as
// the path of a card's JSON, in the form of [Card].
func FindCard(name string) (Card, error) {
	var known []string
	wanted := key(name)
	for _, c := range Cards() {
		if c.is(wanted) {
			return c, nil
		}
		known = append(known, c.Name)
	}
	if !isFile(name) {
		return Card{}, fmt.Errorf("unknown card %q: known are %s, and the path of a JSON file that describes one", name, strings.Join(known, ", "))
	}
	text, err := readFile(name)
	if err != nil {
		return Card{}, err
	}
	c := Card{Name: name, Source: name}
	if err := strictjson.Unmarshal(text, &c); err != nil {
		return Card{}, fmt.Errorf("%s: %w", name, err)
	}
	if err := c.Validate(); err != nil {
		return Card{}, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

func isFile(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

func readFile(path string) ([]byte, error) {
	text, err := regular.ReadFile(path, maxFileBytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return text, nil
}

// key is a name without what people write differently: "Llama-3.1 8B" and
// "llama-3.1-8b" are one.
func key(name string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case ' ', '-', '_', '.':
			return -1
		}
		return unicode.ToLower(r)
	}, name)
}
