package models_test

import (
	"fmt"

	"kvcompress/bench/models"
)

// The bundled models, and what one token takes in the cache of the first one.
func ExampleLoad() {
	for _, name := range models.Names() {
		m, err := models.Load(name)
		if err != nil {
			fmt.Println(err)
			return
		}
		c := m.Config()
		fmt.Printf("%s: %d layers, %d query and %d KV heads of %d, %d positions\n",
			name, c.Layers, c.QueryHeads, c.KVHeads, c.HeadSize, c.MaxPositions)
	}
	// Output:
	// recall-0: 4 layers, 4 query and 2 KV heads of 32, 4096 positions
	// recall-1: 4 layers, 4 query and 2 KV heads of 32, 4096 positions
	// wide-0: 4 layers, 8 query and 4 KV heads of 32, 4096 positions
}

func ExampleLoadLinear() {
	for _, name := range models.LinearNames() {
		m, err := models.LoadLinear(name)
		if err != nil {
			fmt.Println(err)
			return
		}
		c := m.Config()
		fmt.Printf("%s: %d of %d layers have full attention; the states of the others are %d bytes\n",
			name, c.FullLayers(), len(c.Full), c.StateBytes())
	}
	// Output:
	// linear-0: 0 of 3 layers have full attention; the states of the others are 121344 bytes
	// hybrid-0: 1 of 3 layers have full attention; the states of the others are 80896 bytes
}
