package near

import (
	"fmt"
	"testing"
)

func ExampleHint() {
	fmt.Println("no method \"snapk\"" + Hint("snapk", []string{"random", "snapkv"}))
	// Output: no method "snapk" (did you mean snapkv?)
}

func TestName(t *testing.T) {
	names := []string{"a10", "h100", "kv-compress", "llama-3.1-70b", "llama-3.1-8b", "snapkv", "snapkv-kvpress", "tova"}
	for word, want := range map[string]string{
		"snapk": "snapkv", "SnapKV": "snapkv", "snpakv": "snapkv", "snapkv-k": "snapkv-kvpress", "kv": "", "kv-": "kv-compress",
		"llama-3.1-8": "llama-3.1-8b", "h2o": "", "": "", "x": "", "tovaa": "tova", "h10": "h100",
	} {
		if got := Name(word, names); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	names := []string{"gpt-oss-20b", "llama-3.1-70b", "llama-3.1-8b", "qwen3-4b", "qwen3-8b"}
	for word, want := range map[string]string{
		"Lama-3.1-8b": "[llama-3.1-8b llama-3.1-70b]", "qwen4-8b": "[qwen3-8b qwen3-4b]", "gpt-5": "[gpt-oss-20b qwen3-4b]",
	} {
		if got := fmt.Sprint(Names(word, names, 2)); got != want {
			t.Errorf("%s: %s, want %s", word, got, want)
		}
	}
	if got := Names("x", names[:1], 4); len(got) != 1 {
		t.Errorf("%v", got)
	}
}
