package ptx

import (
	"slices"
)

// Conversions (PTX ISA §9.7.9.21).

func decodeCvt(d *decoder) error {
	if d.take("pack") {
		return d.decodeCvtPack()
	}
	if slices.Contains(d.mod, "tf32") {
		return d.decodeCvtTF32()
	}
	if d.take("rs") {
		return d.errorf("%s: stochastic rounding is not supported", d.in.op)
	}
	op := &cvtOp{}
	d.in.cvt = op
	given := d.takeOne("rn", "rz", "rm", "rp")
	whole := d.takeOne("rni", "rzi", "rmi", "rpi")
	op.satfinite = d.take("satfinite")
	op.relu = d.take("relu")
	op.ftz = d.take("ftz")
	op.sat = d.take("sat")
	var err error
	if op.to, err = d.takeType(); err != nil {
		return err
	}
	if op.from, err = d.takeType(); err != nil {
		return err
	}
	op.fromF, op.toF = formatOf(op.from), formatOf(op.to)
	op.mode = rounding(max(given, 0))
	if whole >= 0 {
		op.mode, op.integral = rounding(whole), true
	}
	if op.ftz {
		if op.from != f32 && op.to != f32 {
			return d.unsupported()
		}
		if err := d.inexact(flushes); err != nil {
			return err
		}
	}
	if op.to.lanes == 2 || op.from.lanes == 2 {
		return d.cvtPacked(op, given)
	}
	if err := d.checkCvt(op, given >= 0, whole >= 0); err != nil {
		return err
	}
	ops, err := d.operands(2)
	if err != nil {
		return err
	}
	from, err := d.wider(ops[1], op.from)
	if err != nil {
		return err
	}
	if op.from == bf16 && from.bits != 16 || ops[0].kind == opSink {
		return d.unsupported()
	}
	if op.srcBytes = uint8(from.bytes()); ops[1].kind != opName {
		from = op.from
	}
	to, err := d.wider(ops[0], op.to)
	if err != nil {
		return err
	}
	op.dstBytes = uint8(to.bytes())
	if op.to == bf16 && to.bits != 16 {
		return d.unsupported()
	}
	return d.alu(fastCvt(op), to, from)
}

// checkCvt refuses what PTX does not allow (§9.7.9.21): a conversion that can round needs a rounding
// modifier, and one that cannot must not have one.
func (d *decoder) checkCvt(op *cvtOp, rounds, integral bool) error {
	fromInt, toInt := op.fromF == nil, op.toF == nil
	if op.from.class > classBF || op.to.class > classBF || op.from.class == classBits || op.to.class == classBits {
		return d.unsupported()
	}
	if (op.relu || op.satfinite) && (op.from != f32 || op.to != f16 && op.to != bf16) {
		return d.unsupported()
	}
	switch {
	case fromInt && toInt:
		if rounds || integral {
			return d.unsupported()
		}
	case fromInt:
		if !rounds || integral {
			return d.errorf("%s: a rounding modifier .rn, .rz, .rm or .rp is needed", d.in.op)
		}
	case toInt:
		if rounds || !integral {
			return d.errorf("%s: a rounding modifier .rni, .rzi, .rmi or .rpi is needed", d.in.op)
		}
	case op.from == op.to:
		if rounds {
			return d.unsupported()
		}
	case op.toF.mantissa < op.fromF.mantissa || op.toF.bias < op.fromF.bias:
		if !rounds || integral {
			return d.errorf("%s: a rounding modifier .rn, .rz, .rm or .rp is needed", d.in.op)
		}
	default:
		if rounds || integral {
			return d.unsupported()
		}
	}
	return nil
}

// fastCvt returns the function of a conversion: its own, if it has one, or cvt.
func fastCvt(op *cvtOp) aluFunc {
	plain := !op.sat && !op.relu && !op.ftz && !op.satfinite
	if !plain {
		return cvt
	}
	nearest := op.mode == roundNearest && !op.integral
	exact := op.srcBytes == uint8(op.from.bytes()) && op.dstBytes == uint8(op.to.bytes())
	switch {
	case op.fromF == nil && op.toF == nil:
		if f := cutOrExtend(op); f != nil {
			return f
		}
	case !exact:
	case op.fromF == nil && nearest:
		if f := intToFloats[[2]typ{op.to, op.from}]; f != nil {
			if op.to == f32 {
				return quick("cvt.f32", op.from, f)
			}
			return f
		}
	case op.to == f32 && op.from == f16:
		return quick("cvt.f32", f16, cvtF32F16)
	case op.to == f16 && op.from == f32 && nearest:
		return quick("cvt.f16", f32, cvtF16F32)
	case op.to == f32 && op.from == bf16:
		return quick("cvt.f32", bf16, cvtF32BF16)
	case op.to == bf16 && op.from == f32 && nearest:
		return quick("cvt.bf16", f32, cvtBF16F32)
	case op.from == f32 && op.integral && (op.to == s32 || op.to == f32):
		plain := cvt
		if op.to == s32 && op.mode == roundZero {
			plain = cvtTruncS32F32
		}
		return quick("cvt."+[...]string{"rni", "rzi", "rmi", "rpi"}[op.mode]+"."+[...]string{"s32", "f32"}[bit(op.to == f32)], f32, plain)
	}
	return cvt
}

var intToFloats = map[[2]typ]aluFunc{
	{f32, u16}: intToFloat[float32, uint16], {f32, u32}: intToFloat[float32, uint32], {f32, u64}: intToFloat[float32, uint64],
	{f32, s16}: intToFloat[float32, int16], {f32, s32}: intToFloat[float32, int32], {f32, s64}: intToFloat[float32, int64],
	{f64, u16}: intToFloat[float64, uint16], {f64, u32}: intToFloat[float64, uint32], {f64, u64}: intToFloat[float64, uint64],
	{f64, s16}: intToFloat[float64, int16], {f64, s32}: intToFloat[float64, int32], {f64, s64}: intToFloat[float64, int64],
}

// cutOrExtend converts between integers in registers of exactly their widths.
func cutOrExtend(op *cvtOp) aluFunc {
	if op.dstBytes != uint8(op.to.bytes()) {
		return nil
	}
	if op.to.bits <= op.from.bits { // the low bits of the register, however wide it is
		switch [2]uint8{op.dstBytes, op.srcBytes} {
		case [2]uint8{4, 8}:
			return quick("cvt.32", b64, convertInt[uint32, uint64])
		case [2]uint8{2, 8}:
			return convertInt[uint16, uint64]
		case [2]uint8{2, 4}:
			return convertInt[uint16, uint32]
		case [2]uint8{4, 4}:
			return copyOf(32)
		case [2]uint8{8, 8}:
			return copyOf(64)
		case [2]uint8{2, 2}:
			return copyRow[uint16]
		}
		return nil
	}
	if op.srcBytes != uint8(op.from.bytes()) {
		return nil
	}
	switch [2]typ{{bits: op.to.bits}, {bits: op.from.bits, class: op.from.class}} {
	case [2]typ{{bits: 64}, {bits: 32, class: classUnsigned}}:
		return quick("cvt.64", u32, convertInt[uint64, uint32])
	case [2]typ{{bits: 64}, {bits: 32, class: classSigned}}:
		return quick("cvt.64", s32, convertInt[int64, int32])
	case [2]typ{{bits: 64}, {bits: 16, class: classUnsigned}}:
		return convertInt[uint64, uint16]
	case [2]typ{{bits: 64}, {bits: 16, class: classSigned}}:
		return convertInt[int64, int16]
	case [2]typ{{bits: 32}, {bits: 16, class: classUnsigned}}:
		return convertInt[uint32, uint16]
	case [2]typ{{bits: 32}, {bits: 16, class: classSigned}}:
		return convertInt[int32, int16]
	}
	return nil
}

// cvtPacked decodes conversions to and from packed pairs.
func (d *decoder) cvtPacked(op *cvtOp, given int) error {
	nearest, half := given == int(roundNearest), op.from == f16x2 || op.from == bf16x2
	op.dstBytes = uint8(op.to.bytes())
	op.srcBytes = uint8(op.from.bytes())
	var good bool
	switch op.to {
	case f16x2:
		good = op.from == f32 && (nearest || given == int(roundZero)) || op.fromF != nil && op.fromF.bits <= 8 && op.from != scales && nearest && !op.satfinite
	case bf16x2:
		good = op.from == f32 && (nearest || given == int(roundZero)) || op.from == scales && nearest && !op.satfinite && !op.relu
	case e4m3x2, e5m2x2, e2m3x2, e3m2x2, e2m1x2:
		good = nearest && op.satfinite && (op.from == f32 || half)
	case scales:
		good = (given == int(roundZero) || given == int(roundUp)) && !op.relu && (op.from == f32 || op.from == bf16x2)
	}
	if !good || op.sat || op.ftz || op.integral {
		return d.unsupported()
	}
	to := typ{classBits, op.to.bits, 1}
	if op.from != f32 {
		from := typ{classBits, op.from.bits, 1}
		op.from.bits /= 2
		return d.alu(cvtUnpack, to, from)
	}
	// cvt.rn.f16x2.f32 d, a, b
	f, plain := cvtPack, nearest && !op.relu && !op.satfinite
	if plain && op.to == f16x2 {
		f = quick("cvt.f16x2", f32, packF16)
	} else if plain && op.to == bf16x2 {
		f = quick("cvt.bf16x2", f32, packBF16)
	}
	return d.alu(f, to, f32, f32)
}
