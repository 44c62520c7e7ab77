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
