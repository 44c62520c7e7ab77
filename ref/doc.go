// Package ref is the specification: attention over a paged KV cache, what is observed of
// it, the methods of compression, and the engine that carries out what they decide, as
// plain Go that is meant to be read. Heads are worked on side by side, and the innermost
// loops are in package vec, each with its plain form. Package quant has the arithmetic of
// quantized groups.
//
// A language model's attention keeps, for every token that it has seen, a key and a value
// in each head of each layer. A method of compression keeps fewer, or smaller, or hides
// some. The cache is paged (package kv) and every block holds the KVs of ONE head, so what
// a head gives up in whole blocks is memory for another request, and not merely masked.
//
// A [Method] decides and the [Engine] acts: the method is a pure function from what may be
// seen of a sequence to a [Plan]. Most methods drop KVs by a [Ranking] of what an
// [Observation] has measured, and need no code in an engine at all.
//
// What every method shares, in the order in which a KV meets it:
//
//	config.go    a configuration: the cache, the method and its options
//	method.go    what a method is, what it sees, and what a plan says
//	methods.go   the table of methods
//	inputs.go    Q, K and V of recorded requests (source.go checks them)
//	layers.go    prompts and tokens that enter layer by layer
//	softmax.go   the attention weights, in the stated order of every sum
//	observe.go   what a prompt's queries give to every KV: window, scale, pool, group
//	decode.go    one token more: append, attend, observe
//	hidden.go    KVs that are held and not read
//	standin.go   one entry that stands for many
//	rotary.go    keys that are read at another position
//	evict.go     which KVs go, by a ranking: Walk is the specification
//	decide.go    the same without a global sort: Decide
//	own.go       options of one request, in place of the run's
//	engine.go    the stages in their order
//	event.go     what an engine reports after each stage, as named parts
//
// KV-Compress (Rehg, arXiv 2410.00161) is kvcompress.go, with count.go (how many blocks
// must go) and prefill.go (its metric of a prompt). Every other method has a file of its
// own; capacity.go and press.go have what several of them share, quantizer.go and merger.go what those do that
// have pages of their own.
//
// Shapes are written with L layers, H KV heads, G query heads per KV head, D elements per
// head, B KVs per block and N physical blocks. A physical slot is block·B + offset; a KV's
// logical index counts the KVs of its own head.
//
// All arithmetic is specified to the bit in NUMERICS.md, which every other engine follows.
package ref
