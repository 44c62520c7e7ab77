package cost_test

import (
	"fmt"
	"log"

	"kvcompress/sim/catalog"
	"kvcompress/sim/cost"
)

// What of an L4's memory is left for the KV cache of Llama-3.1-8B.
func ExampleDeployment_Memory() {
	model, err := catalog.FindModel("llama-3.1-8b")
	if err != nil {
		log.Fatal(err)
	}
	card, err := catalog.FindCard("l4")
	if err != nil {
		log.Fatal(err)
	}
	d := cost.New(model, card)
	d.MaxTokens = 8192 // of one prefill batch
	m, err := d.Memory()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("weights %.2f GiB, keys and values %.2f GiB\n", float64(m.Weights)/(1<<30), float64(m.KV)/(1<<30))
	fmt.Println(m.Blocks, "blocks of", m.BlockKV, "bytes hold", m.Tokens, "tokens")
	// Output:
	// weights 14.99 GiB, keys and values 3.47 GiB
	// 454921 blocks of 8192 bytes hold 28432 tokens
}
