package kv

import (
	"fmt"
	"slices"

	"kvcompress/dtype"
)

// Config is the size of a paged cache and the format of what it holds.
type Config struct {
	Shape     Shape       `json:"-"` // of the model, from the trace
	BlockSize int         `json:"block_size"`
	Blocks    int         `json:"blocks"` // N, physical blocks in the cache
	DType     dtype.DType `json:"kv_dtype"`
	KVScale   *Scale      `json:"kv_scale,omitempty"` // of an fp8 cache; nil is 1
}

// Bounds on a Config.
const (
	MaxBlocks     = 1 << 26
	MaxCacheBytes = 1 << 34 // upper bound of N·BlockBytes
)

// BlockSizes returns the valid block sizes, in KVs.
func BlockSizes() []int { return []int{1, 2, 4, 8, 16, 32} }

// Problems returns an error for each invalid value of the configuration of a cache with
// the given columns.
func (c *Config) Problems(columns []Column) []error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("config: "+format, args...))
	}
	s := c.Shape
	for _, err := range s.Problems() {
		bad("%w", err)
	}
	if !slices.Contains(BlockSizes(), c.BlockSize) {
		bad("block_size %d is not 1, 2, 4, 8, 16 or 32", c.BlockSize)
	}
	if len(errs) == 0 && (c.Blocks < 1 || c.Blocks > MaxBlocks) {
		bad("blocks %d is not from 1 to %d", c.Blocks, MaxBlocks)
	}
	if !c.DType.Valid() {
		bad("kv_dtype %d is unknown", c.DType)
	}
	if c.KVScale != nil {
		if c.DType.Valid() && c.DType.Size() > 1 {
			bad("kv_scale: a cache of %v has none: only the fp8 formats have", c.DType)
		}
		if err := c.KVScale.check(s.Layers); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == 0 && c.Blocks > MaxCacheBytes/c.BlockBytes(columns) {
		bad("blocks %d: a cache of more than %d GiB", c.Blocks, MaxCacheBytes>>30)
	}
	return errs
}

// RowBytes returns the bytes of one key or one value in the cache's format.
func (c *Config) RowBytes() int { return c.Shape.HeadSize * c.DType.Size() }

// PageBytes returns the bytes of a page: those of B keys and B values in the cache's format.
func (c *Config) PageBytes() int { return 2 * c.BlockSize * c.RowBytes() }

// SlotBytes returns the bytes of one KV: K, V, its position and its columns. A move reads and writes as many.
func (c *Config) SlotBytes(columns []Column) int {
	n := 2*c.RowBytes() + 4
	for _, column := range columns {
		n += column.Bytes()
	}
	return n
}

// BlockBytes returns the bytes of a block's state: its slots and its owner.
func (c *Config) BlockBytes(columns []Column) int {
	return c.BlockSize*c.SlotBytes(columns) + 16
}

// Column is data that a method stores for every KV besides K, V and position, such as a
// metric: Width float32 numbers, in one array over all slots of the cache.
type Column struct {
	Name    string  // "metrics": the name in digests, dumps and comparisons
	Value   string  // "metric": what messages call one element
	Width   int     // numbers for each KV: 1, or one for each query head of a group
	Initial float32 // value of each number when its KV enters the cache
}

// Bytes returns the column's bytes for each slot.
func (c Column) Bytes() int { return 4 * c.Width }
