package strictjson_test

import (
	"fmt"

	"kvcompress/strictjson"
)

// What encoding/json lets pass is an error that says where.
func ExampleUnmarshal() {
	var options struct {
		Blocks int `json:"blocks"`
		Limits struct {
			MaxNumSeqs int `json:"max_num_seqs"`
		} `json:"limits"`
	}
	for _, text := range []string{
		`{"blocks": 100, "limits": {"max_num_seqs": 8}}`,
		`{"blocks": 100, "blocks": 200}`,
		`{"Blocks": 100}`,
		`{"limits": {"max_num_seqs": 8.5}}`,
		`{"blocks": 100} {}`,
	} {
		fmt.Println(strictjson.Unmarshal([]byte(text), &options))
	}
	// Output:
	// <nil>
	// "blocks" occurs twice
	// unknown field "Blocks"
	// limits.max_num_seqs: want an integer, got 8.5
	// invalid character '{' after top-level value (byte 17)
}

// ExampleErrors gets everything that is wrong at once.
func ExampleErrors() {
	var shape struct {
		Layers, Heads int
	}
	for _, err := range strictjson.Errors([]byte(`{"Layers": "two", "Heads": null}`), &shape) {
		fmt.Println(err)
	}
	// Output:
	// Layers: want an integer, got "two"
	// Heads: want an integer, got null
}
