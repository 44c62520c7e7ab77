package tokenizer

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// The folders of testdata have small tokenizers, trained on four lines of text, in the
// styles of published models. The expected results (expected.jsonl) were computed by
// Hugging Face's tokenizers library, version 0.22.2.
func TestAgreesWithHuggingFace(t *testing.T) {
	for _, style := range []string{"llama2", "llama3", "metaspace", "metaspace-split", "qwen2", "smollm"} {
		t.Run(style, func(t *testing.T) {
			tok := load(t, filepath.Join("testdata", style))
			f, err := os.Open(filepath.Join("testdata", style, "expected.jsonl"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			lines := bufio.NewScanner(f)
			count := 0
			for ; lines.Scan(); count++ {
				var want struct {
					Text    string `json:"text"`
					IDs     []int  `json:"ids"`
					Decoded string `json:"decoded"`
				}
				if err := json.Unmarshal(lines.Bytes(), &want); err != nil {
					t.Fatal(err)
				}
				ids, err := tok.Encode(want.Text)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want.IDs, append([]int{}, ids...)); diff != "" {
					t.Errorf("Encode(%q) (-want +got):\n%s", want.Text, diff)
				}
				decoded, err := tok.Decode(want.IDs)
				if err != nil || decoded != want.Decoded {
					t.Errorf("Decode of %q: %q, %v; want %q", want.Text, decoded, err, want.Decoded)
				}
			}
			if err := lines.Err(); err != nil || count == 0 {
				t.Errorf("%d cases, %v", count, err)
			}
		})
	}
}

func load(t testing.TB, path string) Tokenizer {
	t.Helper()
	tok, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// Decode returns the encoded text if the tokenizer does not normalize.
func TestRoundTrip(t *testing.T) {
	for _, style := range []string{"llama2", "llama3", "metaspace", "smollm"} {
		tok := load(t, filepath.Join("testdata", style))
		for _, text := range []string{
			"plain", "two  spaces", "Ünïcödé 東京 한국 🏳️‍🌈", "line\nline\r\n\n", strings.Repeat("the cache ", 1000), "\x00\x7f",
		} {
			ids, err := tok.Encode(text)
			if err != nil {
				t.Errorf("%s: Encode(%.20q): %v", style, text, err)
				continue
			}
			if got, err := tok.Decode(ids); err != nil || got != text {
				t.Errorf("%s: %.20q came back as %.40q, %v", style, text, got, err)
			}
		}
	}
}

// The error for a malformed or unsupported file names the place.
func TestHuggingFaceErrors(t *testing.T) {
	const model = `"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}`
	for _, c := range []struct{ name, json, want string }{
		{"no JSON", `{"model": `, "it ends in the middle"},
		{"no model", `{}`, "model: missing"},
		{"unigram", `{"model": {"type": "Unigram"}}`, `model: type "Unigram" is not supported`},
		{"empty vocabulary", `{"model": {"type": "BPE"}}`, "model: vocab: empty"},
		{"negative id", `{"model": {"vocab": {"a": -1}}}`, `model: vocab: "a": -1`},
		{"huge id", `{"model": {"vocab": {"a": 99999999999}}}`, `model: vocab: "a": 99999999999`},
		{"shared id", `{"model": {"vocab": {"a": 1, "b": 1}}}`, "two tokens have number 1"},
		{"merge of an unknown token", `{"model": {"vocab": {"a": 0}, "merges": ["a b"]}}`, `model: merges: 0: "b"`},
		{"merge into an unknown token", `{"model": {"vocab": {"a": 0, "b": 1}, "merges": [["a", "b"]]}}`, `model: merges: 0: "ab"`},
		{"merge of three", `{"model": {"vocab": {"a": 0}, "merges": ["a a a"]}}`, "a merge has two tokens, not 3"},
		{"merge of a number", `{"model": {"vocab": {"a": 0}, "merges": [7]}}`, "want two tokens"},
		{"unigram", `{"model": {"type": "Unigram", "vocab": [["a", -1.5]]}}`, `model: type "Unigram" is not supported (token ids`},
		{"word pieces", `{"model": {"type": "WordPiece", "vocab": {"a": 0}}}`, `model: type "WordPiece" is not supported (token ids`},
		{"dropout", `{"model": {"vocab": {"a": 0}, "dropout": 0.1}}`, "model: dropout is not supported"},
		{"word suffix", `{"model": {"vocab": {"a": 0}, "end_of_word_suffix": "</w>"}}`, "model: end_of_word_suffix"},
		{"normalizer", `{` + model + `, "normalizer": {"type": "BertNormalizer"}}`, `normalizer: type "BertNormalizer" is not supported (token ids`},
		{"normalizer in a sequence", `{` + model + `, "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]}}`, `normalizer: 1: type "Lowercase"`},
		{"component without type", `{` + model + `, "normalizer": {}}`, "normalizer: type: missing"},
		{"pre-tokenizer", `{` + model + `, "pre_tokenizer": {"type": "BertPreTokenizer"}}`, `pre_tokenizer: type "BertPreTokenizer"`},
		{"split without pattern", `{` + model + `, "pre_tokenizer": {"type": "Split", "behavior": "Isolated"}}`, "pre_tokenizer: pattern: missing"},
		{"split of another kind", `{` + model + `, "pre_tokenizer": {"type": "Split", "pattern": {"String": "a"}, "behavior": "Shuffled"}}`, `pre_tokenizer: behavior: "Shuffled"`},
		{"split at nonsense", `{` + model + `, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated"}}`, "pre_tokenizer: pattern: regular expression"},
		{"long pattern", `{` + model + `, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "` + strings.Repeat("a", 5000) + `"}, "behavior": "Isolated"}}`, "has 5000 bytes"},
		{"metaspace of two", `{` + model + `, "pre_tokenizer": {"type": "Metaspace", "replacement": "__"}}`, "pre_tokenizer: replacement"},
		{"metaspace contradiction", `{` + model + `, "pre_tokenizer": {"type": "Metaspace", "replacement": "_", "prepend_scheme": "first", "add_prefix_space": false}}`, `pre_tokenizer: prepend_scheme: "first" contradicts`},
		{"metaspace scheme", `{` + model + `, "pre_tokenizer": {"type": "Metaspace", "replacement": "_", "prepend_scheme": "last"}}`, `pre_tokenizer: prepend_scheme "last"`},
		{"post-processor", `{` + model + `, "post_processor": {"type": "RobertaProcessing"}}`, `post_processor: type "RobertaProcessing"`},
		{"template without text", `{` + model + `, "post_processor": {"type": "TemplateProcessing", "single": []}}`, "post_processor: single"},
		{"template of an unknown token", `{` + model + `, "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {}}]}}`, `special_tokens has no "<s>"`},
		{"decoder", `{` + model + `, "decoder": {"type": "CTC"}}`, `decoder: type "CTC"`},
		{"empty added token", `{` + model + `, "added_tokens": [{"id": 7}]}`, "added_tokens: 0: content"},
		{"components without end", `{` + model + `, "normalizer": {"type": "Sequence", "normalizers": [` + strings.Repeat(`{"type":"NFC"},`, 200) + `{"type":"NFC"}]}}`, "more than 100 components"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseHuggingFace([]byte(c.json), nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want something with %q", err, c.want)
			}
		})
	}
}

// TestRules has small files for the rules of the tokenizers library, and what its version 0.23.2
// returns.
func TestRules(t *testing.T) {
	const (
		letters  = `"_": 0, "a": 1, "b": 2, "<": 3, ">": 4, "s": 5`
		model    = `"model": {"type": "BPE", "vocab": {` + letters + `}}`
		pairs    = `"model": {"type": "BPE", "vocab": {` + letters + `, "aa": 6}, "merges": ["a a"]}`
		prefixed = `"normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "_"}, {"type": "Replace", "pattern": {"Regex": " +"}, "content": "_"}]}, ` + model
	)
	token := func(model, more string) string {
		return `{"added_tokens": [{"content": "<s>", "special": true` + more + `}], ` + model + `}`
	}
	unknown := func(more string) string {
		return `{"model": {"type": "BPE", "unk_token": "?", "vocab": {"a": 0, "b": 1, "<0x63>": 2, "?": 3}` + more + `}}`
	}
	split := func(pattern, behaviour string) string {
		return `{"type": "Split", "pattern": ` + pattern + `, "behavior": "` + behaviour + `"}`
	}
	first := `{"pre_tokenizer": {"type": "Sequence", "pretokenizers": [` + split(`{"String": "s"}`, "Removed") +
		`, {"type": "Metaspace", "replacement": "_", "prepend_scheme": "first"}]}, ` + model + `}`
	for _, c := range []struct {
		name, json, text string
		want             []int
	}{
		{"added token: raw", token(prefixed, `, "normalized": false`), "a<s>b", []int{0, 1, 6, 0, 2}},
		{"added token: special ones are raw where nothing is said", token(prefixed, ""), "a<s>b", []int{0, 1, 6, 0, 2}},
		{"added token: normalized, which begins with a prefix", token(prefixed, `, "normalized": true`), "a<s>b", []int{0, 1, 3, 5, 4, 2}},
		{"added token: normalized, at the beginning", token(prefixed, `, "normalized": true`), "<s>b", []int{6, 2}},
		{"added token: normalized, after spaces that become one prefix", token(prefixed, `, "normalized": true`), "a  <s>", []int{0, 1, 6}},
		{"added token: a word of its own", token(prefixed, `, "normalized": false, "single_word": true`), "a<s> <s>b <s>", []int{0, 1, 3, 5, 4, 0, 3, 5, 4, 2, 0, 6}},
		{"added token: strips", token(prefixed, `, "normalized": false, "lstrip": true, "rstrip": true`), "a <s>  b", []int{0, 1, 6, 0, 2}},
		{"added token: in what another one strips", token(model, `, "rstrip": true}, {"content": "\n", "normalized": false`), "a<s>\n b", []int{1, 6, 7, 2}},
		{"added token: stripped by itself", token(model, `}, {"content": "\n", "lstrip": true, "rstrip": true`), "a\n\nb", []int{1, 7, 2}},
		{"added token: numbered after the vocabulary", token(model, `, "id": 2}, {"content": "s", "id": 9}, {"content": "<c>", "id": 40`), "<s>s<c>", []int{6, 5, 7}},
		{"no unknown token", `{"model": {"type": "BPE", "vocab": {"a": 0}}}`, "ab", []int{0}},
		{"unknown token", unknown(""), "xaxyb", []int{3, 0, 3, 3, 1}},
		{"unknown token: fused", unknown(`, "fuse_unk": true`), "xaxyb", []int{3, 0, 3, 1}},
		{"unknown token: before bytes", unknown(`, "byte_fallback": true`), "xcyca", []int{2, 3, 2, 3, 0}},
		{"unknown token: fused, before bytes", unknown(`, "byte_fallback": true, "fuse_unk": true`), "xcyca", []int{2, 2, 3, 0}},
		{"contiguous", `{"pre_tokenizer": ` + split(`{"Regex": "a"}`, "Contiguous") + `, ` + pairs + `}`, "aab", []int{6, 2}},
		{"contiguous, with an empty match", `{"pre_tokenizer": ` + split(`{"Regex": "(?=ab)"}`, "Contiguous") + `, ` + pairs + `}`, "aab", []int{1, 1, 2}},
		{"an empty match after another", `{"normalizer": {"type": "Replace", "pattern": {"Regex": "a*"}, "content": "_"}, ` + model + `}`, "aab", []int{0, 2, 0}},
		{"an empty pattern", `{"normalizer": {"type": "Replace", "pattern": {"String": ""}, "content": "_"}, ` + model + `}`, "ab", []int{0, 1, 0, 2, 0}},
		{"prefix of the first piece", first, "asb", []int{0, 1, 2}},
		{"prefix of the first piece, which is removed", first, "sab", []int{1, 2}},
	} {
		tok, err := ParseHuggingFace([]byte(c.json), nil)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got, err := tok.Encode(c.text); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v, want %v", c.name, got, err, c.want)
		}
	}
	for _, c := range []struct {
		name, json string
		ids        []int
		want       string
	}{
		{"bytes that are not UTF-8", `{"model": {"type": "BPE", "vocab": {"æ": 0, "¼": 1, "a": 2, "ÿ": 3}}, "decoder": {"type": "ByteLevel"}}`, []int{0, 1, 2, 0, 3}, "\uFFFDa\uFFFD\uFFFD"},
		{"normalized token", `{"added_tokens": [{"content": "as", "normalized": true}], "decoder": {"type": "Replace", "pattern": {"String": "_"}, "content": " "}, ` + prefixed + `}`, []int{0, 2, 6}, " b as"},
	} {
		tok, err := ParseHuggingFace([]byte(c.json), nil)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got, err := tok.Decode(c.ids); err != nil || got != c.want {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
	}
}

// TestConfig follows the classes of transformers, worked out by hand.
func TestConfig(t *testing.T) {
	const tokenizer = `{"added_tokens": [{"id": 1, "content": "<b>", "special": true}, {"id": 2, "content": "<e>", "special": true}, {"id": 3, "content": "<s>", "special": true}],
		"model": {"type": "BPE", "vocab": {"a": 0}},
		"post_processor": {"type": "TemplateProcessing", "single": [{"Sequence": {}}, {"SpecialToken": {"id": "<e>"}}], "special_tokens": {"<e>": {"ids": [2]}}}}`
	for _, c := range []struct {
		config string
		want   []int
	}{
		{`{}`, []int{0, 2}},
		{`{"tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": true, "bos_token": "<b>"}`, []int{0, 2}},
		{`{"tokenizer_class": "Qwen2Tokenizer", "add_bos_token": true, "bos_token": "<b>"}`, []int{0, 2}},
		{`{"tokenizer_class": "TokenizersBackend", "bos_token": "<b>"}`, []int{0, 2}},
		{`{"tokenizer_class": "TokenizersBackend", "add_bos_token": true, "bos_token": "<b>"}`, []int{1, 0}},
		{`{"tokenizer_class": "TokenizersBackend", "add_eos_token": false, "eos_token": "<e>"}`, []int{0}},
		{`{"tokenizer_class": "TokenizersBackend", "add_bos_token": true}`, []int{0}},
		{`{"tokenizer_class": "GPTNeoXTokenizerFast", "bos_token": "<b>"}`, []int{0}},
		{`{"tokenizer_class": "GPTNeoXTokenizerFast", "bos_token": "<b>", "add_bos_token": true}`, []int{1, 0}},
		{`{"tokenizer_class": "LlamaTokenizer"}`, []int{3, 0}},
		{`{"tokenizer_class": "LlamaTokenizerFast", "bos_token": "<b>", "eos_token": "<e>"}`, []int{1, 0}},
		{`{"tokenizer_class": "LlamaTokenizerFast", "bos_token": {"content": "<b>", "lstrip": false}, "eos_token": "<e>", "add_eos_token": true}`, []int{1, 0, 2}},
		{`{"tokenizer_class": "LlamaTokenizerFast", "bos_token": "<b>", "add_bos_token": false}`, []int{0}},
		{`{"tokenizer_class": "LlamaTokenizerFast", "bos_token": null}`, []int{0}},
		{`{"tokenizer_class": "CodeLlamaTokenizerFast", "bos_token": "a"}`, []int{0, 0}},
	} {
		tok, err := ParseHuggingFace([]byte(tokenizer), []byte(c.config))
		if err != nil {
			t.Fatalf("%s: %v", c.config, err)
		}
		if got, err := tok.Encode("a"); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v, want %v", c.config, got, err, c.want)
		}
	}
	for config, want := range map[string]string{
		`[`:                                     "tokenizer_config.json: it ends in the middle",
		`{"bos_token": 7}`:                      "tokenizer_config.json: bos_token: want a token, got 7",
		`{"tokenizer_class": "GemmaTokenizer"}`: `tokenizer_config.json: bos_token: "<bos>" is neither in the vocabulary nor`,
	} {
		if _, err := ParseHuggingFace([]byte(tokenizer), []byte(config)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want something with %q", config, err, want)
		}
	}
}

// TestAddPrefixSpace overrides add_prefix_space of a ByteLevel pre-tokenizer.
func TestAddPrefixSpace(t *testing.T) {
	for _, c := range []struct {
		preTokenizer, config string
		want                 []int
	}{
		{`{"type": "ByteLevel", "add_prefix_space": false}`, `{}`, []int{0}},
		{`{"type": "ByteLevel", "add_prefix_space": false}`, `{"add_prefix_space": true}`, []int{1, 0}},
		{`{"type": "ByteLevel", "add_prefix_space": true}`, `{"add_prefix_space": false}`, []int{0}},
		{`{"type": "ByteLevel"}`, `{"add_prefix_space": false}`, []int{0}},
		{`{"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}]}`, `{"add_prefix_space": false}`, []int{1, 0}},
		{`{"type": "Digits"}`, `{"add_prefix_space": true}`, []int{0}},
	} {
		json := `{"model": {"type": "BPE", "vocab": {"a": 0, "Ġ": 1}}, "pre_tokenizer": ` + c.preTokenizer + `}`
		tok, err := ParseHuggingFace([]byte(json), []byte(c.config))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := tok.Encode("a"); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s with %s: %v, %v, want %v", c.preTokenizer, c.config, got, err, c.want)
		}
	}
}

func TestEncodeErrors(t *testing.T) {
	defer func(before time.Duration) { matchTimeout = before }(matchTimeout)
	matchTimeout = 50 * time.Millisecond
	const model = `"model": {"type": "BPE", "vocab": {"a": 0}}`
	for _, c := range []struct{ name, json, text, want string }{
		{"not UTF-8", `{` + model + `}`, "a\xff", "not valid UTF-8"},
		{"long", `{` + model + `}`, strings.Repeat("a", maxText+1), "no more than"},
		{"unknown", `{"model": {"type": "BPE", "vocab": {"a": 0}, "unk_token": "<unk>"}}`, "ab", `model: unk_token: "<unk>" is not in the vocabulary`},
		{
			"grows", `{` + model + `, "normalizer": {"type": "Sequence", "normalizers": [` +
				strings.Repeat(`{"type": "Replace", "pattern": {"String": "a"}, "content": "aaaaaaaaaaaaaaaa"},`, 20) + `{"type": "NFC"}]}}`,
			"a", "the text grew",
		},
		{
			"takes for ever", `{` + model + `, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a|aa)+$"}, "behavior": "Isolated"}}`,
			strings.Repeat("a", 40) + "b", "match timeout",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			tok, err := ParseHuggingFace([]byte(c.json), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err = tok.Encode(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want something with %q", err, c.want)
			}
		})
	}
	tok := load(t, "testdata/llama2")
	if _, err := tok.Decode([]int{1, 99999}); err == nil || !strings.Contains(err.Error(), "token 1 of 2: 99999") {
		t.Errorf("Decode of an unknown token: %v", err)
	}
}

func FuzzHuggingFace(f *testing.F) {
	for _, style := range []string{"llama2", "llama3", "metaspace-split", "smollm"} {
		data, err := os.ReadFile(filepath.Join("testdata", style, "tokenizer.json"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, []byte(`{"tokenizer_class": "LlamaTokenizer", "add_eos_token": true, "bos_token": {"content": "<s>"}}`), "The lazy dog isn't <s> 東")
	}
	f.Fuzz(func(t *testing.T, data, config []byte, text string) {
		tok, err := ParseHuggingFace(data, config)
		if err != nil || len(text) > 100 {
			return
		}
		ids, err := tok.Encode(text)
		if err != nil {
			return
		}
		for _, id := range ids {
			if id < 0 || id > maxID {
				t.Fatalf("token %d", id)
			}
		}
		tok.Decode(ids) // may fail: a template may add ids that are not in the vocabulary
	})
}

// A regular expression in a file is compiled by a library that is not designed for
// hostile ones.
func FuzzRegex(f *testing.F) {
	f.Add(gpt2Pattern, "it's 12 東京  \n")
	f.Add(`(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|\s+(?!\S)`, "it's")
	f.Add(`(a{1000}){1000}`, "aaaa")
	f.Fuzz(func(t *testing.T, expression, text string) {
		find, err := findRegex(expression)
		if err != nil || len(text) > 100 || !utf8.ValidString(text) {
			return
		}
		spans, err := find(text)
		if err != nil {
			return
		}
		end := 0
		for _, s := range spans {
			if s.from != end || s.to < s.from {
				t.Fatalf("spans %v of %q", spans, text)
			}
			end = s.to
		}
		if end != len(text) {
			t.Fatalf("spans %v of the %d bytes of %q", spans, len(text), text)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	text := strings.Repeat("The quick brown fox doesn't jump over 13 lazy dogs. ", 200)
	for _, style := range []string{"llama2", "llama3"} {
		b.Run(style, func(b *testing.B) {
			tok := load(b, filepath.Join("testdata", style))
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, err := tok.Encode(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
