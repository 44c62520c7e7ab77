package kv_test

import (
	"fmt"
	"log"

	"kvcompress/dtype"
	"kvcompress/kv"
)

// Two of the KVs of one head are evicted: a KV from the tail is moved into the hole, and the
// block that the tail leaves empty is free for another request.
func Example() {
	cache := kv.NewCache(kv.Config{
		Shape:     kv.Shape{Layers: 1, KVHeads: 2, Group: 1, HeadSize: 8},
		BlockSize: 2,
		Blocks:    8,
		DType:     dtype.F16,
	}, nil)
	s, err := cache.Add(0, 5) // a prompt of 5 tokens: 3 blocks for each of 2 heads
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("blocks free:", cache.Free())

	h := &s.Heads[0]
	moves := kv.Moves(nil, h, 2, []int32{1, 3}) // logical indices, ascending
	cache.Move(moves)
	cache.Truncate(h, 3)
	fmt.Printf("moves: %d, head 0 holds %d KVs, blocks free: %d\n", len(moves), h.KVs(), cache.Free())

	if _, err := cache.Add(1, 5); err != nil {
		fmt.Println(err)
	}
	// Output:
	// blocks free: 2
	// moves: 1, head 0 holds 3 KVs, blocks free: 3
	// kv: 6 blocks are needed and 3 are free
}
