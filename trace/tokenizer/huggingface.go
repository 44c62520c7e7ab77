package tokenizer

import (
	"fmt"
	"unicode/utf8"

	"golang.org/x/text/encoding/unicode"

	"kvcompress/strictjson"
)

// HuggingFace is a tokenizer in the form of Hugging Face's tokenizer.json. A text
// goes through these stages, each a component that the file names:
//
//	added tokens    cut out tokens such as <s>; those with "normalized" are cut out after
//	                the next stage
//	normalizer      rewrites the text between added tokens
//	pre_tokenizer   cuts it into pieces; no token spans two pieces
//	model           turns each piece into tokens, here by byte pair encoding
//	post_processor  adds the tokens that begin or end a text
//
// The decoder converts tokens back to text.
type HuggingFace struct {
	added       addedTokens
	normalize   normalizer
	preTokenize preTokenizer
	model       *bytePairs
	postProcess postProcessor
	decode      decoder
	size        int
}

// file is a tokenizer.json.
type file struct {
	AddedTokens   []addedToken `json:"added_tokens"`
	Normalizer    *component   `json:"normalizer"`
	PreTokenizer  *component   `json:"pre_tokenizer"`
	PostProcessor *component   `json:"post_processor"`
	Decoder       *component   `json:"decoder"`
	Model         *modelFile   `json:"model"`
}

// maxID is the largest token id. It also bounds what callers allocate for a vocabulary.
const maxID = 1<<24 - 1

// maxText is the largest size in bytes of a text, before and after normalization.
const maxText = 16 << 20

// ParseHuggingFace reads a tokenizer.json (data) and, unless it is nil, the
// tokenizer_config.json of the same folder (config). The latter is used only for the tokenizer
// class, the tokens that it adds around a text, and add_prefix_space. An unsupported component
// is an error that names it.
func ParseHuggingFace(data, config []byte) (*HuggingFace, error) {
	c, err := parseConfig(config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", configName, err)
	}
	t, err := parseHuggingFace(data, c)
	if err != nil {
		return nil, err
	}
	if err := t.configure(c); err != nil {
		return nil, fmt.Errorf("%s: %w", configName, err)
	}
	return t, nil
}

func parseHuggingFace(data []byte, c *config) (*HuggingFace, error) {
	if len(data) > maxFileSize {
		return nil, fmt.Errorf("the file has %d bytes, no more than %d are read", len(data), maxFileSize)
	}
	// Read the model type first: other types have vocabularies of another form.
	var kind struct {
		Model *struct {
			Type string `json:"type"`
		} `json:"model"`
	}
	if err := strictjson.Known(data, &kind); err != nil {
		return nil, err
	}
	if kind.Model != nil && kind.Model.Type != "BPE" && kind.Model.Type != "" { // older files omit the type
		return nil, fmt.Errorf("model: %w", errUnsupported("type %q", strictjson.Excerpt(kind.Model.Type)))
	}
	var f file
	if err := strictjson.Known(data, &f); err != nil {
		return nil, err
	}
	if f.Model == nil {
		return nil, fmt.Errorf("model: missing")
	}
	t := &HuggingFace{}
	var err error
	if t.model, err = newBytePairs(f.Model); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	var b builder
	if t.normalize, err = b.normalizer(f.Normalizer); err != nil {
		return nil, fmt.Errorf("normalizer: %w", err)
	}
	if t.added, err = newAddedTokens(f.AddedTokens, t.model.vocab, t.normalize); err != nil {
		return nil, fmt.Errorf("added_tokens: %w", err)
	}
	if p := f.PreTokenizer; p != nil && p.Type == "ByteLevel" && c.AddPrefixSpace != nil {
		p.AddPrefixSpace = c.AddPrefixSpace
	}
	if t.preTokenize, err = b.preTokenizer(f.PreTokenizer); err != nil {
		return nil, fmt.Errorf("pre_tokenizer: %w", err)
	}
	if t.postProcess, err = b.postProcessor(f.PostProcessor); err != nil {
		return nil, fmt.Errorf("post_processor: %w", err)
	}
	if t.decode, err = b.decoder(f.Decoder); err != nil {
		return nil, fmt.Errorf("decoder: %w", err)
	}
	t.size = max(t.model.vocab.size(), t.added.size())
	return t, nil
}

// VocabSize implements Tokenizer.
func (t *HuggingFace) VocabSize() int { return t.size }

// Encode implements Tokenizer.
func (t *HuggingFace) Encode(text string) ([]int, error) {
	ids, err := t.encode(text)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	return ids, nil
}

func (t *HuggingFace) encode(text string) ([]int, error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("the text has %d bytes, no more than %d are encoded", len(text), maxText)
	}
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("the text is not valid UTF-8")
	}
	var ids []int
	for _, s := range t.added.raw.split(text) {
		if s.token != nil {
			ids = append(ids, s.token.ID)
			continue
		}
		normalized, err := t.normalize(s.text)
		if err != nil {
			return nil, fmt.Errorf("normalizer: %w", err)
		}
		for _, n := range t.added.normalized.split(normalized) {
			if n.token != nil {
				ids = append(ids, n.token.ID)
				continue
			}
			if ids, err = t.encodePiece(ids, piece{text: n.text, first: s.first && n.first}); err != nil {
				return nil, err
			}
		}
	}
	return t.postProcess(ids), nil
}

// encodePiece appends the tokens of a piece of normalized text without added tokens.
func (t *HuggingFace) encodePiece(ids []int, p piece) ([]int, error) {
	pieces, err := t.preTokenize([]piece{p})
	if err != nil {
		return nil, fmt.Errorf("pre_tokenizer: %w", err)
	}
	for _, p := range pieces {
		if ids, err = t.model.encode(ids, p.text); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// Decode implements Tokenizer.
func (t *HuggingFace) Decode(tokens []int) (string, error) {
	pieces := make([]string, 0, len(tokens))
	for i, id := range tokens {
		if added := t.added.byID[id]; added != nil {
			if !added.Special {
				pieces = append(pieces, added.matched) // decoders expect normalized text
			}
			continue
		}
		piece, ok := t.model.vocab.tokens[id]
		if !ok {
			return "", fmt.Errorf("tokenizer: token %d of %d: %d is not in the vocabulary", i, len(tokens), id)
		}
		pieces = append(pieces, piece)
	}
	text, err := t.decode(pieces)
	if err != nil {
		return "", fmt.Errorf("tokenizer: decoder: %w", err)
	}
	return unicode.UTF8.NewDecoder().String(text) // U+FFFD for each maximal part of a character
}
