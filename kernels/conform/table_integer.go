package conform

import (
	"fmt"
	"math/big"
	"math/rand/v2"
)

// wholes are the integer types of arithmetic.
var wholes = []integer{u16, u32, u64, s16, s32, s64}

// reg returns the register type of an integer.
func (t integer) reg() string { return fmt.Sprintf("b%d", max(t.bits, 16)) }

func (t integer) domain() domain { return wholeNumbers(t.bits) }

// calc returns the oracle of a form with operands a of type t and the result
// f(a) mod 2^bits.
func calc(t integer, bits int, f func(a []*big.Int) *big.Int) oracle {
	return exact(func(a []uint64) uint64 {
		v := make([]*big.Int, len(a))
		for i := range a {
			v[i] = t.value(a[i])
		}
		return wrap(f(v), bits)
	})
}

func repeat[T any](v T, n int) []T {
	s := make([]T, n)
	for i := range s {
		s[i] = v
	}
	return s
}

func zInt() *big.Int { return new(big.Int) }

// integerOps returns the instructions of the manual's chapter Integer Arithmetic, except
// those on bit fields.
func integerOps() []*Op {
	var ops []*Op
	// simple adds a form with n operands and a result of type t.
	simple := func(name string, t integer, n int, f func(a []*big.Int) *big.Int) {
		ops = append(ops, &Op{
			Name: name, in: repeat(t.reg(), n), out: []string{t.reg()},
			body: name + " " + operands(n) + ";",
			rows: rows(repeat(t.domain(), n)...),
			eval: calc(t, t.bits, f),
		})
	}
	for _, t := range wholes {
		simple("add."+t.name, t, 2, func(a []*big.Int) *big.Int { return zInt().Add(a[0], a[1]) })
		simple("sub."+t.name, t, 2, func(a []*big.Int) *big.Int { return zInt().Sub(a[0], a[1]) })
		simple("mul.lo."+t.name, t, 2, func(a []*big.Int) *big.Int { return zInt().Mul(a[0], a[1]) })
		simple("mul.hi."+t.name, t, 2, func(a []*big.Int) *big.Int {
			return zInt().Rsh(zInt().Mul(a[0], a[1]), uint(t.bits))
		})
		simple("mad.lo."+t.name, t, 3, func(a []*big.Int) *big.Int {
			return zInt().Add(zInt().Mul(a[0], a[1]), a[2])
		})
		simple("mad.hi."+t.name, t, 3, func(a []*big.Int) *big.Int {
			return zInt().Add(zInt().Rsh(zInt().Mul(a[0], a[1]), uint(t.bits)), a[2])
		})
		simple("sad."+t.name, t, 3, func(a []*big.Int) *big.Int {
			return zInt().Add(zInt().Abs(zInt().Sub(a[0], a[1])), a[2])
		})
		simple("min."+t.name, t, 2, func(a []*big.Int) *big.Int {
			if a[0].Cmp(a[1]) < 0 {
				return a[0]
			}
			return a[1]
		})
		simple("max."+t.name, t, 2, func(a []*big.Int) *big.Int {
			if a[0].Cmp(a[1]) > 0 {
				return a[0]
			}
			return a[1]
		})
		if t.signed {
			simple("abs."+t.name, t, 1, func(a []*big.Int) *big.Int { return zInt().Abs(a[0]) })
			simple("neg."+t.name, t, 1, func(a []*big.Int) *big.Int { return zInt().Neg(a[0]) })
		}
		for _, op := range []string{"div", "rem"} {
			name := op + "." + t.name
			ops = append(ops, &Op{
				Name: name, in: repeat(t.reg(), 2), out: []string{t.reg()},
				body: name + " " + operands(2) + ";",
				rows: rows(t.domain(), t.domain()),
				eval: each(func(a []uint64) []want { return []want{t.quotient(op, a[0], a[1])} }),
			})
		}
		if t.bits < 64 {
			wide := integer{bits: 2 * t.bits, signed: t.signed}
			name := "mul.wide." + t.name
			ops = append(ops, &Op{
				Name: name, in: repeat(t.reg(), 2), out: []string{wide.reg()},
				body: name + " " + operands(2) + ";",
				rows: rows(t.domain(), t.domain()),
				eval: calc(t, wide.bits, func(a []*big.Int) *big.Int { return zInt().Mul(a[0], a[1]) }),
			})
			name = "mad.wide." + t.name
			ops = append(ops, &Op{
				Name: name, in: []string{t.reg(), t.reg(), wide.reg()}, out: []string{wide.reg()},
				body: name + " " + operands(3) + ";",
				rows: rows(t.domain(), t.domain(), wide.domain()),
				eval: exact(func(a []uint64) uint64 {
					p := zInt().Mul(t.value(a[0]), t.value(a[1]))
					return wrap(p.Add(p, wide.value(a[2])), wide.bits)
				}),
			})
		}
	}
	return append(ops, saturatingOps()...)
}

// quotient is div or rem. The result of a division by zero is not specified. According
// to the manual, the sign of a remainder is machine-dependent; MININT / −1 is not
// mentioned. On every GPU the quotient is truncated towards zero and taken modulo 2^bits.
func (t integer) quotient(op string, a, b uint64) want {
	x, y := t.value(a), t.value(b)
	if y.Sign() == 0 {
		return want{like: anything}
	}
	q, rest := zInt().QuoRem(x, y, zInt())
	if op == "rem" {
		q = rest
	}
	return want{bits: wrap(q, t.bits)}
}

// operands writes "%d0, %a0, %a1, …" with n inputs.
func operands(n int) string {
	s := "%d0"
	for i := range n {
		s += fmt.Sprintf(", %%a%d", i)
	}
	return s
}

// saturatingOps returns the saturating instructions, those on 24 bits, and the dot product.
func saturatingOps() []*Op {
	var ops []*Op
	t := s32
	add := func(name string, in integer, d domain, n int, f func(a []*big.Int) uint64) {
		ops = append(ops, &Op{
			Name: name, in: repeat("b32", n), out: []string{"b32"},
			body: name + " " + operands(n) + ";",
			rows: rows(repeat(d, n)...),
			eval: exact(func(a []uint64) uint64 {
				v := make([]*big.Int, n)
				for i := range v {
					v[i] = in.value(a[i])
				}
				return f(v)
			}),
		})
	}
	add("add.sat.s32", t, t.domain(), 2, func(a []*big.Int) uint64 { return t.clamp(zInt().Add(a[0], a[1])) })
	add("sub.sat.s32", t, t.domain(), 2, func(a []*big.Int) uint64 { return t.clamp(zInt().Sub(a[0], a[1])) })
	add("mad.hi.sat.s32", t, t.domain(), 3, func(a []*big.Int) uint64 {
		return t.clamp(zInt().Add(zInt().Rsh(zInt().Mul(a[0], a[1]), 32), a[2]))
	})

	// The operands of mul24 are 24-bit numbers in 32-bit registers. The result for other
	// numbers is not specified, so the rows have none, and the oracle accepts any result
	// for them.
	for _, t := range []integer{u32, s32} {
		narrow := integer{bits: 24, signed: t.signed}
		d := domain{random: func(r *rand.Rand) uint64 { return narrow.extend(r.Uint64()>>r.IntN(24)) & mask(32) }}
		for _, v := range []uint64{0, 1, 2, 0xffff, 0x10000, 0x7fffff, 0x800000, 0x800001, 0xffffff, 0xabcdef} {
			d.hard = append(d.hard, narrow.extend(v)&mask(32))
		}
		fits := func(a []uint64) bool {
			return narrow.extend(a[0])&mask(32) == a[0]&mask(32) && narrow.extend(a[1])&mask(32) == a[1]&mask(32)
		}
		for _, half := range []string{"lo", "hi"} {
			shift := uint(0)
			if half == "hi" {
				shift = 16
			}
			product := func(a []uint64) *big.Int {
				return zInt().Rsh(zInt().Mul(t.value(a[0]), t.value(a[1])), shift)
			}
			if half == "hi" && t.signed {
				ops = append(ops, &Op{
					Name: "mad24.hi.sat.s32", in: repeat("b32", 3), out: []string{"b32"},
					body: "mad24.hi.sat.s32 " + operands(3) + ";",
					rows: rows(d, d, t.domain()),
					eval: each(func(a []uint64) []want {
						if !fits(a) {
							return []want{{like: anything}}
						}
						return []want{{bits: t.clamp(zInt().Add(product(a), t.value(a[2])))}}
					}),
				})
			}
			for _, n := range []int{2, 3} {
				name := map[int]string{2: "mul24.", 3: "mad24."}[n] + half + "." + t.name
				ds := []domain{d, d, t.domain()}[:n]
				ops = append(ops, &Op{
					Name: name, in: repeat("b32", n), out: []string{"b32"},
					body: name + " " + operands(n) + ";",
					rows: rows(ds...),
					eval: each(func(a []uint64) []want {
						if !fits(a) {
							return []want{{like: anything}}
						}
						v := product(a)
						if n == 3 {
							v.Add(v, t.value(a[2]))
						}
						return []want{{bits: wrap(v, 32)}}
					}),
				})
			}
		}
	}

	for _, at := range []integer{u32, s32} {
		for _, bt := range []integer{u32, s32} {
			for _, half := range []string{"lo", "hi"} {
				name := "dp2a." + half + "." + at.name + "." + bt.name
				ops = append(ops, &Op{
					Name: name, in: repeat("b32", 3), out: []string{"b32"},
					body: name + " " + operands(3) + ";",
					rows: rows(repeat(wholeNumbers(32), 3)...),
					eval: exact(func(a []uint64) uint64 {
						sum := u32.value(a[2])
						av, bv := integer{bits: 16, signed: at.signed}, integer{bits: 8, signed: bt.signed}
						for i := range 2 {
							from := 8 * i
							if half == "hi" {
								from += 16
							}
							sum.Add(sum, zInt().Mul(av.value(a[0]>>(16*i)), bv.value(a[1]>>from)))
						}
						return wrap(sum, 32)
					}),
				})
			}
			name := "dp4a." + at.name + "." + bt.name
			ops = append(ops, &Op{
				Name: name, in: repeat("b32", 3), out: []string{"b32"},
				body: name + " " + operands(3) + ";",
				rows: rows(repeat(wholeNumbers(32), 3)...),
				eval: exact(func(a []uint64) uint64 {
					sum := u32.value(a[2])
					av, bv := integer{bits: 8, signed: at.signed}, integer{bits: 8, signed: bt.signed}
					for i := range 4 {
						sum.Add(sum, zInt().Mul(av.value(a[0]>>(8*i)), bv.value(a[1]>>(8*i))))
					}
					return wrap(sum, 32)
				}),
			})
		}
	}
	return ops
}
