package conform

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"strings"
)

// narrowOps returns instructions on fields of a few bits, on packed integers, and on tf32.
func narrowOps() []*Op {
	var ops []*Op
	for _, mode := range []string{"clamp", "wrap"} {
		for _, t := range []integer{u32, s32} {
			ops = append(ops, extendField(mode, t))
		}
		ops = append(ops, onesField(mode))
	}
	for _, t := range []string{"u16", "s16"} {
		ops = append(ops, packPair(t))
	}
	for _, t := range []string{"u2", "s2", "u4", "s4", "u8", "s8"} {
		ops = append(ops, packBelow(t))
	}
	ops = append(ops, packedMinMax()...)
	ops = append(ops, videoOps()...)
	return append(ops, tf32Ops()...)
}

// field returns the number of bits that an operand of szext or bmsk means.
func field(mode string, n uint64) int {
	if mode == "clamp" {
		return int(min(n&mask(32), 32))
	}
	return int(n & 31)
}

// extendField is szext.
func extendField(mode string, t integer) *Op {
	name := "szext." + mode + "." + t.name
	return &Op{
		Name: name, in: repeat("b32", 2), out: []string{"b32"}, body: name + " " + operands(2) + ";",
		rows: rows(t.domain(), amounts(32)),
		eval: exact(func(a []uint64) uint64 {
			n := field(mode, a[1])
			if n == 0 {
				return 0
			}
			return integer{bits: n, signed: t.signed}.extend(a[0])
		}),
	}
}

// onesField is bmsk, bit by bit.
func onesField(mode string) *Op {
	name := "bmsk." + mode + ".b32"
	return &Op{
		Name: name, in: repeat("b32", 2), out: []string{"b32"}, body: name + " " + operands(2) + ";",
		rows: rows(amounts(32), amounts(32)),
		eval: exact(func(a []uint64) (d uint64) {
			first, n := field(mode, a[0]), field(mode, a[1])
			for i := first; i < min(first+n, 32); i++ {
				d |= 1 << i
			}
			return d
		}),
	}
}

// integerNamed returns the integer type with a name such as u4.
func integerNamed(name string) integer {
	t := integer{name: name, signed: name[0] == 's'}
	fmt.Sscan(name[1:], &t.bits)
	return t
}

// nearLimits is the domain of 32-bit integers, with those at the limits of a narrower type.
func nearLimits(t integer) domain {
	d := wholeNumbers(32)
	for _, limit := range []*big.Int{t.min(), t.max()} {
		for _, by := range []int64{-1, 0, 1} {
			d.hard = append(d.hard, wrap(new(big.Int).Add(limit, big.NewInt(by)), 32))
		}
	}
	random := d.random
	d.random = func(r *rand.Rand) uint64 {
		if r.IntN(2) == 0 {
			return random(r)
		}
		return wrap(big.NewInt(r.Int64N(4<<t.bits)-2<<t.bits), 32)
	}
	return d
}

// packPair is cvt.pack of two numbers to 16 bits each.
func packPair(name string) *Op {
	t, form := integerNamed(name), "cvt.pack.sat."+name+".s32"
	return &Op{
		Name: form, in: repeat("b32", 2), out: []string{"b32"}, body: form + " " + operands(2) + ";",
		rows: rows(nearLimits(t), nearLimits(t)),
		eval: exact(func(a []uint64) uint64 {
			return t.clamp(s32.value(a[0]))&mask(16)<<16 | t.clamp(s32.value(a[1]))&mask(16)
		}),
	}
}

// packBelow is cvt.pack of two numbers to fewer bits, below those of a third operand.
func packBelow(name string) *Op {
	t, form := integerNamed(name), "cvt.pack.sat."+name+".s32.b32"
	return &Op{
		Name: form, in: repeat("b32", 3), out: []string{"b32"}, body: form + " " + operands(3) + ";",
		rows: rows(nearLimits(t), nearLimits(t), wholeNumbers(32)),
		eval: exact(func(a []uint64) uint64 {
			n := t.bits
			return a[2]<<(2*n) | t.clamp(s32.value(a[0]))&mask(n)<<n | t.clamp(s32.value(a[1]))&mask(n)
		}),
	}
}

// packedMinMax returns min and max on two halves, and those with .relu.
func packedMinMax() []*Op {
	var ops []*Op
	for _, op := range []string{"min", "max"} {
		for _, form := range []string{"u16x2", "s16x2", "relu.s16x2", "relu.s32"} {
			name := op + "." + form
			t := integerNamed(form[len(form)-5 : len(form)-2])
			if strings.HasSuffix(form, "s32") {
				t = s32
			}
			pick := func(x, y uint64) uint64 {
				v, w := t.value(x), t.value(y)
				if (v.Cmp(w) > 0) == (op == "min") {
					v = w
				}
				if strings.HasPrefix(form, "relu") && v.Sign() < 0 {
					return 0
				}
				return wrap(v, t.bits)
			}
			ops = append(ops, &Op{
				Name: name, Target: "sm_90", ISA: "8.0", in: repeat("b32", 2), out: []string{"b32"},
				body: name + " " + operands(2) + ";", rows: rows(wholeNumbers(32), wholeNumbers(32)),
				eval: exact(func(a []uint64) (d uint64) {
					for at := 0; at < 32; at += t.bits {
						d |= pick(a[0]>>at, a[1]>>at) << at
					}
					return d
				}),
			})
		}
	}
	return ops
}

// videoOps returns the SIMD video instructions: on halves and bytes, truncated, saturated, and added to c.
func videoOps() []*Op {
	var ops []*Op
	for _, op := range []string{"vadd", "vsub", "vavrg", "vabsdiff", "vmin", "vmax"} {
		for _, n := range []int{2, 4} {
			for _, types := range []string{"uuu", "sss", "sus", "usu"} {
				for _, how := range []string{"", ".sat", ".add"} {
					ops = append(ops, video(op, n, types, how))
				}
			}
		}
	}
	return ops
}

// video returns a SIMD video instruction; types has the signedness of d, a and b.
func video(op string, n int, types, how string) *Op {
	width := 32 / n
	var t [3]integer
	name := fmt.Sprintf("%s%d", op, n)
	for i := range t {
		t[i] = integer{bits: width, signed: types[i] == 's'}
		name += fmt.Sprintf(".%c32", types[i])
	}
	name += how
	return &Op{
		Name: name, in: repeat("b32", 3), out: []string{"b32"}, body: name + " " + operands(3) + ";",
		rows: rows(wholeNumbers(32), wholeNumbers(32), wholeNumbers(32)),
		eval: exact(func(a []uint64) uint64 {
			merged, sum := uint64(0), u32.value(a[2])
			for i := range n {
				at := i * width
				x, y := t[1].value(a[0]>>at), t[2].value(a[1]>>at)
				v := zInt()
				switch op {
				case "vadd":
					v.Add(x, y)
				case "vsub":
					v.Sub(x, y)
				case "vavrg": // half of the sum, rounded up if the sum is not negative
					if v.Add(x, y); v.Sign() >= 0 {
						v.Add(v, big.NewInt(1))
					}
					v.Rsh(v, 1)
				case "vabsdiff":
					v.Abs(v.Sub(x, y))
				case "vmin":
					if v = x; y.Cmp(x) < 0 {
						v = y
					}
				case "vmax":
					if v = x; y.Cmp(x) > 0 {
						v = y
					}
				}
				e := wrap(v, width)
				if how == ".sat" {
					e = t[0].clamp(v) & mask(width)
				}
				merged |= e << at
				sum.Add(sum, v)
			}
			if how == ".add" {
				return wrap(sum, 32)
			}
			return merged
		}),
	}
}

// tf32Ops returns cvt from f32 to tf32, which has 10 bits of fraction. The manual leaves open the 13 bits below
// it: they are cut off before the comparison.
func tf32Ops() []*Op {
	tf32 := format{name: "tf32", exp: 8, man: 10}
	var ops []*Op
	for _, mode := range []string{"rna", "rn", "rz", "rn.relu", "rz.relu", "rna.satfinite", "rn.satfinite"} {
		name := "cvt." + mode + ".tf32.f32"
		how, _, _ := strings.Cut(mode, ".")
		target, isa := "", ""
		if how != "rna" {
			target = "sm_90"
		}
		if strings.Contains(mode, "satfinite") {
			target, isa = "sm_90", "8.1"
		}
		ops = append(ops, &Op{
			Name: name, Target: target, ISA: isa, in: []string{"f32"}, out: []string{"b32"},
			body: name + " %d0, %a0;\nand.b32 %d0, %d0, 0xffffe000;",
			rows: rows(f32.numbers()).and(f32.anywhere(), tf32Ties),
			eval: single(likeF32, func(a []uint64) uint64 {
				x := f32.decode(a[0])
				switch {
				case x.nan:
					return 0x7fffffff
				case strings.HasSuffix(mode, "relu") && x.neg:
					return 0
				}
				d := convert(tf32, f32, a[0], rounding(how))
				if how == "rna" { // to nearest; of two equally near numbers the one with the larger magnitude
					d = convert(tf32, f32, a[0], toZero)
					if a[0]>>12&1 == 1 && !x.inf {
						d++
					}
				}
				if strings.HasSuffix(mode, "satfinite") && d&mask(18) >= tf32.inf() {
					d = d&tf32.sign() | tf32.max()
				}
				return d << 13
			}),
		})
	}
	return ops
}

// tf32Ties returns numbers halfway between two of tf32, and next to halfway.
func tf32Ties(r *rand.Rand) [][]uint64 {
	t := make([][]uint64, 2*randomRows)
	for i := range t {
		t[i] = []uint64{(r.Uint64()&^mask(13)&mask(32) | 1<<12) + r.Uint64N(3) - 1}
	}
	return t
}
