package ref_test

import (
	"fmt"
	"log"

	"kvcompress/kv"
	"kvcompress/ref"
)

// Two heads have four KVs each, in two blocks each. One block is to be freed. The cheapest is in head 1: it
// loses its two KVs with the smallest scores, and the other two fit in one block.
func ExampleDecide() {
	p := &ref.Problem{
		Ranking:   ref.Ranking{Unit: 2, Quotas: []ref.Quota{{First: 0, Heads: 2, Units: 1}}},
		Length:    4,
		KVHeads:   2,
		BlockSize: 2,
		Heads: []kv.Head{ // each head has its own block table
			{Segment: kv.Segment{Table: []int32{0, 1}, Len: 4}},
			{Segment: kv.Segment{Table: []int32{2, 3}, Len: 4}},
		},
		Scores:    []float32{5, 6, 7, 8, 0.5, 3, 4, 0.25}, // by slot
		Positions: []int32{0, 1, 2, 3, 0, 1, 2, 3},
	}
	d := ref.Decide(p)
	for i, h := range d.Heads {
		fmt.Printf("head %d loses %d blocks: KVs %v\n", i, h.Units, h.KVs)
	}
	walk := ref.Walk(p) // the specification, which sorts all candidates
	fmt.Println("equal to the plain form:", d.Equal(&walk))
	// Output:
	// head 0 loses 0 blocks: KVs []
	// head 1 loses 1 blocks: KVs [0 3]
	// equal to the plain form: true
}

// ExampleFindMethod looks a method up in the table of methods.
func ExampleFindMethod() {
	m, err := ref.FindMethod("snapkv")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(m.Name, "keeps by --max-cache-tokens:", m.CacheTokens)
	for _, o := range m.Options() {
		fmt.Println(o.Key)
	}
	// Output:
	// snapkv keeps by --max-cache-tokens: KVs that every head keeps of a prompt, the window included
	// window
	// kernel
	// pooling
	// group
	// order
}
