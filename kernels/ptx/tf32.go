package ptx

import "unsafe"

// cvt to tf32: the format of f32 with 10 bits of fraction, in the upper 19 bits of a register. The lower 13
// bits are zero here; instructions on tf32 ignore them.

const (
	tf32Below = 1<<13 - 1  // the bits below a tf32
	tf32Max   = 0x7f7fe000 // the largest finite tf32
)

// decodeCvtTF32 decodes cvt.tf32.f32.
func (d *decoder) decodeCvtTF32() error {
	mode := d.takeOne("rna", "rn", "rz")
	satfinite, relu := d.take("satfinite"), d.take("relu")
	if d.take("tf32"); mode < 0 || !d.take("f32") || relu && mode == 0 {
		return d.unsupported()
	}
	d.flow.spread = spreadAll
	return d.alu(func(p unsafe.Pointer, w *warp, in *instr) {
		d, a := (*[warpSize]uint32)(p), row[uint32](w.regs, in.a)
		for i, v := range a {
			sign, v := v&(1<<31), v&^(1<<31)
			switch {
			case v > uint32(fmtF32.infinity): // NaN
				d[i] = uint32(fmtF32.nan)
				continue
			case v == uint32(fmtF32.infinity):
			case mode == 0: // to nearest, ties away from zero
				v += 1 << 12
			case mode == 1:
				v += 1<<12 - 1 + v>>13&1
			}
			if v &^= tf32Below; satfinite {
				v = min(v, tf32Max)
			}
			if d[i] = sign | v; relu && sign != 0 {
				d[i] = 0
			}
		}
	}, b32, f32)
}
