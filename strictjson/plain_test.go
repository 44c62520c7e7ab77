package strictjson_test

import (
	"encoding/json"
	"strings"
	"testing"

	"kvcompress/strictjson"
)

// TestPlain checks that errors of encoding/json are reworded, of a whole text and of a stream.
func TestPlain(t *testing.T) {
	type inner struct {
		N int `json:"n"`
	}
	for text, want := range map[string]string{
		`{"a": [{"n": "x"}]}`: "a.n: want an integer, got string",
		`{"a": 5}`:            "a: want an array, got number",
		`{"a": [`:             "it ends in the middle of a value",
		`{"b": 1}`:            `unknown field "b"`,
	} {
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.DisallowUnknownFields()
		var v struct {
			A []inner `json:"a"`
		}
		if err := strictjson.Plain(decoder.Decode(&v)); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
		if want == `unknown field "b"` {
			continue // Unmarshal ignores it
		}
		if err := strictjson.Plain(json.Unmarshal([]byte(text), &v)); err == nil || err.Error() != want {
			t.Errorf("%s, whole: %v, want %q", text, err, want)
		}
	}
	if strictjson.Plain(nil) != nil {
		t.Error("nil becomes an error")
	}
}
