package catalog

import "kvcompress/internal/ceil"

// Weights is a format of a model's matrices.
type Weights string

// The formats. They apply to the layers' matrices; embeddings, the output matrix and norms have 16
// bits unless a checkpoint says otherwise.
const (
	F16   Weights = "f16"
	BF16  Weights = "bf16"
	FP8   Weights = "fp8"   // and activations in 8 bits, where servers have kernels for it on the card: see [Card.Inputs]
	INT8  Weights = "int8"  // likewise
	INT4  Weights = "int4"  // AWQ and GPTQ: the product is in 16 bits
	NF4   Weights = "nf4"   // bitsandbytes: the product is in 16 bits
	MXFP4 Weights = "mxfp4" // activations of experts in 8 bits, likewise; else the product is in 16 bits
	NVFP4 Weights = "nvfp4" // and activations in 4 bits, likewise
)

// AllWeights returns the formats.
func AllWeights() []Weights { return []Weights{BF16, F16, FP8, INT8, INT4, NF4, MXFP4, NVFP4} }

// Valid reports whether the format is one of those above.
func (w Weights) Valid() bool { return w.Bits() != 0 }

// Bits returns the bits of one weight without scales, 0 for an unknown format.
func (w Weights) Bits() int {
	switch w {
	case F16, BF16:
		return 16
	case FP8, INT8:
		return 8
	case INT4, NF4, MXFP4, NVFP4:
		return 4
	}
	return 0
}

// Format returns how a matrix is stored in this format by default, if no checkpoint says how: with one
// scale per matrix for fp8, one per output for int8, and for the others the usual groups: 128 weights
// with zero points for int4, 64 for nf4, 32 for mxfp4, 16 for nvfp4.
func (w Weights) Format() Format {
	switch w {
	case FP8:
		return Format{Weights: FP8, Bits: 8, Activations: 8, ScaleBits: 32}
	case INT8:
		return Format{Weights: INT8, Bits: 8, Activations: 8, ScaleBits: 32, GroupOut: 1}
	case INT4:
		return Format{Weights: INT4, Bits: 4, Activations: 16, ScaleBits: 16, ZeroBits: 4, GroupIn: 128, GroupOut: 1}
	case NF4:
		return Format{Weights: NF4, Bits: 4, Activations: 16, ScaleBits: 32, GroupIn: 64, GroupOut: 1}
	case MXFP4:
		return Format{Weights: MXFP4, Bits: 4, Activations: 16, ScaleBits: 8, GroupIn: 32, GroupOut: 1}
	case NVFP4:
		return Format{Weights: NVFP4, Bits: 4, Activations: 4, ScaleBits: 8, GroupIn: 16, GroupOut: 1, Extra: 8}
	}
	return Format{Weights: w, Bits: 16, Activations: 16}
}

// Format is how a matrix of weights is stored: codes, and scales and zero points of groups
// of them.
type Format struct {
	Weights     Weights // its name
	Bits        int     // of a code
	Activations int     // bits of the product's other input, as stored: 16, 8 or 4; see [Card.Inputs]
	ScaleBits   int     // of a group's scale; 0 for none
	ZeroBits    int     // of a group's zero point; 0 for none
	GroupIn     int     // inputs of a group; 0 for all
	GroupOut    int     // outputs of a group; 0 for all
	InputIndex  bool    // GPTQ: the group of each input, 4 bytes
	Extra       int     // bytes per matrix of scales of scales and of scales of activations
}

// Bytes returns the bytes of a matrix of in × out weights.
func (f Format) Bytes(in, out int64) int64 {
	bytes := ceil.Div(in*out*int64(f.Bits), 8) + int64(f.Extra)
	if f.ScaleBits+f.ZeroBits > 0 {
		groups := groupsOf(in, f.GroupIn) * groupsOf(out, f.GroupOut)
		bytes += ceil.Div(groups*int64(f.ScaleBits), 8) + ceil.Div(groups*int64(f.ZeroBits), 8)
	}
	if f.InputIndex {
		bytes += 4 * in
	}
	return bytes
}

func groupsOf(n int64, size int) int64 {
	if size == 0 {
		return 1
	}
	return ceil.Div(n, int64(size))
}
