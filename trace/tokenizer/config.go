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

// configName is the file, in the same folder as tokenizer.json, that names the tokenizer class
// of transformers and its options.
const configName = "tokenizer_config.json"

// maxConfigSize is the largest size in bytes of a tokenizer_config.json. Those of published
// models have some tens of thousand bytes, because of their chat templates.
const maxConfigSize = 16 << 20

// config is the part of a tokenizer_config.json that affects the tokens of a text.
type config struct {
	Class       string       `json:"tokenizer_class"`
	AddBOSToken *bool        `json:"add_bos_token"`
	AddEOSToken *bool        `json:"add_eos_token"`
	BOSToken    configString `json:"bos_token"`
	EOSToken    configString `json:"eos_token"`
}

// configString is a token's content: a string, an object with a content, or null.
type configString struct {
	stated  bool // the file has the field, even if it is null
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

// rebuilds reports whether a tokenizer class of transformers replaces tokenizer.json's
// post_processor by one that adds tokens as add_bos_token and add_eos_token say.
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

// configure replaces the post-processor of a tokenizer if its tokenizer_config.json does so.
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

// id returns the id of a token, and whether the token exists.
func (t *HuggingFace) id(content string) (int, bool) {
	for id, added := range t.added.byID {
		if added.Content == content {
			return id, true
		}
	}
	id, ok := t.model.vocab.ids[content]
	return id, ok
}
