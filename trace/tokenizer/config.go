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

	AddPrefixSpace *bool `json:"add_prefix_space"` // overrides that of a ByteLevel pre-tokenizer
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

// tokenizerClass is a tokenizer class of transformers that replaces tokenizer.json's
// post_processor by one that adds tokens as add_bos_token and add_eos_token say.
type tokenizerClass struct {
	bos, eos string // bos_token and eos_token of a config that omits them
	addBOS   bool   // add_bos_token of a config that omits it
	ifStated bool   // it does so only if the config has add_bos_token or add_eos_token
}

// tokenizerClasses has those of transformers 4, and the general class of transformers 5.
func tokenizerClasses() map[string]tokenizerClass {
	llama := tokenizerClass{bos: "<s>", eos: "</s>", addBOS: true}
	classes := map[string]tokenizerClass{"TokenizersBackend": {ifStated: true}}
	for name, class := range map[string]tokenizerClass{
		"LlamaTokenizer":     llama,
		"CodeLlamaTokenizer": llama,
		"GemmaTokenizer":     {bos: "<bos>", eos: "<eos>", addBOS: true},
		"CohereTokenizer":    {bos: "<BOS_TOKEN>", eos: "<|END_OF_TURN_TOKEN|>", addBOS: true},
		"GPTNeoXTokenizer":   {bos: "<|endoftext|>", eos: "<|endoftext|>"},
	} {
		classes[name], classes[name+"Fast"] = class, class
	}
	return classes
}

// readConfig reads the tokenizer_config.json of a folder, or nil if there is none.
func readConfig(dir string) ([]byte, error) {
	data, err := regular.ReadFile(filepath.Join(dir, configName), maxConfigSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// parseConfig reads a tokenizer_config.json; that of a folder without one is nil.
func parseConfig(data []byte) (*config, error) {
	c := &config{}
	if data == nil {
		return c, nil
	}
	return c, strictjson.Known(data, c)
}

// configure replaces the post-processor of a tokenizer if its tokenizer_config.json does so.
func (t *HuggingFace) configure(c *config) error {
	class, ok := tokenizerClasses()[c.Class]
	if !ok || class.ifStated && c.AddBOSToken == nil && c.AddEOSToken == nil {
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
	before, err := token("bos_token", or(c.AddBOSToken, class.addBOS), c.BOSToken, class.bos)
	if err != nil {
		return err
	}
	after, err := token("eos_token", or(c.AddEOSToken, false), c.EOSToken, class.eos)
	if err != nil {
		return err
	}
	t.postProcess = around(before, after)
	return nil
}

// id returns the id of a token, and whether the token exists.
func (t *HuggingFace) id(content string) (int, bool) {
	if id, ok := t.added.ids[content]; ok {
		return id, true
	}
	id, ok := t.model.vocab.ids[content]
	return id, ok
}
