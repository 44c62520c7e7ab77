package conform

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// A comparison is a relational operator of setp and set.
type comparison struct {
	name string
	// holds reports the result for an ordering of a and b: −1, 0 or 1.
	holds func(order int) bool
	// nan is the result if an operand is a NaN.
	nan bool
}

var (
	isEq = func(o int) bool { return o == 0 }
	isNe = func(o int) bool { return o != 0 }
	isLt = func(o int) bool { return o < 0 }
	isLe = func(o int) bool { return o <= 0 }
	isGt = func(o int) bool { return o > 0 }
	isGe = func(o int) bool { return o >= 0 }
)

// The operators by type: plain for bits, ordered for integers and floats, lower in
// addition for unsigned integers, and unordered in addition for floats.
var (
	plain     = []comparison{{"eq", isEq, false}, {"ne", isNe, false}}
	ordered   = append(plain[:2:2], comparison{"lt", isLt, false}, comparison{"le", isLe, false}, comparison{"gt", isGt, false}, comparison{"ge", isGe, false})
	lower     = []comparison{{"lo", isLt, false}, {"ls", isLe, false}, {"hi", isGt, false}, {"hs", isGe, false}}
	unordered = []comparison{
		{"equ", isEq, true}, {"neu", isNe, true}, {"ltu", isLt, true}, {"leu", isLe, true}, {"gtu", isGt, true}, {"geu", isGe, true},
		{"num", func(int) bool { return true }, false}, {"nan", func(int) bool { return false }, true},
	}
)

// A compared is an operand type of setp and set.
type compared struct {
	name   string
	reg    string
	target string
	d      domain
	ops    []comparison
	test   func(c comparison, a, b uint64) bool
}

func integerCompared(t integer, ops ...[]comparison) compared {
	c := compared{name: t.name, reg: t.reg(), d: t.domain()}
	for _, o := range ops {
		c.ops = append(c.ops, o...)
	}
	c.test = func(c comparison, a, b uint64) bool { return c.holds(t.value(a).Cmp(t.value(b))) }
	return c
}

func floatCompared(f format) compared {
	return compared{
		name: f.name, reg: f.reg(), d: f.numbers(), ops: append(ordered[:len(ordered):len(ordered)], unordered...),
		test: func(c comparison, a, b uint64) bool {
			x, y := f.decode(a), f.decode(b)
			if x.nan || y.nan {
				return c.nan
			}
			return c.holds(cmp(x, y))
		},
	}
}

func comparables() []compared {
	types := []compared{
		integerCompared(b16, plain), integerCompared(b32, plain), integerCompared(b64, plain),
		integerCompared(u16, ordered, lower), integerCompared(u32, ordered, lower), integerCompared(u64, ordered, lower),
		integerCompared(s16, ordered), integerCompared(s32, ordered), integerCompared(s64, ordered),
		floatCompared(f32), floatCompared(f64), floatCompared(f16),
	}
	b := floatCompared(bf16)
	b.target = "sm_90"
	return append(types, b)
}

// combine applies a Boolean operator.
func combine(op string, t, c bool) bool {
	switch op {
	case "and":
		return t && c
	case "or":
		return t || c
	case "xor":
		return t != c
	}
	return t
}

// compareOps returns the forms of set, setp, selp and slct.
func compareOps() []*Op {
	var ops []*Op
	for _, t := range comparables() {
		half := t.name == "f16" || t.name == "bf16"
		// Equal operands are rare in the product of two domains.
		same := func(r *rand.Rand) [][]uint64 {
			var rows [][]uint64
			for _, v := range t.d.hard {
				rows = append(rows, []uint64{v, v})
			}
			return rows
		}
		pairs := rows(t.d, t.d).and(same)
		triples := rows(t.d, t.d, truth())
		for _, c := range t.ops {
			name := "setp." + c.name + "." + t.name
			if half {
				ops = append(ops, &Op{
					Name: name, Target: t.target, in: repeat(t.reg, 2), out: []string{"pred"},
					body: name + " " + operands(2) + ";", rows: pairs,
					eval: exact(func(a []uint64) uint64 { return truthOf(t.test(c, a[0], a[1])) }),
				})
			} else {
				ops = append(ops, &Op{
					Name: name, in: repeat(t.reg, 2), out: []string{"pred", "pred"},
					body: name + " %d0|%d1, %a0, %a1;", rows: pairs,
					eval: exacts(func(a []uint64) []uint64 {
						p := t.test(c, a[0], a[1])
						return []uint64{truthOf(p), truthOf(!p)}
					}),
				})
			}
			ops = append(ops, setForms(t, c, pairs)...)
		}
		// The Boolean operators, with the comparison lt if the type has it.
		c := t.ops[min(2, len(t.ops)-1)]
		for _, op := range []string{"and", "or", "xor"} {
			for _, not := range []string{"", "!"} {
				out, dest := []string{"pred", "pred"}, "%d0|%d1"
				if half {
					out, dest = out[:1], "%d0"
				}
				name := "setp." + c.name + "." + op + "." + t.name
				ops = append(ops, &Op{
					Name: name + map[string]string{"": "", "!": " of a complement"}[not], Target: t.target,
					in: []string{t.reg, t.reg, "pred"}, out: out,
					body: fmt.Sprintf("%s %s, %%a0, %%a1, %s%%a2;", name, dest, not), rows: triples,
					eval: exacts(func(a []uint64) []uint64 {
						p, q := t.test(c, a[0], a[1]), a[2] != 0
						if not != "" {
							q = !q
						}
						return []uint64{truthOf(combine(op, p, q)), truthOf(combine(op, !p, q))}[:len(out)]
					}),
				})
			}
			if half {
				continue
			}
			for _, dtype := range []string{"u32", "f32"} {
				name := "set." + c.name + "." + op + "." + dtype + "." + t.name
				ops = append(ops, &Op{
					Name: name, in: []string{t.reg, t.reg, "pred"}, out: []string{"b32"},
					body: name + " " + operands(3) + ";", rows: triples,
					eval: exact(func(a []uint64) uint64 {
						return setValue(dtype, combine(op, t.test(c, a[0], a[1]), a[2] != 0))
					}),
				})
			}
		}
	}
	for _, op := range []string{"", "and", "or", "xor"} {
		ops = append(ops, packedCompare(f16, op, ""), packedCompare(bf16, op, "sm_90"))
	}
	ops = append(ops, packedSets(f16, "")...)
	ops = append(ops, packedSets(bf16, "sm_90")...)
	ops = append(ops, sinks())
	return append(ops, selects()...)
}

// setValue returns the value that set writes for true or false.
func setValue(dtype string, p bool) uint64 {
	switch {
	case !p:
		return 0
	case dtype == "f32":
		return f32.one()
	case dtype == "f16":
		return f16.one()
	case dtype == "bf16":
		return bf16.one()
	}
	return mask(32)
}

// setForms returns set with one comparison, for each type of result.
func setForms(t compared, c comparison, pairs table) []*Op {
	var ops []*Op
	dtypes := []string{"u32", "s32", "f32"}
	switch t.name {
	case "f16":
		dtypes = []string{"u16", "s16", "u32", "s32", "f16"}
	case "bf16":
		dtypes = []string{"u16", "s16", "u32", "s32", "bf16"}
	case "s32", "f32", "u64":
		dtypes = append(dtypes, "f16")
	}
	for _, dtype := range dtypes {
		name := "set." + c.name + "." + dtype + "." + t.name
		reg := "b32"
		if strings.HasSuffix(dtype, "16") {
			reg = "b16"
		}
		ops = append(ops, &Op{
			Name: name, Target: t.target, in: repeat(t.reg, 2), out: []string{reg},
			body: name + " " + operands(2) + ";", rows: pairs,
			eval: exact(func(a []uint64) uint64 { return setValue(dtype, t.test(c, a[0], a[1])) }),
		})
	}
	return ops
}

// packedCompare returns a comparison of the halves of two registers, with a predicate as
// result for each half.
func packedCompare(f format, boolOp, target string) *Op {
	c := floatCompared(f)
	o := &Op{
		Name: "setp.lt." + f.name + "x2", Target: target, in: repeat("b32", 2), out: []string{"pred", "pred"},
		rows: packed(16, rows(f.numbers(), f.numbers())),
		eval: exacts(func(a []uint64) []uint64 {
			half := func(shift int) uint64 {
				lt := c.test(c.ops[2], a[0]>>shift&mask(16), a[1]>>shift&mask(16))
				return truthOf(combine(boolOp, lt, boolOp != "" && a[2] != 0))
			}
			return []uint64{half(0), half(16)}
		}),
	}
	o.body = o.Name + " %d0|%d1, %a0, %a1;"
	if boolOp != "" {
		o.Name = "setp.lt." + boolOp + "." + f.name + "x2"
		o.body = o.Name + " %d0|%d1, %a0, %a1, %a2;"
		o.in = append(o.in, "pred")
		two := o.rows
		o.rows = func(r *rand.Rand) [][]uint64 {
			t := two(r)
			for i := range t {
				t[i] = append(t[i], r.Uint64N(2))
			}
			return t
		}
	}
	return o
}

// packedSets returns comparisons of the halves of two registers, with a half of a register
// as result for each half.
func packedSets(f format, target string) []*Op {
	var ops []*Op
	t := floatCompared(f)
	for _, c := range t.ops {
		for _, dtype := range []string{f.name + "x2", "u32", "s32"} {
			name := "set." + c.name + "." + dtype + "." + f.name + "x2"
			ops = append(ops, &Op{
				Name: name, Target: target, in: repeat("b32", 2), out: []string{"b32"},
				body: name + " " + operands(2) + ";", rows: packed(16, rows(f.numbers(), f.numbers())),
				eval: exact(func(a []uint64) uint64 {
					half := func(shift int) uint64 {
						p := t.test(c, a[0]>>shift&mask(16), a[1]>>shift&mask(16))
						return setValue(strings.TrimSuffix(dtype, "x2"), p) & mask(16) << shift
					}
					return half(0) | half(16)
				}),
			})
		}
	}
	return ops
}

// sinks returns setp with _ in place of a result, and with immediate operands.
func sinks() *Op {
	return &Op{
		Name: "setp with sinks and immediates", in: []string{"b32", "f32"}, out: repeat("pred", 4),
		body: `setp.lt.s32 _|%d0, %a0, 7;
			setp.lt.u32 %d1|_, %a0, -7;
			setp.gt.f32 %d2, %a1, 0f3F800000;
			setp.ge.s32 %d3, 0, %a0;`,
		rows: rows(wholeNumbers(32), f32.numbers()),
		eval: exacts(func(a []uint64) []uint64 {
			x, f := int32(a[0]), f32.decode(a[1])
			return []uint64{truthOf(x >= 7), truthOf(uint32(x) < 1<<32-7),
				truthOf(!f.nan && cmp(f, f32.decode(f32.one())) > 0), truthOf(x <= 0)}
		}),
	}
}

// selects returns the forms of selp and slct.
func selects() []*Op {
	var ops []*Op
	for _, t := range []struct{ name, reg string }{
		{"b16", "b16"}, {"b32", "b32"}, {"b64", "b64"}, {"u16", "b16"}, {"u32", "b32"}, {"u64", "b64"},
		{"s16", "b16"}, {"s32", "b32"}, {"s64", "b64"}, {"f32", "f32"}, {"f64", "f64"},
	} {
		d := wholeNumbers(regBits(t.reg))
		ops = append(ops, &Op{
			Name: "selp." + t.name, in: []string{t.reg, t.reg, "pred"}, out: []string{t.reg},
			body: "selp." + t.name + " " + operands(3) + ";", rows: rows(d, d, truth()),
			eval: exact(func(a []uint64) uint64 {
				if a[2] != 0 {
					return a[0]
				}
				return a[1]
			}),
		}, &Op{
			Name: "slct." + t.name + ".s32", in: []string{t.reg, t.reg, "b32"}, out: []string{t.reg},
			body: "slct." + t.name + ".s32 " + operands(3) + ";", rows: rows(d, d, wholeNumbers(32)),
			eval: exact(func(a []uint64) uint64 {
				if s32.value(a[2]).Sign() >= 0 {
					return a[0]
				}
				return a[1]
			}),
		}, &Op{
			Name: "slct." + t.name + ".f32", in: []string{t.reg, t.reg, "f32"}, out: []string{t.reg},
			body: "slct." + t.name + ".f32 " + operands(3) + ";", rows: rows(d, d, f32.numbers()),
			eval: exact(func(a []uint64) uint64 {
				// −0 ≥ 0 holds, so −0 selects a; a NaN selects b.
				if x := f32.decode(a[2]); !x.nan && (!x.neg || x.zero()) {
					return a[0]
				}
				return a[1]
			}),
		})
	}
	return ops
}
