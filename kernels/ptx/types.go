package ptx

// class is the kind of arithmetic of a type.
type class uint8

const (
	classBits class = iota
	classUnsigned
	classSigned
	classFloat
	classBF
	classPred
	classE4M3
	classE5M2
	classTF32
	classE2M3
	classE3M2
	classE2M1
	classUE8M0
)

// typ is a fundamental type of PTX (PTX ISA §5.2).
type typ struct {
	class class
	bits  uint8 // 1 for a predicate
	lanes uint8 // 2 for the packed formats, else 1
}

func (t typ) bytes() int { return int(t.bits) / 8 }

func (t typ) integer() bool { return t.class <= classSigned && t.lanes == 1 }
func (t typ) signed() bool  { return t.class == classSigned }
func (t typ) float() bool   { return t.class == classFloat || t.class == classBF }

func (t typ) String() string {
	for name, u := range typeNames {
		if t == u {
			return "." + name
		}
	}
	return "no type"
}

var (
	b8   = typ{classBits, 8, 1}
	b16  = typ{classBits, 16, 1}
	b32  = typ{classBits, 32, 1}
	b64  = typ{classBits, 64, 1}
	u8   = typ{classUnsigned, 8, 1}
	u16  = typ{classUnsigned, 16, 1}
	u32  = typ{classUnsigned, 32, 1}
	u64  = typ{classUnsigned, 64, 1}
	s8   = typ{classSigned, 8, 1}
	s16  = typ{classSigned, 16, 1}
	s32  = typ{classSigned, 32, 1}
	s64  = typ{classSigned, 64, 1}
	f16  = typ{classFloat, 16, 1}
	f32  = typ{classFloat, 32, 1}
	f64  = typ{classFloat, 64, 1}
	bf16 = typ{classBF, 16, 1}
	pred = typ{classPred, 1, 1}

	f16x2  = typ{classFloat, 32, 2}
	bf16x2 = typ{classBF, 32, 2}
	e4m3x2 = typ{classE4M3, 16, 2}
	e5m2x2 = typ{classE5M2, 16, 2}
	e2m3x2 = typ{classE2M3, 16, 2} // 6 bits of each byte
	e3m2x2 = typ{classE3M2, 16, 2}
	e2m1x2 = typ{classE2M1, 8, 2}
	scales = typ{classUE8M0, 16, 2}
	u16x2  = typ{classUnsigned, 32, 2}
	s16x2  = typ{classSigned, 32, 2}
	f32x2  = typ{classFloat, 64, 2}
)

var typeNames = map[string]typ{
	"b8": b8, "b16": b16, "b32": b32, "b64": b64,
	"u8": u8, "u16": u16, "u32": u32, "u64": u64,
	"s8": s8, "s16": s16, "s32": s32, "s64": s64,
	"f16": f16, "f32": f32, "f64": f64, "bf16": bf16,
	"f16x2": f16x2, "bf16x2": bf16x2, "e4m3x2": e4m3x2, "e5m2x2": e5m2x2,
	"e2m3x2": e2m3x2, "e3m2x2": e3m2x2, "e2m1x2": e2m1x2, "ue8m0x2": scales,
	"u16x2": u16x2, "s16x2": s16x2, "f32x2": f32x2,
	"pred": pred,
}

var spaceOf = map[string]space{
	"global": spaceGlobal, "shared": spaceShared, "shared::cta": spaceShared, "shared::cluster": spaceShared, "local": spaceLocal,
	"param": spaceParam, "param::entry": spaceParam, "param::func": spaceParam, "const": spaceConst,
}
