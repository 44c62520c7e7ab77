package kernels

import (
	"math"

	"kvcompress/kernels/device"
)

// storePrompt stores the keys and values of one layer of a prompt of n tokens in the KV heads of a row, whose
// tables and lengths are set. k and v are [n, H, D] float32 on the device. Positions are 0 to n-1; columns
// get their initial values.
func (s *state) storePrompt(row, layer, n int, k, v device.Ptr) error {
	h, d := s.cfg.Shape.KVHeads, s.cfg.Shape.HeadSize
	block := threads(n*h*d/8, 256)
	tables := device.Pointer(s.layerTables(row, layer))
	zeroed, others := s.entering()
	args := []device.Arg{
		device.Pointer(k), device.Pointer(v), tables,
		device.Pointer(s.keys), device.Pointer(s.values), device.Pointer(zeroed), device.Pointer(s.positions),
		number(n), number(h), number(d / 8), s.shift(), number(s.maxBlocks),
	}
	if err := s.launch("append.ptx", s.typed("append_prompt"), blocks(n*h*d/8, block), block, 0,
		append(args, s.scales(layer)...)...); err != nil {
		return err
	}
	each := threads(n*h, 256)
	for _, i := range others {
		if err := s.launch("append.ptx", "fill_prompt", blocks(n*h, each), each, 0,
			tables, device.Pointer(s.data[i]), number(n), number(h),
			number(s.columns[i].Width), device.F32(s.columns[i].Initial), s.shift(), number(s.maxBlocks)); err != nil {
			return err
		}
	}
	return nil
}

// entering returns the column that the kernels which store KVs set to 0, and the other columns, each of which
// needs a separate kernel. zeroed is the first column of width 1 with initial value 0; 0 if there is none.
func (s *state) entering() (zeroed device.Ptr, others []int) {
	for i, c := range s.columns {
		if zeroed == 0 && c.Width == 1 && math.Float32bits(c.Initial) == 0 {
			zeroed = s.data[i]
		} else {
			others = append(others, i)
		}
	}
	return zeroed, others
}

// storeTokens stores the key and value of the batch's new token in one layer, as the last KV of each head. k
// and v are [batch, H, D] float32 on the device. Room has been made, and lengths include the token. Columns
// get their initial values.
func (s *state) storeTokens(b batch, layer int, k, v device.Ptr) error {
	h, d := s.cfg.Shape.KVHeads, s.cfg.Shape.HeadSize
	block := threads(b.n*h*d/8, 256)
	tables, lengths := device.Pointer(s.layerTables(0, layer)), device.Pointer(s.layerLengths(layer))
	zeroed, others := s.entering()
	args := []device.Arg{
		device.Pointer(k), device.Pointer(v), device.Pointer(b.rows), device.Pointer(b.positions), tables, lengths,
		device.Pointer(s.keys), device.Pointer(s.values), device.Pointer(zeroed), device.Pointer(s.positions),
		number(b.n), number(h), number(s.heads()), number(d / 8), s.shift(), number(s.maxBlocks),
	}
	if err := s.launch("append.ptx", s.typed("append_tokens"), blocks(b.n*h*d/8, block), block, 0,
		append(args, s.scales(layer)...)...); err != nil {
		return err
	}
	each := threads(b.n*h, 256)
	for _, i := range others {
		if err := s.launch("append.ptx", "fill_tokens", blocks(b.n*h, each), each, 0,
			device.Pointer(b.rows), tables, lengths, device.Pointer(s.data[i]),
			number(b.n), number(h), number(s.heads()),
			number(s.columns[i].Width), device.F32(s.columns[i].Initial), s.shift(), number(s.maxBlocks)); err != nil {
			return err
		}
	}
	return nil
}

// scales returns k_scale and v_scale of a layer, the last arguments of the kernels for an fp8 cache. The
// kernels for other formats do not have them.
func (s *state) scales(layer int) []device.Arg {
	if s.cfg.DType.Size() > 1 {
		return nil
	}
	k, v := s.cfg.KVScale.Of(layer)
	return []device.Arg{device.F32(k), device.F32(v)}
}

// layerTables returns where the block tables of a layer's heads begin in a row.
func (s *state) layerTables(row, layer int) device.Ptr {
	return s.tablesOf(row) + device.Ptr(4*layer*s.cfg.Shape.KVHeads*s.maxBlocks)
}

// layerLengths returns where the lengths of a layer's heads begin in row 0.
func (s *state) layerLengths(layer int) device.Ptr {
	return s.lengths + device.Ptr(4*layer*s.cfg.Shape.KVHeads)
}

// number returns an integer argument.
func number(n int) device.Arg { return device.I32(int32(n)) }

// flag returns an argument that is 1 or 0.
func flag(on bool) device.Arg {
	if on {
		return device.I32(1)
	}
	return device.I32(0)
}
