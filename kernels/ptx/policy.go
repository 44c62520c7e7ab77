package ptx

// Cache policies (PTX ISA §9.7.9.18). They do not change what an access does, so all of them are the same
// value here.

// decodeCreatepolicy decodes createpolicy.
func decodeCreatepolicy(d *decoder) error {
	how := d.takeOne("fractional", "range", "cvt")
	d.takeOne("global")
	for d.takeOne("L2::evict_last", "L2::evict_normal", "L2::evict_first", "L2::evict_unchanged", "L2") >= 0 {
	}
	ops := d.s.operands
	if how < 0 || !d.take("b64") || len(ops) == 0 {
		return d.unsupported()
	}
	var err error
	for i, o := range ops[1:] {
		switch {
		case how == 0 && i == 0:
			_, err = d.src(o, f32)
		case how == 1 && i == 0:
			err = d.address(o, &memOp{space: spaceGlobal})
		case how == 1 && i < 3:
			_, err = d.src(o, b32)
		case how == 2 && i == 0:
			_, err = d.src(o, b64)
		default:
			return d.errorf("%s: wrong number of operands", d.in.op)
		}
		if err != nil {
			return err
		}
	}
	if d.in.d, err = d.dst(ops[0], b64); err != nil {
		return err
	}
	d.in.a, d.in.imm = d.constant(0, 8, nil, false), 0
	d.in.kind, d.in.alu, d.in.dbytes = kindALU, copyOf(64), 8
	return d.push()
}

// dropPolicy removes the last operand of an access with .L2::cache_hint.
func (d *decoder) dropPolicy() error {
	if !d.take("L2::cache_hint") {
		return nil
	}
	n := len(d.s.operands) - 1
	if n < 0 {
		return d.errorf("%s has no operands", d.in.op)
	}
	first := len(d.in.uses)
	if _, err := d.src(d.s.operands[n], b64); err != nil {
		return err
	}
	d.need(first, "the cache policy")
	without := *d.s
	without.operands = without.operands[:n]
	d.s = &without
	return nil
}
