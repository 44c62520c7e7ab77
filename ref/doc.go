// Package ref is the specification of KV-Compress (Rehg, arXiv 2410.00161):
// the whole pipeline as Go that is meant to be read. Heads are worked on side by
// side, and the innermost loops are in package vec, each with its plain form.
//
// A language model's attention keeps, for every token that it has seen, a key
// and a value in each head of each layer. KV-Compress keeps them in a paged
// cache whose blocks each hold the KVs of ONE head, measures how much attention
// every KV receives, and evicts the KVs that receive least: from each head as
// many as it can spare, always enough to empty whole blocks, so that the memory
// is free for another request and not merely masked.
//
// The files follow a KV through its life:
//
//	config.go    the options, under the names of the paper and its implementation
//	cache.go     the paged cache: blocks, block tables, slots, allocation
//	softmax.go   the attention weights, in the stated order of every sum
//	prefill.go   a prompt enters; its last queries give every KV its first metric
//	decode.go    one token more: append, attend, add to the metrics
//	count.go     compression, stage 1: how many blocks must go
//	evict.go     stage 2: which; Walk is the specification
//	decide.go    stage 2 again: Decide gives what Walk gives, without the global sort
//	moves.go     stage 3: the survivors move together, the emptied blocks are freed
//	press.go     methods in kvpress's form: a score for every KV of a prompt, once
//	engine.go    the stages in their order, over the tensors of a trace
//	usage.go     how full the cache is
//
// Shapes are written with L layers, H KV heads, G query heads per KV head, D
// elements per head, B KVs per block and N physical blocks. A physical slot is
// block·B + offset; a KV's logical index counts the KVs of its own head.
//
// All arithmetic is specified to the bit in NUMERICS.md, which every other
// engine follows.
package ref
