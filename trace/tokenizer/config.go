package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"kvcompress/strictjson"
	"kvcompress/trace/regular"
)

// configName is the file beside a tokenizer.json that says which class of transformers reads
// it, and how.
const configName = "tokenizer_config.json"

// maxConfigSize bounds a tokenizer_config.json. Chat templates make those of published models
// some tens of thousand bytes long.
const maxConfigSize = 16 << 20

// config is the part of a tokenizer_config.json that changes which tokens a text has.
type config struct {
	Class       string       `json:"tokenizer_class"`
	AddBOSToken *bool        `json:"add_bos_token"`
	AddEOSToken *bool        `json:"add_eos_token"`
	BOSToken    configString `json:"bos_token"`
	EOSToken    configString `json:"eos_token"`
}

// configString is a token's content: a string, an object with a content, or null.
type configString struct {
	stated  bool // null is stated
	content string
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *configString) UnmarshalJSON(data []byte) error {
	*s = configString{stated: true}
	if string(data) == "null" {
		return nil
	}
	if len(data) > 0 && data[0] == '{' {
		var object struct {
			Content string `json:"content"`
		}
		err := json.Unmarshal(data, &object)
		s.content = object.Content
		return err
	}
	if err := json.Unmarshal(data, &s.content); err != nil {
		return fmt.Errorf("want a token, got %s", strictjson.Excerpt(data))
	}
	return nil
}

// rebuilds says whether a class of transformers puts its own tokens around a text, by
// add_bos_token and add_eos_token, in place of tokenizer.json's post_processor.
func rebuilds(class string) bool {
	switch class {
	case "LlamaTokenizer", "LlamaTokenizerFast", "CodeLlamaTokenizer", "CodeLlamaTokenizerFast",
		"GemmaTokenizer", "GemmaTokenizerFast", "CohereTokenizer", "CohereTokenizerFast":
		return true
	}
	return false
}

// readConfig reads the tokenizer_config.json of a folder, or nil if there is none.
func readConfig(dir string) ([]byte, error) {
	data, err := regular.ReadFile(filepath.Join(dir, configName), maxConfigSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// configure replaces the post-processor of a tokenizer if its tokenizer_config.json has it so.
func (t *HuggingFace) configure(data []byte) error {
	var c config
	if err := strictjson.Known(data, &c); err != nil {
		return err
	}
	if !rebuilds(c.Class) {
		return nil
	}
	token := func(field string, add bool, s configString, otherwise string) ([]int, error) {
		content := s.content
		if !s.stated {
			content = otherwise
		}
		if !add || content == "" {
			return nil, nil
		}
		id, ok := t.id(content)
		if !ok {
			return nil, fmt.Errorf("%s: %q is neither in the vocabulary nor an added token of tokenizer.json", field, content)
		}
		return []int{id}, nil
	}
	bos, eos := "<s>", "</s>"
	switch c.Class {
	case "GemmaTokenizer", "GemmaTokenizerFast":
		bos, eos = "<bos>", "<eos>"
	case "CohereTokenizer", "CohereTokenizerFast":
		bos, eos = "<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>"
	}
	before, err := token("bos_token", or(c.AddBOSToken, true), c.BOSToken, bos)
	if err != nil {
		return err
	}
	after, err := token("eos_token", or(c.AddEOSToken, false), c.EOSToken, eos)
	if err != nil {
		return err
	}
	t.postProcess = around(before, after)
	return nil
}

// id returns the number of a token, and whether there is one.
func (t *HuggingFace) id(content string) (int, bool) {
	for id, added := range t.added.byID {
		if added.Content == content {
			return id, true
		}
	}
	id, ok := t.model.vocab.ids[content]
	return id, ok
}
