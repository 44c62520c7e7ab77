package catalog_test

import (
	"fmt"
	"log"

	"kvcompress/sim/catalog"
)

// A model is in the catalogue, or described by the config.json of its Hugging Face repository.
func ExampleParseConfig() {
	model, err := catalog.ParseConfig([]byte(`{
		"model_type": "llama",
		"architectures": ["LlamaForCausalLM"],
		"num_hidden_layers": 16,
		"hidden_size": 2048,
		"intermediate_size": 8192,
		"num_attention_heads": 32,
		"num_key_value_heads": 8,
		"head_dim": 64,
		"vocab_size": 128256,
		"max_position_embeddings": 131072,
		"tie_word_embeddings": true
	}`), nil)
	if err != nil {
		log.Fatal(err)
	}
	known, err := catalog.FindModel("llama-3.2-1b")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(model.Params(), known.Params())
	// Output:
	// 1235814400 1235814400
}
