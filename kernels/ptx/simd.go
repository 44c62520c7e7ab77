package ptx

import (
	"strings"
	"unsafe"
)

// SIMD video instructions (PTX ISA §9.7.18): operations on the two halves, or the four bytes, of a register.
// Selected and masked elements are not supported.

// simdOps compute an element of the result from the elements of the operands, extended to 32 bits.
var simdOps = map[string]func(a, b int32) int32{
	"vadd": func(a, b int32) int32 { return a + b },
	"vsub": func(a, b int32) int32 { return a - b },
	"vavrg": func(a, b int32) int32 {
		if a+b < 0 {
			return (a + b) >> 1
		}
		return (a + b + 1) >> 1
	},
	"vabsdiff": func(a, b int32) int32 { return max(a-b, b-a) },
	"vmin":     func(a, b int32) int32 { return min(a, b) },
	"vmax":     func(a, b int32) int32 { return max(a, b) },
}

// simdElements splits the name of a SIMD video instruction: vadd4 is vadd of 4 elements.
func simdElements(op string) (name string, n int) {
	switch {
	case strings.HasSuffix(op, "2"):
		n = 2
	case strings.HasSuffix(op, "4"):
		n = 4
	}
	return op[:len(op)-1], n
}

// decodeSIMD decodes vadd2, vadd4 and so on. Without .add, operand c is only for elements that a mask leaves
// out, so it is not used.
func decodeSIMD(d *decoder) error {
	name, n := simdElements(d.s.op)
	accumulate, saturate := d.take("add"), d.take("sat")
	var types [3]typ // of d, a and b
	for i := range types {
		t, err := d.takeType()
		if err != nil {
			return err
		}
		if types[i] = t; t != u32 && t != s32 {
			return d.unsupported()
		}
	}
	if len(d.s.operands) == 4 {
		for _, o := range d.s.operands[:3] {
			_, special := specialRegs[o.name]
			if _, selector, _ := strings.Cut(o.name, "."); selector != "" && !special {
				return d.errorf("%s: selected elements, .%s, are not supported", d.in.op, short(selector))
			}
		}
	}
	if accumulate && saturate {
		return d.unsupported()
	}
	return d.alu(simd(simdOps[name], n, types, accumulate, saturate), b32, b32, b32, b32)
}

func simd(op func(a, b int32) int32, n int, types [3]typ, accumulate, saturate bool) aluFunc {
	width := uint(32 / n)
	element := func(v uint32, i int, signed bool) int32 {
		v <<= 32 - width*uint(i+1)
		if signed {
			return int32(v) >> (32 - width)
		}
		return int32(v >> (32 - width))
	}
	lo, hi := int32(0), int32(1)<<width-1
	if types[0].signed() {
		lo, hi = -1<<(width-1), 1<<(width-1)-1
	}
	return func(p unsafe.Pointer, w *warp, in *instr) {
		d, a, b := operands2[uint32](p, w, in)
		c := row[uint32](w.regs, in.c)
		for lane := range d {
			sum, all := c[lane], uint32(0)
			for i := range n {
				t := op(element(a[lane], i, types[1].signed()), element(b[lane], i, types[2].signed()))
				if saturate {
					t = min(max(t, lo), hi)
				}
				sum += uint32(t)
				all |= uint32(t) & (1<<width - 1) << (width * uint(i))
			}
			if d[lane] = all; accumulate {
				d[lane] = sum
			}
		}
	}
}
