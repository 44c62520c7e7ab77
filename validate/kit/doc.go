// Package kit is for those who test an implementation of their own: it writes the inputs of a
// replay and what each of its stages should leave as files, and compares the files that
// another implementation wrote with them.
//
// An export is a folder:
//
//	manifest.json                     what there is: a [Manifest]
//	inputs/ID/q.npy, k.npy, v.npy     Q, K and V of a sequence, [tokens, L, heads, D]
//	STEP-N-STAGE/NAME.npy             a part of a stage: of step STEP, its stage number N
//
// or, in the safetensors format, inputs/ID.safetensors and STEP-N-STAGE.safetensors with
// tensors of these names. What is compared may be in either format. docs/ci.md has the parts
// of each stage.
package kit
