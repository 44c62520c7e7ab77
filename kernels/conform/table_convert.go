package conform

import (
	"math/rand/v2"
	"slices"
)

// convertOps returns the forms of cvt, from each type to each.
func convertOps() []*Op {
	ops := integerConversions()
	ops = append(ops, floatFromInteger()...)
	ops = append(ops, integerFromFloat()...)
	ops = append(ops, floatFromFloat()...)
	ops = append(ops, packedConversions()...)
	return append(ops, fp8Conversions()...)
}

var allIntegers = []integer{u8, u16, u32, u64, s8, s16, s32, s64}

// integerConversions returns cvt between integers: truncated or extended, or with .sat
// clamped. A destination register wider than its type gets the value extended to its
// width; of a wider source register only the type's bits are used.
func integerConversions() []*Op {
	var ops []*Op
	add := func(name string, from, to string, d domain, f func(a uint64) uint64, typed string) {
		ops = append(ops, &Op{
			Name: name, in: []string{from}, out: []string{to},
			body: typed + " %d0, %a0;", rows: rows(d),
			eval: exact(func(a []uint64) uint64 { return f(a[0]) }),
		})
	}
	for _, to := range allIntegers {
		for _, from := range allIntegers {
			cut := func(a uint64) uint64 { return to.extend(from.extend(a)) }
			limit := func(a uint64) uint64 { return to.clamp(from.value(a)) }
			name := "cvt." + to.name + "." + from.name
			d := wholeNumbers(regBits(from.reg()))
			add(name, from.reg(), to.reg(), d, cut, name)
			if !to.covers(from) {
				sat := "cvt.sat." + to.name + "." + from.name
				add(sat, from.reg(), to.reg(), d, limit, sat)
			}
			if to.bits < 32 {
				add(name+" into 32 bits", from.reg(), "b32", d, cut, name)
			}
			if from.bits < 32 {
				add(name+" from 32 bits", "b32", to.reg(), wholeNumbers(32), cut, name)
			}
			if to.bits == 32 {
				add(name+" into 64 bits", from.reg(), "b64", d, cut, name)
			}
		}
	}
	return ops
}

// convertible returns the integer types that convert to and from a format. With bf16, no
// register may be wider than its type, and there are no 8-bit types.
func convertible(f format) []integer {
	if f.name != bf16.name {
		return allIntegers
	}
	return slices.DeleteFunc(slices.Clone(allIntegers), func(t integer) bool { return t.bits == 8 })
}

// floatFromInteger returns cvt from integers to floats, in each rounding mode.
func floatFromInteger() []*Op {
	var ops []*Op
	for _, f := range []format{f16, f32, f64, bf16} {
		for _, t := range convertible(f) {
			for _, r := range roundings {
				name := "cvt." + string(r) + "." + f.name + "." + t.name
				target := ""
				if f.name == "bf16" {
					target = "sm_90"
				}
				ops = append(ops, &Op{
					Name: name, Target: target, in: []string{t.reg()}, out: []string{f.reg()},
					body: name + " %d0, %a0;", rows: rows(wholeNumbers(regBits(t.reg()))).and(roundingIntegers(f, t)),
					eval: exact(func(a []uint64) uint64 { return f.fromInteger(t, a[0], r) }),
				})
			}
		}
	}
	return ops
}

// roundingIntegers returns integers halfway between two adjacent numbers of the format,
// and next to halfway.
func roundingIntegers(f format, t integer) table {
	return func(r *rand.Rand) [][]uint64 {
		var rows [][]uint64
		for range randomRows {
			p := f.man + 2 // the significand with its hidden bit, and the bit after it
			v := uint64(1)<<(p-1) | r.Uint64()&mask(p-1) | 1
			v <<= r.IntN(max(1, t.bits-p))
			v += r.Uint64N(3) - 1
			if t.signed && r.IntN(2) == 0 {
				v = -v
			}
			rows = append(rows, []uint64{v & mask(regBits(t.reg()))})
		}
		return rows
	}
}

// integerFromFloat returns cvt from floats to integers, in each rounding mode, clamped to
// the range.
func integerFromFloat() []*Op {
	var ops []*Op
	for _, f := range []format{f16, f32, f64, bf16} {
		for _, t := range convertible(f) {
			for _, r := range roundings {
				mode := string(r) + "i"
				name := "cvt." + mode + "." + t.name + "." + f.name
				target := ""
				if f.name == "bf16" {
					target = "sm_90"
				}
				ops = append(ops, &Op{
					Name: name, Target: target, in: []string{f.reg()}, out: []string{t.reg()},
					body: name + " %d0, %a0;", rows: rows(f.numbers()).and(f.nearIntegers(t), f.anywhere()),
					eval: exact(func(a []uint64) uint64 { return t.fromFloat(f, a[0], r) }),
				})
			}
		}
	}
	// Clamping is the default: .sat has no effect.
	for _, t := range []integer{u8, u32, s32, s64} {
		name := "cvt.rni.sat." + t.name + ".f32"
		ops = append(ops, &Op{
			Name: name, in: []string{"f32"}, out: []string{t.reg()},
			body: name + " %d0, %a0;", rows: rows(f32.numbers()).and(f32.nearIntegers(t)),
			eval: exact(func(a []uint64) uint64 { return t.fromFloat(f32, a[0], nearest) }),
		})
	}
	return ops
}

// floatFromFloat returns cvt between floating-point formats, and within one.
func floatFromFloat() []*Op {
	var ops []*Op
	add := func(name, target string, to, from format, t table, like likeness, f func(a uint64) uint64) {
		ops = append(ops, &Op{
			Name: name, Target: target, in: []string{from.reg()}, out: []string{to.reg()},
			body: name + " %d0, %a0;", rows: t,
			eval: single(like, func(a []uint64) uint64 { return f(a[0]) }),
		})
	}
	narrower := func(to, from format, target string, rs []rounding) {
		for _, r := range rs {
			t := rows(from.numbers()).and(halves(to, from), from.anywhere())
			name := "." + to.name + "." + from.name
			add("cvt."+string(r)+name, target, to, from, t, to.like(), func(a uint64) uint64 { return convert(to, from, a, r) })
			if to.name != "bf16" && from.name != "bf16" {
				add("cvt."+string(r)+".sat"+name, target, to, from, t, eitherZero,
					func(a uint64) uint64 { return to.saturate(convert(to, from, a, r)) })
			}
		}
	}
	wider := func(to, from format, target string) {
		t := rows(from.numbers()).and(from.anywhere())
		if from.width() == 16 {
			t = every(1 << 16)
		}
		name := "cvt." + to.name + "." + from.name
		add(name, target, to, from, t, to.like(), func(a uint64) uint64 { return convert(to, from, a, nearest) })
	}
	narrower(f32, f64, "", roundings)
	narrower(f16, f64, "", roundings)
	narrower(f16, f32, "", roundings)
	narrower(bf16, f32, "", []rounding{nearest, toZero})
	narrower(bf16, f64, "sm_90", roundings)
	narrower(bf16, f16, "sm_90", roundings)
	narrower(f16, bf16, "sm_90", roundings)
	wider(f64, f32, "")
	wider(f64, f16, "")
	wider(f32, f16, "")
	wider(f32, bf16, "")
	wider(f64, bf16, "sm_90")

	// A half-precision number in a 32-bit register: the upper bits of a source are ignored,
	// and those of a destination are set to zero.
	ops = append(ops, &Op{
		Name: "cvt.rn.f16.f32 into 32 bits", in: []string{"f32"}, out: []string{"b32"},
		body: "cvt.rn.f16.f32 %d0, %a0;", rows: rows(f32.numbers()).and(halves(f16, f32)),
		eval: single(likeF16x2, func(a []uint64) uint64 { return convert(f16, f32, a[0], nearest) }),
	}, &Op{
		Name: "cvt.f32.f16 from 32 bits", in: []string{"b32"}, out: []string{"f32"},
		body: "cvt.f32.f16 %d0, %a0;", rows: packed(16, rows(f16.numbers()).and(f16.anywhere())),
		eval: single(likeF32, func(a []uint64) uint64 { return convert(f32, f16, a[0]&mask(16), nearest) }),
	})

	for _, f := range []format{f16, f32, f64, bf16} {
		target := ""
		if f.name == "bf16" {
			target = "sm_90"
		}
		t := rows(f.numbers()).and(f.nearIntegers(s32), f.anywhere())
		name := "." + f.name + "." + f.name
		for _, r := range roundings {
			add("cvt."+string(r)+"i"+name, target, f, f, t, f.like(), func(a uint64) uint64 { return f.roundToIntegral(a, r) })
		}
		if f.name == "f32" || f.name == "f64" {
			add("cvt.sat"+name, target, f, f, t, eitherZero, f.saturate)
			add("cvt.rni.sat"+name, target, f, f, t, eitherZero, func(a uint64) uint64 { return f.saturate(f.roundToIntegral(a, nearest)) })
		}
	}
	return ops
}

// packedConversions returns cvt of two single-precision numbers to one register, with
// the first operand in the upper half; and cvt with .relu, of one and two numbers.
func packedConversions() []*Op {
	var ops []*Op
	for _, f := range []format{f16, bf16} {
		for _, r := range []rounding{nearest, toZero} {
			relu := "cvt." + string(r) + ".relu." + f.name
			ops = append(ops, &Op{
				Name: relu + ".f32", in: []string{"f32"}, out: []string{"b16"},
				body: relu + ".f32 %d0, %a0;", rows: rows(f32.numbers()).and(halves(f, f32), f32.anywhere()),
				eval: single(eitherZero, func(a []uint64) uint64 { return f.relu(convert(f, f32, a[0], r)) }),
			}, &Op{
				Name: relu + "x2.f32", in: repeat("f32", 2), out: []string{"b32"},
				body: relu + "x2.f32 " + operands(2) + ";",
				rows: rows(f32.numbers(), f32.numbers()).and(pairs(halves(f, f32), f32.anywhere())),
				eval: single(eitherZeroF16x2, func(a []uint64) uint64 {
					return f.relu(convert(f, f32, a[0], r))<<16 | f.relu(convert(f, f32, a[1], r))
				}),
			})
			name := "cvt." + string(r) + "." + f.name + "x2.f32"
			like := map[string]likeness{"f16": likeF16x2, "bf16": likeBF16x2}[f.name]
			ops = append(ops, &Op{
				Name: name, in: repeat("f32", 2), out: []string{"b32"},
				body: name + " " + operands(2) + ";",
				rows: rows(f32.numbers(), f32.numbers()).and(pairs(halves(f, f32), f32.anywhere())),
				eval: single(like, func(a []uint64) uint64 {
					return convert(f, f32, a[0], r)<<16 | convert(f, f32, a[1], r)
				}),
			})
		}
	}
	return ops
}

// fp8Conversions returns cvt to and from pairs of 8-bit floats.
func fp8Conversions() []*Op {
	var ops []*Op
	for _, f := range []format{e4m3, e5m2} {
		typ := f.name + "x2"
		like := map[string]likeness{"e4m3": likeE4M3x2, "e5m2": likeE5M2x2}[f.name]
		name := "cvt.rn.satfinite." + typ + ".f32"
		ops = append(ops, &Op{
			Name: name, Target: "sm_90", in: repeat("f32", 2), out: []string{"b16"},
			body: name + " " + operands(2) + ";",
			rows: rows(f32.numbers(), f32.numbers()).and(pairs(halves(f, f32), f.around(f32), f32.anywhere())),
			eval: single(like, func(a []uint64) uint64 {
				return satfinite(f, f32, a[0])<<8 | satfinite(f, f32, a[1])
			}),
		})
		name = "cvt.rn.satfinite.relu." + typ + ".f32"
		ops = append(ops, &Op{
			Name: name, Target: "sm_90", in: repeat("f32", 2), out: []string{"b16"},
			body: name + " " + operands(2) + ";",
			rows: rows(f32.numbers(), f32.numbers()).and(pairs(halves(f, f32), f.around(f32))),
			eval: single(eitherZeroE4M3x2, func(a []uint64) uint64 {
				return f.relu(satfinite(f, f32, a[0]))<<8 | f.relu(satfinite(f, f32, a[1]))
			}),
		})
		name = "cvt.rn.relu.f16x2." + typ
		ops = append(ops, &Op{
			Name: name, Target: "sm_90", in: []string{"b16"}, out: []string{"b32"},
			body: name + " %d0, %a0;", rows: every(1 << 16),
			eval: single(eitherZeroF16x2, func(a []uint64) uint64 {
				half := func(b uint64) uint64 { return f16.relu(convert(f16, f, b, nearest)) }
				return half(a[0]>>8&255)<<16 | half(a[0]&255)
			}),
		})
		name = "cvt.rn.satfinite." + typ + ".f16x2"
		ops = append(ops, &Op{
			Name: name, Target: "sm_90", in: []string{"b32"}, out: []string{"b16"},
			body: name + " %d0, %a0;",
			rows: packed(16, rows(f16.numbers()).and(halves(f, f16), f.around(f16), f16.anywhere())),
			eval: single(like, func(a []uint64) uint64 {
				return satfinite(f, f16, a[0]>>16&mask(16))<<8 | satfinite(f, f16, a[0]&mask(16))
			}),
		})
		name = "cvt.rn.f16x2." + typ
		ops = append(ops, &Op{
			Name: name, Target: "sm_90", in: []string{"b16"}, out: []string{"b32"},
			body: name + " %d0, %a0;", rows: every(1 << 16),
			eval: single(likeF16x2, func(a []uint64) uint64 {
				return convert(f16, f, a[0]>>8&255, nearest)<<16 | convert(f16, f, a[0]&255, nearest)
			}),
		})
	}
	return ops
}

// around returns numbers of format from with exponents around the range of f.
func (f format) around(from format) table {
	return func(r *rand.Rand) [][]uint64 {
		t := make([][]uint64, 2*randomRows)
		for i := range t {
			t[i] = []uint64{from.near(r, from.bias(), f.bias()+f.man+2)}
		}
		return t
	}
}
