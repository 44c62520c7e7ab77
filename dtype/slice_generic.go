//go:build !amd64 || purego

package dtype

// isa is an instruction set that the conversions are written for.
type isa uint8

const plain isa = 0

func (isa) String() string { return "plain" }

// supported lists the instruction sets that this processor has, best last.
var supported = []isa{plain}

const best = plain

func (isa) decode(t DType, dst []float32, src []byte) { decodePlain(t, dst, src) }

func (isa) encode(t DType, dst []byte, src []float32) { encodePlain(t, dst, src) }
