// Package ref is the specification of the pipeline: attention over a paged KV cache, the attention that
// compression methods observe, the methods, and the engine that carries out their decisions. It is plain Go,
// written to be read. Heads run in parallel. The inner loops are in package vec, each with a plain form;
// package quant has the arithmetic of quantized groups, package merge that of merged layers.
//
// Attention keeps a key and a value for every token, in each head of each layer. A compression method evicts
// some, stores them smaller, or hides them. The cache is paged (package kv) and every block holds KVs of ONE
// head, so a block that a head gives up can be allocated to another request.
//
// A [Method] decides and the [Engine] acts. A method is a pure function from what it may see of a sequence to
// a [Plan]. Most methods evict KVs by a [Ranking] of the scores that an [Observation] has produced, and need
// no code of their own in an engine.
//
// What all methods share, in the order in which a KV meets it:
//
//	config.go    a configuration: the cache, the method and its options
//	method.go    the interface of a method, what it sees, and its plan
//	methods.go   the table of methods
//	inputs.go    Q, K and V of recorded requests (source.go checks them)
//	layers.go    prompts and decode steps that enter layer by layer
//	softmax.go   the attention weights, with the order of every sum
//	observe.go   scores of a prompt's KVs: window, scale, pooling, group
//	decode.go    one decode step: append, attend, observe
//	hidden.go    KVs that are held and not read
//	standin.go   one entry that represents many evicted KVs
//	rotary.go    keys that are read at another position
//	evict.go     which KVs a ranking evicts: Walk is the specification
//	decide.go    the same decision without a global sort: Decide
//	own.go       options of one request, in place of the run's
//	engine.go    the stages in their order
//	event.go     what an engine reports after each stage, as named parts
//
// KV-Compress (Rehg, arXiv 2410.00161) is kvcompress.go, with count.go (how many blocks to evict) and
// prefill.go (its metric of a prompt). Every other method has its own file. Shared by several are
// capacity.go, press.go, and for methods with their own page formats quantizer.go and merger.go.
//
// Shapes use L layers, H KV heads, G query heads per KV head, D elements per head, B KVs per block and N
// physical blocks. A physical slot is block·B + offset. A KV's logical index is its index within its head.
//
// All arithmetic is specified to the bit in NUMERICS.md, for every engine.
package ref
