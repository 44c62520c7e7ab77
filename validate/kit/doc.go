// Package kit helps to test other implementations of the pipeline. It exports the inputs of a replay, and the
// expected result of each stage, as files, and compares the files that another implementation wrote with
// them.
//
// An export is a folder:
//
//	manifest.json                     the contents: a [Manifest]
//	inputs/ID/q.npy, k.npy, v.npy     Q, K and V of a sequence, [tokens, L, heads, D]
//	STEP-N-STAGE/NAME.npy             a part of a stage: stage number N of step STEP
//
// or, in the safetensors format, inputs/ID.safetensors and STEP-N-STAGE.safetensors with tensors of these
// names. The compared files may be in either format. docs/ci.md lists the parts of each stage.
package kit
