package ptx

// opcode is how an instruction is decoded, and what it does.
type opcode struct {
	decode func(d *decoder) error
	effect effect
}

// effect says what an instruction may do apart from accesses to the memory of its operands.
type effect uint8

const (
	own  effect = iota // changes nothing but its own warp, and depends on nothing else
	acts               // changes or depends on more
)

// opcodes are the instructions by their first word (PTX ISA §9.7).
var opcodes = map[string]opcode{
	"add": {decodeAddSub, own}, "sub": {decodeAddSub, own},
	"mul": {decodeMul, own}, "mad": {decodeMad, own}, "fma": {decodeFma, own},
	"mul24": {decodeMul24, own}, "mad24": {decodeMul24, own},
	"sad": {func(d *decoder) error { return d.same3(sadOps) }, own},
	"div": {decodeDiv, own}, "rem": {func(d *decoder) error { return d.same2(remOps) }, own},
	"abs": {decodeAbsNeg, own}, "neg": {decodeAbsNeg, own},
	"min": {decodeMinMax, own}, "max": {decodeMinMax, own},
	"popc": {decodeCount, own}, "clz": {decodeCount, own}, "bfind": {decodeBfind, own},
	"brev": {func(d *decoder) error { return d.same1(brevOps) }, own},
	"bfe":  {decodeBfe, own}, "bfi": {decodeBfi, own}, "fns": {decodeFns, own},
	"dp4a": {decodeDp4a, own}, "dp2a": {decodeDp2a, own}, "szext": {decodeSzext, own}, "bmsk": {decodeBmsk, own},
	"vadd2": {decodeSIMD, own}, "vsub2": {decodeSIMD, own}, "vavrg2": {decodeSIMD, own}, "vabsdiff2": {decodeSIMD, own}, "vmin2": {decodeSIMD, own}, "vmax2": {decodeSIMD, own},
	"vadd4": {decodeSIMD, own}, "vsub4": {decodeSIMD, own}, "vavrg4": {decodeSIMD, own}, "vabsdiff4": {decodeSIMD, own}, "vmin4": {decodeSIMD, own}, "vmax4": {decodeSIMD, own},
	"addc": {decodeCarry, own}, "subc": {decodeCarry, own}, "madc": {decodeCarry, own},

	"sqrt": {decodeSqrtRcp, own}, "rcp": {decodeSqrtRcp, own}, "rsqrt": {decodeApprox, own},
	"sin": {decodeApprox, own}, "cos": {decodeApprox, own}, "lg2": {decodeApprox, own}, "ex2": {decodeApprox, own}, "tanh": {decodeApprox, own},
	"copysign": {decodeCopysign, own}, "testp": {decodeTestp, own},

	"and": {decodeLogic, own}, "or": {decodeLogic, own}, "xor": {decodeLogic, own}, "not": {decodeLogic, own},
	"cnot": {func(d *decoder) error { return d.same1(cnotOps) }, own},
	"lop3": {decodeLop3, own}, "shl": {decodeShift, own}, "shr": {decodeShift, own}, "shf": {decodeFunnel, own}, "prmt": {decodePrmt, own},

	"setp": {decodeSetp, own}, "set": {decodeSet, own}, "selp": {decodeSelp, own}, "slct": {decodeSlct, own},

	"mov": {decodeMov, own}, "cvt": {decodeCvt, own}, "cvta": {decodeCvta, own}, "isspacep": {decodeIsspacep, own},

	"ld": {decodeLoad, own}, "ldu": {decodeLoad, own}, "st": {decodeStore, own}, "atom": {decodeAtom, own}, "red": {decodeAtom, own},
	"prefetch": {decodePrefetch, own}, "prefetchu": {decodePrefetch, own}, "applypriority": {decodePrefetch, own},
	"membar": {decodeFence, own}, "fence": {decodeFence, own}, "cp": {decodeCp, acts},

	"bar": {decodeBarrier, own}, "barrier": {decodeBarrier, own},
	"mma": {decodeMMA, own}, "wmma": {decodeWMMA, own}, "mbarrier": {decodeMbarrier, own}, "ldmatrix": {decodeLdmatrix, own},
	"stmatrix": {decodeStmatrix, own}, "movmatrix": {decodeMovmatrix, own},
	"shfl": {decodeShfl, own}, "vote": {decodeVote, own}, "match": {decodeMatch, own}, "redux": {decodeRedux, own}, "activemask": {decodeActivemask, own},
	"elect": {decodeElect, own}, "createpolicy": {decodeCreatepolicy, own},

	"bra": {decodeBranch, own}, "brx": {decodeBrx, own}, "call": {decodeCall, acts}, "ret": {decodeRet, own}, "exit": {decodeExit, own},
	"trap": {decodeTrap, acts}, "brkpt": {decodeTrap, acts}, "nanosleep": {decodeNanosleep, own}, "pmevent": {decodeNanosleep, own},
	"mapa": {decodeMapa, own}, "getctarank": {decodeGetctarank, own},
	"griddepcontrol": {decodeGriddepcontrol, own}, "setmaxnreg": {decodeSetmaxnreg, own},
}

// unsupportedOps are opcodes that the machine does not support, with what they belong to.
var unsupportedOps = map[string]string{
	"tex": "textures", "tld4": "textures", "txq": "textures", "istypep": "textures",
	"suld": "surfaces", "sust": "surfaces", "sured": "surfaces", "suq": "surfaces",
	"wgmma": "matrix instructions", "tcgen05": "matrix instructions",
	"clusterlaunchcontrol": "launches of clusters by a kernel", "discard": "discards",
	"tensormap": "tensor maps", "multimem": "addresses of several devices", "alloca": "allocations on the stack",
	"stacksave": "allocations on the stack", "stackrestore": "allocations on the stack",
	"vadd": "video instructions", "vsub": "video instructions", "vabsdiff": "video instructions", "vmin": "video instructions",
	"vmax": "video instructions", "vshl": "video instructions", "vshr": "video instructions", "vmad": "video instructions", "vset": "video instructions",
	"vset2": "video instructions", "vset4": "video instructions",
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
