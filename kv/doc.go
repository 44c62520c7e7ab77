// Package kv is the paged KV cache that every engine, ledger and planner shares:
// what it is made of and how its pages are counted, not what is computed with it.
//
// The cache is one pool of pages of equal bytes. A page (vLLM's block) belongs to one
// KV head of one layer of one sequence, so pages that a head gives up are memory that
// another request can have.
//
//	shape.go    the attention shape of a model
//	config.go   the cache's size and format; columns
//	format.go   how many KVs a page holds: plain, quantized, merged
//	segment.go  a run of a head's KVs in pages of one format; heads and sequences
//	cache.go    the pool: slots, owners, allocation, growth and truncation
//	free.go     the free list
//	moves.go    how survivors of an eviction are packed
//	snapshot.go a cache's content as flat arrays
//	usage.go    how full a cache is
//
// Shapes are written with L layers, H KV heads, G query heads per KV head, D elements
// per head, B KVs per plain page and N pages. A physical slot is page·B + offset; the
// logical index of a KV counts the KVs of its own head.
//
// A page in this package's names and a block in those of options and kernels
// (block_size, block table) are the same thing.
package kv
