package conform

import "fmt"

// bitOps returns the instructions that count, find, reverse and move bits.
func bitOps() []*Op {
	var ops []*Op
	for _, n := range []int{32, 64} {
		t := integer{name: fmt.Sprintf("b%d", n), bits: n}
		unary := func(name string, d domain, f func(a uint64) uint64, out string) {
			ops = append(ops, &Op{
				Name: name, in: []string{t.reg()}, out: []string{out},
				body: name + " %d0, %a0;", rows: rows(d),
				eval: exact(func(a []uint64) uint64 { return f(a[0] & mask(n)) }),
			})
		}
		d := singleBits(n)
		unary("popc."+t.name, d, func(a uint64) uint64 {
			c := uint64(0)
			for i := range n {
				c += a >> i & 1
			}
			return c
		}, "b32")
		unary("clz."+t.name, d, func(a uint64) uint64 {
			c := 0
			for c < n && a>>(n-1-c)&1 == 0 {
				c++
			}
			return uint64(c)
		}, "b32")
		unary("brev."+t.name, d, func(a uint64) uint64 {
			var r uint64
			for i := range n {
				r |= a >> i & 1 << (n - 1 - i)
			}
			return r
		}, t.reg())
		for _, signed := range []bool{false, true} {
			name := map[bool]string{false: "u", true: "s"}[signed] + fmt.Sprint(n)
			find := func(a uint64) int { // the most significant bit that differs from the sign, or −1
				if signed && a>>(n-1)&1 == 1 {
					a = ^a
				}
				for i := n - 1; i >= 0; i-- {
					if a>>i&1 == 1 {
						return i
					}
				}
				return -1
			}
			unary("bfind."+name, d, func(a uint64) uint64 { return uint64(find(a)) & mask(32) }, "b32")
			unary("bfind.shiftamt."+name, d, func(a uint64) uint64 {
				if i := find(a); i >= 0 {
					return uint64(n - 1 - i)
				}
				return mask(32)
			}, "b32")
			ops = append(ops, extract(integer{name, n, signed}))
		}
		ops = append(ops, insert(t))
	}
	return append(ops, findNth())
}

// singleBits is the domain of integers, with all numbers that have one bit set, all bits
// but one, or a run of bits.
func singleBits(n int) domain {
	d := wholeNumbers(n)
	for i := range n {
		d.hard = append(d.hard, 1<<i, mask(n)&^(1<<i), mask(i))
	}
	return d
}

// fieldRows returns operands for bit fields: values, positions and lengths, such that
// fields begin and end before, at and after the last bit.
func fieldRows(values int, n int) table {
	ds := append(repeat(wholeNumbers(n), values), amounts(n), amounts(n))
	inside := domain{[]uint64{0, 1, 8, uint64(n) - 1, uint64(n), uint64(n) + 1}, amounts(n).random}
	near := append(repeat(domain{[]uint64{0x8000000080000001 & mask(n), 0x7fffffff7ffffffe & mask(n)}, wholeNumbers(n).random}, values), inside, inside)
	return rows(ds...).and(rows(near...))
}

// extract is bfe, bit by bit.
func extract(t integer) *Op {
	name := "bfe." + t.name
	return &Op{
		Name: name, in: []string{t.reg(), "b32", "b32"}, out: []string{t.reg()},
		body: name + " " + operands(3) + ";", rows: fieldRows(1, t.bits),
		eval: exact(func(a []uint64) uint64 {
			v, pos, n := a[0], int(a[1]&255), int(a[2]&255)
			msb := t.bits - 1
			var sign, d uint64
			if t.signed && n > 0 {
				sign = v >> min(pos+n-1, msb) & 1
			}
			for i := range t.bits {
				bit := sign
				if i < n && pos+i <= msb {
					bit = v >> (pos + i) & 1
				}
				d |= bit << i
			}
			return d
		}),
	}
}

// insert is bfi, bit by bit.
func insert(t integer) *Op {
	name := "bfi." + t.name
	return &Op{
		Name: name, in: []string{t.reg(), t.reg(), "b32", "b32"}, out: []string{t.reg()},
		body: name + " " + operands(4) + ";", rows: fieldRows(2, t.bits),
		eval: exact(func(a []uint64) uint64 {
			f, pos, n := a[1], int(a[2]&255), int(a[3]&255)
			for i := 0; i < n && pos+i < t.bits; i++ {
				f = f&^(1<<(pos+i)) | a[0]>>i&1<<(pos+i)
			}
			return f
		}),
	}
}

// findNth is fns. A base above 31 is undefined.
func findNth() *Op {
	bases := domain{[]uint64{0, 1, 5, 30, 31}, amounts(28).random}
	offsets := domain{[]uint64{0, 1, 2, 7, 32, 33, 0xffffffff, 0xfffffffe, 0xffffffe0, 0xffffffdf, 0x7fffffff, 0x80000001}, wholeNumbers(4).random}
	return &Op{
		Name: "fns.b32", in: repeat("b32", 3), out: []string{"b32"},
		body: "fns.b32 " + operands(3) + ";",
		rows: rows(singleBits(32), bases, offsets).and(literally(
			[]uint64{0xaaaaaaaa, 3, 1}, []uint64{0xaaaaaaaa, 3, 0xffffffff},
			[]uint64{0xaaaaaaaa, 2, 1}, []uint64{0xaaaaaaaa, 2, 0xffffffff})),
		eval: each(func(a []uint64) []want {
			m, base, offset := a[0], int64(a[1]&mask(32)), int64(int32(a[2]))
			if base > 31 {
				return []want{{like: anything}}
			}
			step := int64(1)
			if offset < 0 {
				step, offset = -1, -offset
			}
			if offset == 0 { // the bit at the base, or none
				if m>>base&1 == 1 {
					return []want{{bits: uint64(base)}}
				}
				return []want{{bits: mask(32)}}
			}
			for pos := base; pos >= 0 && pos < 32; pos += step {
				if m>>pos&1 == 0 {
					continue
				}
				if offset--; offset == 0 {
					return []want{{bits: uint64(pos)}}
				}
			}
			return []want{{bits: mask(32)}}
		}),
	}
}
