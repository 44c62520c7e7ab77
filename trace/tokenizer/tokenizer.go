// Package tokenizer turns text into the tokens of a language model and back. It
// reads the tokenizer.bin of llama2.c and the tokenizer.json of Hugging Face, as
// far as models of the Llama family use it: byte pair encodings of bytes
// (Llama 3, Qwen, SmolLM) and of characters with a fallback to bytes (Llama 2,
// Mistral, TinyLlama).
//
// Start with [Load].
package tokenizer

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"kvcompress/trace/regular"
)

// Tokenizer turns text into tokens and back. It may be used by several
// goroutines at once.
type Tokenizer interface {
	// Encode returns the tokens of a text, with the tokens around it that the
	// model expects, such as the one that begins a text.
	Encode(text string) ([]int, error)

	// Decode returns the text of tokens, without special tokens such as those
	// that begin and end a text. Tokens that together are not valid UTF-8 give
	// U+FFFD. A token that is not in the vocabulary is an error.
	Decode(tokens []int) (string, error)

	// VocabSize returns an upper bound of token ids: all ids of the vocabulary are
	// smaller.
	VocabSize() int
}

// maxFileSize is the largest size in bytes of a tokenizer file. The largest
// tokenizer.json of a published model of this family has a third of it.
const maxFileSize = 64 << 20

// Load reads the tokenizer in the given file, which may be a llama2.c
// tokenizer.bin or a Hugging Face tokenizer.json, or a folder with a
// tokenizer.json. A tokenizer_config.json in the same folder is read too.
func Load(path string) (Tokenizer, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, "tokenizer.json")
	}
	data, err := regular.ReadFile(path, maxFileSize)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %s: %w", path, err)
	}
	t, err := parse(data, filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %s: %w", filepath.Base(path), err)
	}
	return t, nil
}

// parse reads a tokenizer from the bytes of a file, which lies in dir.
func parse(data []byte, dir string) (Tokenizer, error) {
	// A tokenizer.bin that begins with a brace would have tokens of 123 bytes or
	// more; published ones have tokens of at most 27 bytes.
	if bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) {
		config, err := readConfig(dir)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", configName, err)
		}
		return ParseHuggingFace(data, config)
	}
	return ParseLlama2C(data)
}
