package ptx

import (
	"math"
	"unsafe"
)

// Comparisons on rows, and what depends on predicates (PTX ISA §9.7.6).

type ordered interface {
	integer | floating
}

func bit(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

func compareEq[T ordered](w *warp, in *instr) (p uint32) {
	a, b := row[T](w.regs, in.a), row[T](w.regs, in.b)
	for i := range a {
		p |= bit(a[i] == b[i]) << i
	}
	return p
}

func compareNe[T ordered](w *warp, in *instr) (p uint32) {
	a, b := row[T](w.regs, in.a), row[T](w.regs, in.b)
	for i := range a {
		p |= bit(a[i] < b[i] || a[i] > b[i]) << i
	}
	return p
}

func compareLt[T ordered](w *warp, in *instr) (p uint32) {
	a, b := row[T](w.regs, in.a), row[T](w.regs, in.b)
	for i := range a {
		p |= bit(a[i] < b[i]) << i
	}
	return p
}

func compareLe[T ordered](w *warp, in *instr) (p uint32) {
	a, b := row[T](w.regs, in.a), row[T](w.regs, in.b)
	for i := range a {
		p |= bit(a[i] <= b[i]) << i
	}
	return p
}

func compareGt[T ordered](w *warp, in *instr) (p uint32) {
	a, b := row[T](w.regs, in.a), row[T](w.regs, in.b)
	for i := range a {
		p |= bit(a[i] > b[i]) << i
	}
	return p
}

func compareGe[T ordered](w *warp, in *instr) (p uint32) {
	a, b := row[T](w.regs, in.a), row[T](w.regs, in.b)
	for i := range a {
		p |= bit(a[i] >= b[i]) << i
	}
	return p
}

// compareNaN is true where one of the operands is NaN.
func compareNaN[T floating](w *warp, in *instr) (p uint32) {
	a, b := row[T](w.regs, in.a), row[T](w.regs, in.b)
	for i := range a {
		p |= bit(a[i] != a[i] || b[i] != b[i]) << i
	}
	return p
}

// compareFlushed compares float32 numbers, with subnormal numbers as zeros.
func compareFlushed(name string) cmpFunc {
	return func(w *warp, in *instr) (p uint32) {
		a, b := row[uint32](w.regs, in.a), row[uint32](w.regs, in.b)
		for i := range a {
			x, y := fmtF32.flush(uint64(a[i])), fmtF32.flush(uint64(b[i]))
			p |= bit(compareFloats(name, fmtF32.float64(x), fmtF32.float64(y))) << i
		}
		return p
	}
}

func comparisons[T ordered]() map[string]cmpFunc {
	return map[string]cmpFunc{
		"eq": compareEq[T], "ne": compareNe[T], "lt": compareLt[T], "le": compareLe[T], "gt": compareGt[T], "ge": compareGe[T],
	}
}

// floatComparisons adds the unordered comparisons, which are true for NaN. Each is the complement of an
// ordered one.
func floatComparisons[T floating]() map[string]cmpFunc {
	m := comparisons[T]()
	for name, opposite := range unordered {
		f := m[opposite]
		m[name] = func(w *warp, in *instr) uint32 { return ^f(w, in) }
	}
	m["nan"] = compareNaN[T]
	m["num"] = func(w *warp, in *instr) uint32 { return ^compareNaN[T](w, in) }
	return m
}

var compares = map[typ]map[string]cmpFunc{
	u16: comparisons[uint16](), u32: comparisons[uint32](), u64: comparisons[uint64](),
	s16: comparisons[int16](), s32: comparisons[int32](), s64: comparisons[int64](),
	f32: floatComparisons[float32](), f64: floatComparisons[float64](),
}

// comparison returns the function that compares numbers of type t.
func comparison(name string, t typ) cmpFunc {
	switch t {
	case b16, b32, b64:
		if name != "eq" && name != "ne" {
			return nil
		}
		t.class = classUnsigned
	case f16, bf16:
		f := formatOf(t)
		of := compares[f32][name]
		if of == nil {
			return nil
		}
		return func(w *warp, in *instr) uint32 { return compareHalf(w, in, f, name) }
	}
	switch name {
	case "lo", "ls", "hi", "hs":
		if t.class != classUnsigned {
			return nil
		}
		name = map[string]string{"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}[name]
	}
	return quickCompare(name, "", t, compares[t][name])
}

// unordered maps the comparisons that are true for NaN to their complements.
var unordered = map[string]string{"equ": "ne", "neu": "eq", "ltu": "ge", "leu": "gt", "gtu": "le", "geu": "lt"}

// quickCompare returns the assembly for a comparison with a suffix, or plain if there is none.
func quickCompare(name, suffix string, t typ, plain cmpFunc) cmpFunc {
	if !vectors || plain == nil {
		return plain
	}
	if f := vectorCompare[opType{name + suffix, t}]; f != nil {
		return f
	}
	if f := vectorCompare[opType{unordered[name] + suffix, t}]; f != nil {
		return func(w *warp, in *instr) uint32 { return ^f(w, in) }
	}
	return plain
}

func compareHalf(w *warp, in *instr, f *format, name string) (p uint32) {
	a, b := row[uint16](w.regs, in.a), row[uint16](w.regs, in.b)
	of := singleOfHalf
	if f == fmtBF16 {
		of = func(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }
	}
	for i := range a {
		p |= bit(compareFloats(name, float64(of(a[i])), float64(of(b[i])))) << i
	}
	return p
}

func compareFloats(name string, x, y float64) bool {
	unordered := x != x || y != y
	switch name {
	case "eq":
		return x == y
	case "ne":
		return !unordered && x != y
	case "lt":
		return x < y
	case "le":
		return x <= y
	case "gt":
		return x > y
	case "ge":
		return x >= y
	case "equ":
		return unordered || x == y
	case "neu":
		return unordered || x != y
	case "ltu":
		return unordered || x < y
	case "leu":
		return unordered || x <= y
	case "gtu":
		return unordered || x > y
	case "geu":
		return unordered || x >= y
	case "num":
		return !unordered
	}
	return unordered // nan
}

func set(w *warp, in *instr, mask uint32) error {
	p := w.combine(in, in.cmp(w, in))
	for i := range warpSize {
		if mask>>i&1 == 0 {
			continue
		}
		v := uint64(0)
		if p>>i&1 != 0 {
			v = in.imm
		}
		w.setLane(in.d, in.dbytes, i, v)
	}
	return nil
}

// setPacked executes set on packed numbers: each half of the result is that of its own comparison.
func setPacked(lower, upper cmpFunc) func(w *warp, in *instr, mask uint32) error {
	return func(w *warp, in *instr, mask uint32) error {
		p, q := w.combine(in, lower(w, in)), w.combine(in, upper(w, in))
		for i := range warpSize {
			if mask>>i&1 != 0 {
				w.setLane(in.d, in.dbytes, i, in.imm*uint64(p>>i&1)|in.imm*uint64(q>>i&1)<<16)
			}
		}
		return nil
	}
}

func selp[T unsignedInt](p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[T](p, w, in)
	c := w.preds[in.c]
	if in.notC {
		c = ^c
	}
	for i := range d {
		// A mask instead of a branch: predicates are hard to predict.
		take := -T(c >> i & 1)
		d[i] = b[i] ^ (a[i]^b[i])&take
	}
}

// slct returns a if c ≥ 0 or c is NaN, else b.
func slct[T unsignedInt, C int32 | float32](p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[T](p, w, in)
	c := row[C](w.regs, in.c)
	for i := range d {
		if c[i] >= 0 {
			d[i] = a[i]
		} else {
			d[i] = b[i]
		}
	}
}

// slctFlushed is slct.ftz: a negative subnormal counts as zero.
func slctFlushed[T unsignedInt](p unsafe.Pointer, w *warp, in *instr) {
	d, a, b := operands2[T](p, w, in)
	c := row[float32](w.regs, in.c)
	for i := range d {
		if c[i] > -0x1p-126 {
			d[i] = a[i]
		} else {
			d[i] = b[i]
		}
	}
}

func (w *warp) predA(in *instr) uint32 { return w.preds[in.a] ^ -uint32(in.imm&1) }

func (w *warp) predB(in *instr) uint32 { return w.preds[in.b] ^ -uint32(in.imm>>1&1) }

func predAnd(w *warp, in *instr) uint32 { return w.predA(in) & w.predB(in) }

func predOr(w *warp, in *instr) uint32 { return w.predA(in) | w.predB(in) }

func predXor(w *warp, in *instr) uint32 { return w.predA(in) ^ w.predB(in) }

func predNot(w *warp, in *instr) uint32 { return ^w.predA(in) }

func predMov(w *warp, in *instr) uint32 { return w.predA(in) }
