package ptx

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
	"dp4a": decodeDp4a, "dp2a": decodeDp2a, "szext": decodeSzext, "bmsk": decodeBmsk,
	"vadd2": decodeSIMD, "vsub2": decodeSIMD, "vavrg2": decodeSIMD, "vabsdiff2": decodeSIMD, "vmin2": decodeSIMD, "vmax2": decodeSIMD,
	"vadd4": decodeSIMD, "vsub4": decodeSIMD, "vavrg4": decodeSIMD, "vabsdiff4": decodeSIMD, "vmin4": decodeSIMD, "vmax4": decodeSIMD,
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
	"mma": decodeMMA, "wmma": decodeWMMA, "mbarrier": decodeMbarrier, "ldmatrix": decodeLdmatrix,
	"stmatrix": decodeStmatrix, "movmatrix": decodeMovmatrix,
	"shfl": decodeShfl, "vote": decodeVote, "match": decodeMatch, "redux": decodeRedux, "activemask": decodeActivemask,
	"elect": decodeElect, "createpolicy": decodeCreatepolicy,

	"bra": decodeBranch, "brx": decodeBrx, "call": decodeCall, "ret": decodeRet, "exit": decodeExit,
	"trap": decodeTrap, "brkpt": decodeTrap, "nanosleep": decodeNanosleep, "pmevent": decodeNanosleep,
	"griddepcontrol": decodeGriddepcontrol, "setmaxnreg": decodeSetmaxnreg,
}

// unsupportedOps are opcodes that the machine does not support, with what they belong to.
var unsupportedOps = map[string]string{
	"tex": "textures", "tld4": "textures", "txq": "textures", "istypep": "textures",
	"suld": "surfaces", "sust": "surfaces", "sured": "surfaces", "suq": "surfaces",
	"wgmma": "matrix instructions", "tcgen05": "matrix instructions",
	"mapa": "clusters", "getctarank": "clusters",
	"clusterlaunchcontrol": "clusters", "discard": "discards",
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
