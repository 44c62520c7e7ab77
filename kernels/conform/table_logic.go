package conform

import "fmt"

// logicOps returns the bitwise instructions, the shifts, and prmt.
func logicOps() []*Op {
	var ops []*Op
	for _, n := range []int{16, 32, 64} {
		t := integer{name: fmt.Sprintf("b%d", n), bits: n}
		bitwise := func(op string, in int, f func(a, b uint64) uint64) {
			name := op + "." + t.name
			ops = append(ops, &Op{
				Name: name, in: repeat(t.reg(), in), out: []string{t.reg()},
				body: name + " " + operands(in) + ";", rows: rows(repeat(t.domain(), in)...),
				eval: exact(func(a []uint64) uint64 { return f(a[0], a[in-1]) & mask(n) }),
			})
		}
		bitwise("and", 2, func(a, b uint64) uint64 { return a & b })
		bitwise("or", 2, func(a, b uint64) uint64 { return a | b })
		bitwise("xor", 2, func(a, b uint64) uint64 { return a ^ b })
		bitwise("not", 1, func(a, _ uint64) uint64 { return ^a })
		bitwise("cnot", 1, func(a, _ uint64) uint64 { return truthOf(a&mask(n) == 0) })
		ops = append(ops, shifts(n)...)
	}
	for _, op := range []string{"and", "or", "xor", "not"} {
		ops = append(ops, predicateLogic(op))
	}
	for _, lut := range []uint8{0x00, 0xff, 0xf0, 0xcc, 0xaa, 0x80, 0xfe, 0x01, 0x96, 0x69, 0xe8, 0xca, 0x1a, 0x40, 0xea, 0x2d} {
		ops = append(ops, lookup(lut))
	}
	ops = append(ops, funnels()...)
	return append(ops, permutes()...)
}

// shifts returns shl and shr of a width, by a register and by constants, up to and
// beyond the width.
func shifts(n int) []*Op {
	var ops []*Op
	for _, t := range []integer{
		{fmt.Sprintf("b%d", n), n, false}, {fmt.Sprintf("u%d", n), n, false}, {fmt.Sprintf("s%d", n), n, true},
	} {
		left := func(a, by uint64) uint64 {
			if by >= uint64(n) {
				return 0
			}
			return a << by & mask(n)
		}
		right := func(a, by uint64) uint64 {
			// One bit at a time, at most n times: further shifts have no effect.
			for range min(by, uint64(n)) {
				top := uint64(0)
				if t.signed {
					top = a & (1 << (n - 1))
				}
				a = a&mask(n)>>1 | top
			}
			return a & mask(n)
		}
		add := func(op string, f func(a, by uint64) uint64) {
			name := op + "." + t.name
			ops = append(ops, &Op{
				Name: name, in: []string{t.reg(), "b32"}, out: []string{t.reg()},
				body: name + " " + operands(2) + ";", rows: rows(t.domain(), amounts(n)),
				eval: exact(func(a []uint64) uint64 { return f(a[0], a[1]&mask(32)) }),
			})
			for _, by := range []uint64{0, 1, uint64(n) - 1, uint64(n), uint64(n) + 1, 255} {
				ops = append(ops, &Op{
					Name: fmt.Sprintf("%s by %d", name, by), in: []string{t.reg()}, out: []string{t.reg()},
					body: fmt.Sprintf("%s %%d0, %%a0, %d;", name, by), rows: rows(t.domain()),
					eval: exact(func(a []uint64) uint64 { return f(a[0], by) }),
				})
			}
		}
		if t.name[0] == 'b' {
			add("shl", left)
		}
		add("shr", right)
	}
	return ops
}

// predicateLogic returns a bitwise instruction on predicates.
func predicateLogic(op string) *Op {
	in := 2
	if op == "not" {
		in = 1
	}
	return &Op{
		Name: op + ".pred", in: repeat("pred", in), out: []string{"pred"},
		body: op + ".pred " + operands(in) + ";", rows: rows(repeat(truth(), in)...),
		eval: exact(func(a []uint64) uint64 {
			switch op {
			case "and":
				return a[0] & a[1]
			case "or":
				return a[0] | a[1]
			case "xor":
				return a[0] ^ a[1]
			}
			return 1 - a[0]
		}),
	}
}

// lookup returns lop3 with a truth table: bit 4a+2b+c is the result for the bits a, b
// and c.
func lookup(lut uint8) *Op {
	return &Op{
		Name: fmt.Sprintf("lop3.b32 %#02x", lut), in: repeat("b32", 3), out: []string{"b32"},
		body: fmt.Sprintf("lop3.b32 %s, %#02x;", operands(3), lut),
		rows: literally([]uint64{0xf0, 0xcc, 0xaa}).and(rows(repeat(wholeNumbers(32), 3)...)),
		eval: exact(func(a []uint64) uint64 {
			var d uint64
			for i := range 32 {
				at := a[0]>>i&1<<2 | a[1]>>i&1<<1 | a[2]>>i&1
				d |= uint64(lut) >> at & 1 << i
			}
			return d
		}),
	}
}

// funnels returns the funnel shifts, shf.
func funnels() []*Op {
	var ops []*Op
	for _, dir := range []string{"l", "r"} {
		for _, mode := range []string{"clamp", "wrap"} {
			name := "shf." + dir + "." + mode + ".b32"
			f := func(a, b, c uint64) uint64 {
				n := c & 31
				if mode == "clamp" {
					n = min(c&mask(32), 32)
				}
				both := b<<32 | a&mask(32)
				if dir == "l" {
					return both << n >> 32
				}
				return both >> n & mask(32)
			}
			ops = append(ops, &Op{
				Name: name, in: repeat("b32", 3), out: []string{"b32"},
				body: name + " " + operands(3) + ";", rows: rows(wholeNumbers(32), wholeNumbers(32), amounts(32)),
				eval: exact(func(a []uint64) uint64 { return f(a[0], a[1], a[2]) }),
			})
			for _, by := range []uint64{0, 1, 31, 32, 33} {
				ops = append(ops, &Op{
					Name: fmt.Sprintf("%s by %d", name, by), in: repeat("b32", 2), out: []string{"b32"},
					body: fmt.Sprintf("%s %s, %d;", name, operands(2), by), rows: rows(wholeNumbers(32), wholeNumbers(32)),
					eval: exact(func(a []uint64) uint64 { return f(a[0], a[1], by) }),
				})
			}
		}
	}
	return ops
}

// permutes returns prmt in all its modes. As in the manual, the tables have, for each
// value of the two low bits of the selector, the sources of the bytes 3, 2, 1 and 0.
func permutes() []*Op {
	modes := []struct {
		name  string
		bytes [4][4]int
	}{
		{"f4e", [4][4]int{{3, 2, 1, 0}, {4, 3, 2, 1}, {5, 4, 3, 2}, {6, 5, 4, 3}}},
		{"b4e", [4][4]int{{5, 6, 7, 0}, {6, 7, 0, 1}, {7, 0, 1, 2}, {0, 1, 2, 3}}},
		{"rc8", [4][4]int{{0, 0, 0, 0}, {1, 1, 1, 1}, {2, 2, 2, 2}, {3, 3, 3, 3}}},
		{"ecl", [4][4]int{{3, 2, 1, 0}, {3, 2, 1, 1}, {3, 2, 2, 2}, {3, 3, 3, 3}}},
		{"ecr", [4][4]int{{0, 0, 0, 0}, {1, 1, 1, 0}, {2, 2, 1, 0}, {3, 2, 1, 0}}},
		{"rc16", [4][4]int{{1, 0, 1, 0}, {3, 2, 3, 2}, {1, 0, 1, 0}, {3, 2, 3, 2}}},
	}
	words := domain{[]uint64{0x03020100, 0x07060504, 0x80ff7f01, 0xfe817e00}, wholeNumbers(32).random}
	byteOf := func(a []uint64, i int) uint64 { return (a[1]<<32 | a[0]&mask(32)) >> (8 * i) & 255 }
	ops := []*Op{{
		Name: "prmt.b32", in: repeat("b32", 3), out: []string{"b32"},
		body: "prmt.b32 " + operands(3) + ";",
		rows: rows(words, words, domain{
			[]uint64{0x3210, 0x7654, 0x0123, 0x4567, 0xba98, 0xfedc, 0x8080, 0x0f0f, 0xffffffff, 0xcafe5140, 0},
			wholeNumbers(32).random}),
		eval: exact(func(a []uint64) uint64 {
			var d uint64
			for i := range 4 {
				sel := a[2] >> (4 * i) & 15
				b := byteOf(a, int(sel&7))
				if sel&8 != 0 { // replicate the byte's sign bit
					b = b >> 7 * 255
				}
				d |= b << (8 * i)
			}
			return d
		}),
	}}
	for _, m := range modes {
		name := "prmt.b32." + m.name
		ops = append(ops, &Op{
			Name: name, in: repeat("b32", 3), out: []string{"b32"},
			body: name + " " + operands(3) + ";",
			rows: rows(words, words, domain{[]uint64{0, 1, 2, 3, 4, 0xfffffffe, 0x8003}, wholeNumbers(32).random}),
			eval: exact(func(a []uint64) uint64 {
				var d uint64
				for i, from := range m.bytes[a[2]&3] {
					d |= byteOf(a, from) << (8 * (3 - i))
				}
				return d
			}),
		})
	}
	return ops
}
