// Package catalog has the figures of language models and GPUs that projections need: layers, heads
// and parameters; memory, bandwidth and peak FLOP/s, with their sources. Other models and cards are
// read from files: a model's Hugging Face config.json ([ParseConfig]), or a few lines of JSON about a
// card ([FindCard]).
//
// Start with [FindModel] and [FindCard].
package catalog

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"kvcompress/internal/near"
	"kvcompress/strictjson"
	"kvcompress/trace/regular"
)

// maxFileBytes bounds a description of a model or card.
const maxFileBytes = 1 << 20

// FindModel returns the model of this name. A name may end in a format of weights, as in
// llama-3.1-70b-int8. Otherwise name is the path of a config.json or of its folder; a
// hf_quant_config.json in the same folder says how the weights are quantized.
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
		known := ModelNames()
		return Model{}, fmt.Errorf("unknown model %q: the nearest names are %s, and kvc sim --help lists all %d; or want the path of a Hugging Face config.json", name, strings.Join(near.Names(name, known, 4), ", "), len(known))
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

// FindCard returns the card of this name. If there is none, name is the path of a JSON file in the
// form of [Card].
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
		return Card{}, fmt.Errorf("unknown card %q%s: want one of %s, or the path of a JSON file that describes a card", name, near.Hint(name, known), strings.Join(known, ", "))
	}
	text, err := readFile(name)
	if err != nil {
		return Card{}, err
	}
	c := Card{Name: strings.TrimSuffix(filepath.Base(name), ".json"), Source: name}
	if err := strictjson.Unmarshal(text, &c); err != nil {
		return Card{}, fmt.Errorf("%s: %w", name, err)
	}
	if err := c.Validate(); err != nil {
		return Card{}, fmt.Errorf("%s: %w", name, err)
	}
	for _, own := range Cards() {
		if own.is(key(c.Name)) && (own.Read != c.Read || own.Flops16 != c.Flops16) {
			return Card{}, fmt.Errorf("%s: its name is that of %s, whose bytes_per_second and flops_16bit are %g and %g and not %g and %g: give it another name, or it would be projected with the fit to that card", name, own.Name, own.Read, own.Flops16, c.Read, c.Flops16)
		}
	}
	return c, nil
}

// Sizes returns the cards of which name is the beginning, up to the size of the memory: a100 is that of
// a100-40gb and of a100-80gb. The name of a card has no sizes.
func Sizes(name string) (sizes []Card) {
	prefix := strings.ToLower(name) + "-"
	for _, c := range Cards() {
		if key(c.Name) == key(name) {
			return nil
		}
		if strings.HasPrefix(c.Name, prefix) && strings.HasSuffix(c.Name, "gb") {
			sizes = append(sizes, c)
		}
	}
	return sizes
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

// key normalizes a name, so that "Llama-3.1 8B" and "llama-3.1-8b" are equal.
func key(name string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case ' ', '-', '_', '.':
			return -1
		}
		return unicode.ToLower(r)
	}, name)
}
