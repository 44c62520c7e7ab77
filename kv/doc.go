// Package kv is the paged KV cache that all engines, ledgers and planners share: its data structures and the
// counting of its pages. What is computed with the cache is elsewhere.
//
// The cache is one pool of pages of equal size. A page (vLLM's block) belongs to one KV head of one layer of
// one sequence, so a page that a head frees can be used by any other request.
//
//	shape.go    the attention shape of a model
//	config.go   the cache's size and format; columns
//	format.go   how many KVs a page holds: plain, quantized, merged
//	segment.go  a run of a head's KVs in pages of one format; heads and sequences
//	cache.go    the pool: slots, owners, allocation, growth and truncation
//	free.go     the free list
//	moves.go    compaction after an eviction
//	quantize.go quantized segments
//	merge.go    merged segments and retained KVs
//	read.go     reading keys and values from any segment
//	snapshot.go a cache's content as flat arrays
//	usage.go    how full a cache is
//
// Shapes are written with L layers, H KV heads, G query heads per KV head, D elements per head, B KVs per
// plain page and N pages. A physical slot is page·B + offset; the logical index of a KV is its index among
// the KVs of its head.
//
// A page in this package's names and a block in those of options and kernels (block_size, block table) are
// the same thing.
package kv
