//go:build !amd64 || purego

package vec

import "unsafe"

// isa is an instruction set with its own version of the loops.
type isa uint8

const plain isa = 0

func (isa) String() string { return "plain" }

// supported lists the instruction sets that this processor has, best last.
var supported = []isa{plain}

const best = plain

func (isa) dots(dst []float32, stride int, q, k []float32, rows, g, d int) {
	dotsPlain(dst, stride, q, k, rows, g, d)
}

func (isa) accumulate(acc, e []float32, stride int, v []float32, rows, g, d int) {
	accumulatePlain(acc, e, stride, v, rows, g, d)
}

func (isa) max(x []float32) float32 { return maxPlain(x) }

func (isa) expSub(dst, x []float32, m float32) { expSubPlain(dst, x, m) }

func prefetch(unsafe.Pointer, int) {}

func (isa) readChannels(dst []float32, codes []byte, scales, minima []float32, bits, first int) {
	readChannelsPlain(dst, codes, scales, minima, bits, first)
}

func (isa) readLines(dst []float32, lines []byte, stride int, numbers []float32, d, size, bits int) {
	readLinesPlain(dst, lines, stride, numbers, d, size, bits)
}
