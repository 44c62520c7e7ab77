package draw_test

import (
	"fmt"
	"math/rand/v2"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/ref/draw"
)

// Options of a method are drawn at random, over a cache that is given.
func ExampleMethod_Config() {
	m, err := draw.Find("snapkv")
	if err != nil {
		fmt.Println(err)
		return
	}
	base := ref.Default()
	base.Shape = kv.Shape{Layers: 2, KVHeads: 2, Group: 2, HeadSize: 32}
	base.Blocks = 100
	cfg, err := m.Config(rand.New(rand.NewPCG(1, 0)), base)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(cfg)
	// Output:
	// {"block_size":16,"blocks":100,"kv_dtype":"f16","method":"snapkv","set":{"order":"after","window":8},"compression":{"rate":0.01,"protected_window":0,"sinks":0}}
}
