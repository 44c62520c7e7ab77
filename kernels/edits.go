package kernels

import (
	"kvcompress/kernels/device"
	"kvcompress/ref"
)

// fold folds the KVs of a decision into their heads' stand-ins, before the moves.
func (s *state) fold(row int, d decision, f *ref.Folding) error {
	if f.Into == ref.None || d.evicts() == 0 {
		return nil
	}
	made := make([]int32, len(f.New))
	for i, isNew := range f.New {
		if isNew {
			made[i] = 1
		}
	}
	on, err := upload(s, "stand-ins made", made)
	if err != nil {
		return err
	}
	c, size := s.reads.standIns, s.cfg.Shape.HeadSize
	scales, err := s.headScales()
	if err != nil {
		return err
	}
	args := []device.Arg{
		device.Pointer(d.list), device.Pointer(d.offsets), device.Pointer(d.kvs), device.Pointer(on), device.Pointer(s.tablesOf(row)),
		device.Pointer(s.keys), device.Pointer(s.values), s.column(c.Weight), s.column(c.Keys), s.column(c.Values),
		number(f.Into), number(size), s.shift(), number(s.maxBlocks), device.F32(s.cfg.DType.Max()),
	}
	return s.launch("edits.ptx", s.typed("fold"), device.Dim{X: s.heads(), Y: 1, Z: 1}, threads(size/4, 256), 0, append(args, scales...)...)
}

// headScales returns k_scale and v_scale of the layers of all heads, as arguments of a kernel that runs on
// all layers at once; nothing unless the cache is fp8, like [state.scales].
func (s *state) headScales() ([]device.Arg, error) {
	if s.cfg.DType.Size() > 1 {
		return nil, nil
	}
	k, v := make([]float32, s.heads()), make([]float32, s.heads())
	for i := range k {
		k[i], v[i] = s.cfg.KVScale.Of(i / s.cfg.Shape.KVHeads)
	}
	kOn, err := upload(s, "k scales", k)
	if err != nil {
		return nil, err
	}
	vOn, err := upload(s, "v scales", v)
	return []device.Arg{device.Pointer(kOn), device.Pointer(vOn)}, err
}

// hide hides the KVs of a decision and the oldest of the window, and makes all others visible.
func (s *state) hide(row int, d decision, h *ref.Hiding) error {
	return s.launch("edits.ptx", "hide_kvs", device.Dim{X: s.heads(), Y: 1, Z: 1}, threads(d.longest, 256), 0,
		device.Pointer(d.list), device.Pointer(d.offsets), device.Pointer(d.kvs),
		device.Pointer(s.lengthsOf(row)), device.Pointer(s.tablesOf(row)), s.column(s.reads.hidden),
		number(h.Window), number(h.Also), s.shift(), number(s.maxBlocks))
}

// hideTokens hides the batch's new KVs in one layer for which which, [batch, H], is 1.
func (s *state) hideTokens(b batch, layer int, which []int32) error {
	on, err := upload(s, "hidden tokens", which)
	if err != nil {
		return err
	}
	block := threads(len(which), 256)
	return s.launch("edits.ptx", "hide_tokens", blocks(len(which), block), block, 0,
		device.Pointer(b.rows), device.Pointer(s.layerTables(0, layer)), device.Pointer(s.layerLengths(layer)),
		device.Pointer(on), s.column(s.reads.hidden),
		number(b.n), number(s.cfg.Shape.KVHeads), number(s.heads()), s.shift(), number(s.maxBlocks))
}
