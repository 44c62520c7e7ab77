package kv

import "fmt"

// Shape is the attention shape of a model.
type Shape struct {
	Layers   int `json:"layers"`    // L
	KVHeads  int `json:"kv_heads"`  // H, KV heads in each layer
	Group    int `json:"group"`     // G, query heads that share a KV head
	HeadSize int `json:"head_size"` // D, elements of one head's query, key or value
}

// Bounds on a Shape.
const (
	MaxLayers   = 1024
	MaxKVHeads  = 1024
	MaxGroup    = 128
	MinHeadSize = 8 // and a multiple of 8
	MaxHeadSize = 256
	MaxRow      = 1 << 20 // largest H·G·D, the elements of Q of one token in one layer
)

// QueryHeads returns H·G, the query heads of a layer.
func (s Shape) QueryHeads() int { return s.KVHeads * s.Group }

// Heads returns L·H, the KV heads of all layers.
func (s Shape) Heads() int { return s.Layers * s.KVHeads }

// Check returns an error that names the first dimension that is out of bounds.
func (s Shape) Check() error {
	if errs := s.Problems(); len(errs) > 0 {
		return errs[0]
	}
	return nil
}

// Problems returns an error for each dimension that is out of bounds.
func (s Shape) Problems() []error {
	var errs []error
	for _, d := range []struct {
		name         string
		n, low, high int
	}{
		{"layers", s.Layers, 1, MaxLayers},
		{"kv_heads", s.KVHeads, 1, MaxKVHeads},
		{"group", s.Group, 1, MaxGroup},
		{"head_size", s.HeadSize, MinHeadSize, MaxHeadSize},
	} {
		if d.n < d.low || d.n > d.high {
			errs = append(errs, fmt.Errorf("shape: %s is %d, want %d to %d", d.name, d.n, d.low, d.high))
		}
	}
	if s.HeadSize%8 != 0 {
		errs = append(errs, fmt.Errorf("shape: head_size is %d, want a multiple of 8", s.HeadSize))
	}
	if row := s.QueryHeads() * s.HeadSize; len(errs) == 0 && row > MaxRow {
		errs = append(errs, fmt.Errorf("shape: kv_heads·group·head_size is %d, want at most %d", row, MaxRow))
	}
	return errs
}
