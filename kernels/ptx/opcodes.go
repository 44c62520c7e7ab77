package ptx

import "math"

// opcodes decodes an instruction by its first word (PTX ISA §9.7).
var opcodes = map[string]func(d *decoder) error{
	"add": decodeAddSub, "sub": decodeAddSub,
	"mul": decodeMul, "mad": decodeMad, "fma": decodeFma,
	"mul24": decodeMul24, "mad24": decodeMul24,
	"sad": func(d *decoder) error { return d.same3(sadOps) },
	"div": decodeDiv, "rem": func(d *decoder) error { return d.same2(remOps) },
	"abs": decodeAbsNeg, "neg": decodeAbsNeg,
	"min": decodeMinMax, "max": decodeMinMax,
	"popc": decodeCount, "clz": decodeCount, "bfind": decodeBfind,
	"brev": func(d *decoder) error { return d.same1(brevOps) },
	"bfe":  decodeBfe, "bfi": decodeBfi, "fns": decodeFns,
	"dp4a": decodeDp4a, "dp2a": decodeDp2a,
	"addc": decodeCarry, "subc": decodeCarry, "madc": decodeCarry,

	"sqrt": decodeSqrtRcp, "rcp": decodeSqrtRcp, "rsqrt": decodeApprox,
	"sin": decodeApprox, "cos": decodeApprox, "lg2": decodeApprox, "ex2": decodeApprox, "tanh": decodeApprox,
	"copysign": decodeCopysign, "testp": decodeTestp,

	"and": decodeLogic, "or": decodeLogic, "xor": decodeLogic, "not": decodeLogic,
	"cnot": func(d *decoder) error { return d.same1(cnotOps) },
	"lop3": decodeLop3, "shl": decodeShift, "shr": decodeShift, "shf": decodeFunnel, "prmt": decodePrmt,

	"setp": decodeSetp, "set": decodeSet, "selp": decodeSelp, "slct": decodeSlct,

	"mov": decodeMov, "cvt": decodeCvt, "cvta": decodeCvta, "isspacep": decodeIsspacep,

	"ld": decodeLoad, "ldu": decodeLoad, "st": decodeStore, "atom": decodeAtom, "red": decodeAtom,
	"prefetch": decodePrefetch, "prefetchu": decodePrefetch, "applypriority": decodePrefetch,
	"membar": decodeFence, "fence": decodeFence, "cp": decodeCp,

	"bar": decodeBarrier, "barrier": decodeBarrier,
	"shfl": decodeShfl, "vote": decodeVote, "match": decodeMatch, "redux": decodeRedux, "activemask": decodeActivemask,

	"bra": decodeBranch, "brx": decodeBrx, "call": decodeCall, "ret": decodeRet, "exit": decodeExit,
	"trap": decodeTrap, "brkpt": decodeTrap, "nanosleep": decodeNanosleep, "pmevent": decodeNanosleep,
}

func (d *decoder) same(ops map[typ]aluFunc, sources int) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	return d.alu(ops[t], t, []typ{t, t, t}[:sources]...)
}

func (d *decoder) same1(ops map[typ]aluFunc) error { return d.same(ops, 1) }
func (d *decoder) same2(ops map[typ]aluFunc) error { return d.same(ops, 2) }
func (d *decoder) same3(ops map[typ]aluFunc) error { return d.same(ops, 3) }

func ints[T aluFunc](u16f, u32f, u64f, s16f, s32f, s64f T) map[typ]T {
	return map[typ]T{u16: u16f, u32: u32f, u64: u64f, s16: s16f, s32: s32f, s64: s64f}
}

var (
	addOps = ints[aluFunc](add[uint16], add[uint32], add[uint64], add[uint16], add[uint32], add[uint64])
	subOps = ints[aluFunc](sub[uint16], sub[uint32], sub[uint64], sub[uint16], sub[uint32], sub[uint64])

	mulLoOps = ints[aluFunc](mulLo[uint16], mulLo[uint32], mulLo[uint64], mulLo[uint16], mulLo[uint32], mulLo[uint64])
	mulHiOps = ints[aluFunc](mulHi[uint16, uint32], mulHi[uint32, uint64], mulHiU64, mulHi[int16, int32], mulHi[int32, int64], mulHiS64)
	madLoOps = ints[aluFunc](madLo[uint16], madLo[uint32], madLo[uint64], madLo[uint16], madLo[uint32], madLo[uint64])
	madHiOps = ints[aluFunc](madHi[uint16, uint32], madHi[uint32, uint64], madHiU64, madHi[int16, int32], madHi[int32, int64], madHiS64)

	mulWideOps = map[typ]aluFunc{
		u16: mulWide[uint16, uint32], u32: mulWide[uint32, uint64], s16: mulWide[int16, int32], s32: mulWide[int32, int64],
	}
	madWideOps = map[typ]aluFunc{
		u16: madWide[uint16, uint32], u32: madWide[uint32, uint64], s16: madWide[int16, int32], s32: madWide[int32, int64],
	}
	wideOf = map[typ]typ{u16: u32, u32: u64, s16: s32, s32: s64}

	sadOps = ints[aluFunc](sad[uint16], sad[uint32], sad[uint64], sad[int16], sad[int32], sad[int64])
	divOps = ints[aluFunc](divU[uint16], divU[uint32], divU[uint64], divS[int16], divS[int32], divS[int64])
	remOps = ints[aluFunc](rem[uint16], rem[uint32], rem[uint64], rem[int16], rem[int32], rem[int64])
	minOps = ints[aluFunc](minInt[uint16], minInt[uint32], minInt[uint64], minInt[int16], minInt[int32], minInt[int64])
	maxOps = ints[aluFunc](maxInt[uint16], maxInt[uint32], maxInt[uint64], maxInt[int16], maxInt[int32], maxInt[int64])

	brevOps = map[typ]aluFunc{b32: brev32, b64: brev64}
	cnotOps = map[typ]aluFunc{b16: cnot[uint16], b32: cnot[uint32], b64: cnot[uint64]}
	shlOps  = map[typ]aluFunc{b16: shl[uint16], b32: shl[uint32], b64: shl[uint64]}
	shrOps  = map[typ]aluFunc{
		b16: shr[uint16], b32: shr[uint32], b64: shr[uint64],
		u16: shr[uint16], u32: shr[uint32], u64: shr[uint64], s16: shr[int16], s32: shr[int32], s64: shr[int64],
	}
	bfeOps = map[typ]aluFunc{u32: bfe[uint32], u64: bfe[uint64], s32: bfe[int32], s64: bfe[int64]}

	logicOps = map[string]map[typ]aluFunc{
		"and": {b16: and[uint16], b32: and[uint32], b64: and[uint64]},
		"or":  {b16: or[uint16], b32: or[uint32], b64: or[uint64]},
		"xor": {b16: xor[uint16], b32: xor[uint32], b64: xor[uint64]},
		"not": {b16: not[uint16], b32: not[uint32], b64: not[uint64]},
	}
)

// takeRounding removes a rounding modifier; given is false if there is none.
func (d *decoder) takeRounding() (mode rounding, given bool) {
	i := d.takeOne("rn", "rz", "rm", "rp")
	return rounding(max(i, 0)), i >= 0
}

// floats are the operations to nearest that have a function of their own.
var floats = map[string]map[typ]aluFunc{
	"add": {f32: addFloat[float32], f64: addFloat[float64]},
	"sub": {f32: subFloat[float32], f64: subFloat[float64]},
	"mul": {f32: mulFloat[float32], f64: mulFloat[float64]},
	"div": {f32: divFloat[float32], f64: divFloat[float64]},
	"fma": {f32: fma32, f64: fma64},

	"sqrt": {f32: sqrt32, f64: sqrt64},
	"rcp":  {f32: rcpFloat[float32], f64: rcpFloat[float64]},
}

var softNames = map[string]uint64{
	"add": softAdd, "sub": softSub, "mul": softMul, "fma": softFma, "mad": softFma, "div": softDiv, "sqrt": softSqrt, "rcp": softRcp,
}

// float decodes an arithmetic instruction on floats with some sources. An
// instruction without a rounding is to nearest, but may be contracted with
// another.
func (d *decoder) float(name string, t typ, sources int, contracts bool) error {
	mode, given := d.takeRounding()
	how := softNames[name] | uint64(mode)<<softModeShift
	if d.take("ftz") {
		if t == f64 || t.class == classBF {
			return d.unsupported()
		}
		how |= softFtz
		if t == f32 {
			if err := d.inexact(".ftz flushes subnormal numbers"); err != nil {
				return err
			}
		}
	}
	if d.take("sat") {
		if t == f64 || t.class == classBF {
			return d.unsupported()
		}
		how |= softSat
	}
	if d.take("relu") {
		if name != "fma" || t.bits != 16 && t.lanes != 2 {
			return d.unsupported()
		}
		how |= softRelu
	}
	if !given {
		if !contracts {
			return d.errorf("%s: a rounding modifier is missing", d.in.op)
		}
		if err := d.inexact("without .rn it may be fused with another instruction"); err != nil {
			return err
		}
	}
	types := []typ{t, t, t}[:sources]
	d.in.imm = how
	switch t {
	case f32, f64:
		f := quick(name, t, floats[name][t])
		if how>>softModeShift != 0 || f == nil {
			f = soft[uint32]
			if t == f64 {
				f = soft[uint64]
			}
		}
		return d.floatALU(f, t, types)
	case f16, bf16, f16x2, bf16x2:
		if mode != roundNearest {
			return d.unsupported()
		}
		f := halfOp(formatOf(t))
		if t.lanes == 2 {
			f = halfOp2(formatOf(t))
		}
		return d.floatALU(f, t, types)
	}
	return d.unsupported()
}

// floatALU pushes an operation of which f may read three sources: those that are
// not there are the first.
func (d *decoder) floatALU(f aluFunc, t typ, types []typ) error {
	if err := d.rows(t, types...); err != nil {
		return err
	}
	if len(types) < 2 {
		d.in.b = d.in.a
	}
	if len(types) < 3 {
		d.in.c = d.in.a
	}
	d.in.kind, d.in.alu = kindALU, f
	return d.push()
}

func decodeAddSub(d *decoder) error {
	if d.take("cc") {
		d.mod = append(d.mod, "cc")
		return decodeCarry(d)
	}
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if t.float() {
		return d.float(d.s.op, t, 2, true)
	}
	ops := addOps
	if d.s.op == "sub" {
		ops = subOps
	}
	f := quick(d.s.op, t, ops[t])
	if d.take("sat") {
		f = nil
		if t == s32 {
			f = addSat
			if d.s.op == "sub" {
				f = subSat
			}
		}
	}
	switch t {
	case u16x2, s16x2:
		f = addPacked
		if d.s.op == "sub" {
			f = nil
		}
	}
	return d.alu(f, t, t, t)
}

func decodeMul(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if t.float() {
		return d.float("mul", t, 2, true)
	}
	switch d.takeOne("lo", "hi", "wide") {
	case 0:
		return d.alu(quick("mul", t, mulLoOps[t]), t, t, t)
	case 1:
		return d.alu(mulHiOps[t], t, t, t)
	case 2:
		return d.alu(quick("mul.wide", t, mulWideOps[t]), wideOf[t], t, t)
	}
	return d.errorf("%s: .lo, .hi or .wide is missing", d.in.op)
}

func decodeMad(d *decoder) error {
	if d.take("cc") {
		d.mod = append(d.mod, "cc")
		return decodeCarry(d)
	}
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if t.float() { // mad.f32 of sm_20 and later is fma
		if t != f32 && t != f64 {
			return d.unsupported()
		}
		if mode, given := d.takeRounding(); given {
			d.mod = append(d.mod, [...]string{"rn", "rz", "rm", "rp"}[mode])
		} else {
			return d.errorf("%s: a rounding modifier is missing", d.in.op)
		}
		return d.float("fma", t, 3, false)
	}
	switch d.takeOne("lo", "hi", "wide") {
	case 0:
		return d.alu(quick("mad", t, madLoOps[t]), t, t, t, t)
	case 1:
		f := madHiOps[t]
		if d.take("sat") {
			f = nil
			if t == s32 {
				f = madHiSat
			}
		}
		return d.alu(f, t, t, t, t)
	case 2:
		return d.alu(madWideOps[t], wideOf[t], t, t, wideOf[t])
	}
	return d.errorf("%s: .lo, .hi or .wide is missing", d.in.op)
}

func decodeFma(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if !t.float() {
		return d.unsupported()
	}
	return d.float("fma", t, 3, false)
}

func decodeMul24(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	half := d.takeOne("lo", "hi")
	if half < 0 || t != u32 && t != s32 {
		return d.unsupported()
	}
	f := map[typ][2]aluFunc{u32: {mul24LoU, mul24HiU}, s32: {mul24LoS, mul24HiS}}[t][half]
	if d.s.op == "mad24" {
		if d.take("sat") {
			if t != s32 || half != 1 {
				return d.unsupported()
			}
			f = mad24HiSat
		}
		return d.alu(f, t, t, t, t)
	}
	if err := d.rows(t, t, t); err != nil {
		return err
	}
	d.in.c = d.constant(0, 4, nil, false)
	d.in.kind, d.in.alu = kindALU, f
	return d.push()
}

func decodeDiv(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if !t.float() {
		return d.alu(divOps[t], t, t, t)
	}
	if t != f32 && t != f64 {
		return d.unsupported()
	}
	if t == f32 && d.takeOne("approx", "full") >= 0 {
		if err := d.inexact("the quotient is approximate"); err != nil {
			return err
		}
		d.mod = append(d.mod, "rn")
	}
	return d.float("div", t, 2, false)
}

func decodeAbsNeg(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if !t.float() {
		f := map[typ]aluFunc{s16: absInt[int16], s32: absInt[int32], s64: absInt[int64]}[t]
		if d.s.op == "neg" {
			f = map[typ]aluFunc{s16: negInt[int16], s32: negInt[int32], s64: negInt[int64]}[t]
		}
		return d.alu(f, t, t)
	}
	sign := uint64(1) << (t.bits - 1)
	if t.lanes == 2 {
		sign |= 1 << 15
	}
	d.in.imm = sign
	f := map[uint8]aluFunc{16: absBits[uint16], 32: absBits[uint32], 64: absBits[uint64]}[t.bits]
	if d.s.op == "neg" {
		f = map[uint8]aluFunc{16: negBits[uint16], 32: negBits[uint32], 64: negBits[uint64]}[t.bits]
	}
	return d.alu(f, t, t)
}

func decodeMinMax(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	isMax := d.s.op == "max"
	if !t.float() {
		if t == u16x2 || t == s16x2 {
			return d.unsupported()
		}
		ops := minOps
		if isMax {
			ops = maxOps
		}
		return d.alu(quick(d.s.op, t, ops[t]), t, t, t)
	}
	if isMax {
		d.in.imm |= minMaxMax
	}
	if d.take("ftz") {
		return d.unsupported()
	}
	if d.take("NaN") {
		d.in.imm |= minMaxNaN
	}
	if d.take("xorsign") {
		if !d.take("abs") {
			return d.unsupported()
		}
		d.in.imm |= minMaxXor
	}
	switch t {
	case f32:
		if len(d.s.operands) == 4 && d.in.imm&minMaxXor == 0 {
			return d.alu(minMaxFloat3[float32], t, t, t, t)
		}
		return d.alu(minMaxFloat[float32], t, t, t)
	case f64:
		if d.in.imm&^minMaxMax != 0 {
			return d.unsupported()
		}
		return d.alu(minMaxFloat[float64], t, t, t)
	case f16, bf16:
		return d.alu(halfMinMaxOp(formatOf(t)), t, t, t)
	}
	return d.alu(halfMinMaxOp2(formatOf(t)), t, t, t)
}

func decodeCount(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	ops := map[typ]aluFunc{b32: popc32, b64: popc64}
	if d.s.op == "clz" {
		ops = map[typ]aluFunc{b32: clz32, b64: clz64}
	}
	return d.alu(ops[t], b32, t)
}

func decodeBfind(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if d.take("shiftamt") {
		d.in.imm = 1
	}
	return d.alu(map[typ]aluFunc{u32: bfind[uint32], u64: bfind[uint64], s32: bfind[int32], s64: bfind[int64]}[t], b32, t)
}

func decodeBfe(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	return d.alu(bfeOps[t], t, t, b32, b32)
}

func decodeBfi(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	return d.alu(map[typ]aluFunc{b32: bfi[uint32], b64: bfi[uint64]}[t], t, t, t, b32, b32)
}

func decodeFns(d *decoder) error {
	if t, err := d.takeType(); err != nil || t != b32 {
		return d.unsupported()
	}
	return d.alu(fns, b32, b32, b32, b32)
}

func decodeDp4a(d *decoder) error {
	var sides [2]typ
	for i := range sides {
		var err error
		if sides[i], err = d.takeType(); err != nil {
			return err
		}
		switch sides[i] {
		case s32:
			d.in.imm |= 1 << i
		case u32:
		default:
			return d.unsupported()
		}
	}
	return d.alu(dp4a, b32, b32, b32, b32)
}

func decodeDp2a(d *decoder) error {
	switch d.takeOne("lo", "hi") {
	case -1:
		return d.unsupported()
	case 1:
		d.in.imm |= 4
	}
	for i := range 2 {
		t, err := d.takeType()
		if err != nil {
			return err
		}
		switch t {
		case s32:
			d.in.imm |= 1 << i
		case u32:
		default:
			return d.unsupported()
		}
	}
	return d.alu(dp2a, b32, b32, b32, b32)
}

// decodeCarry decodes add, sub and mad with .cc, and addc, subc and madc.
func decodeCarry(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if !t.integer() || t.class == classBits || t.bits != 32 && t.bits != 64 {
		return d.unsupported()
	}
	flags := uint64(0)
	if d.take("cc") {
		flags |= carryOut
	}
	sources := []typ{t, t}
	switch d.s.op {
	case "addc", "subc", "madc":
		flags |= carryIn1
	}
	switch d.s.op {
	case "sub", "subc":
		flags |= carrySub
	case "mad", "madc":
		flags |= carryMul
		sources = append(sources, t)
		switch d.takeOne("lo", "hi") {
		case -1:
			return d.unsupported()
		case 1:
			flags |= carryHi
		}
		if t.signed() {
			flags |= carrySigned
		}
	}
	if err := d.rows(t, sources...); err != nil {
		return err
	}
	d.in.imm = flags
	d.in.kind, d.in.run = kindRun, carry[uint32]
	if t.bits == 64 {
		d.in.run = carry[uint64]
	}
	return d.push()
}

func decodeSqrtRcp(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if t != f32 && t != f64 {
		return d.unsupported()
	}
	if d.take("approx") {
		if err := d.inexact("the result is approximate"); err != nil {
			return err
		}
		if t == f64 {
			return d.unsupported()
		}
		d.mod = append(d.mod, "rn")
	}
	return d.float(d.s.op, t, 1, false)
}

var approximate = map[string]func(float64) float64{
	"rsqrt": func(x float64) float64 { return 1 / math.Sqrt(x) },
	"sin":   math.Sin, "cos": math.Cos, "lg2": math.Log2, "ex2": math.Exp2, "tanh": math.Tanh,
}

func decodeApprox(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if !d.take("approx") {
		return d.errorf("%s: .approx is missing", d.in.op)
	}
	if err := d.inexact("the result is approximate"); err != nil {
		return err
	}
	if t != f32 {
		return d.unsupported()
	}
	if d.take("ftz") {
		d.in.imm = softFtz
	}
	return d.alu(approx(approximate[d.s.op]), t, t)
}

func decodeCopysign(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	d.in.imm = 1 << (t.bits - 1)
	return d.alu(map[typ]aluFunc{f32: copysign[uint32], f64: copysign[uint64]}[t], t, t, t)
}

func decodeLogic(d *decoder) error {
	if d.take("pred") {
		return d.logicPred()
	}
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if d.s.op == "not" {
		return d.alu(logicOps["not"][t], t, t)
	}
	return d.alu(quick(d.s.op, t, logicOps[d.s.op][t]), t, t, t)
}

func decodeLop3(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if t != b32 {
		return d.unsupported()
	}
	ops, err := d.operands(5)
	if err != nil {
		return err
	}
	table := ops[4]
	if table.kind != opInt || table.bits > 255 {
		return d.errorf("lop3's table is a constant from 0 to 255")
	}
	d.in.imm = table.bits
	d.s = &statement{op: d.s.op, operands: ops[:4], line: d.s.line, scope: d.s.scope}
	return d.alu(lop3, t, t, t, t)
}

func decodeShift(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	ops := shlOps
	if d.s.op == "shr" {
		ops = shrOps
	}
	return d.alu(quick(d.s.op, t, ops[t]), t, t, b32)
}

func decodeFunnel(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	side, mode := d.takeOne("l", "r"), d.takeOne("wrap", "clamp")
	if side < 0 || mode < 0 || t != b32 {
		return d.unsupported()
	}
	d.in.imm = uint64(mode)
	f := shfL
	if side == 1 {
		f = shfR
	}
	return d.alu(f, t, t, t, t)
}

func decodePrmt(d *decoder) error {
	t, err := d.takeType()
	if err != nil {
		return err
	}
	if t != b32 {
		return d.unsupported()
	}
	d.in.imm = uint64(1 + d.takeOne("f4e", "b4e", "rc8", "ecl", "ecr", "rc16"))
	return d.alu(prmt, t, t, t, t)
}
