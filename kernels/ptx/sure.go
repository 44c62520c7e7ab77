package ptx

// Instructions whose sources are certainly defined. Most instructions read only registers that the same lanes
// wrote before in the same basic block. As long as nothing undefined is in use in a warp, such instructions
// need not be tracked (used.go). If a register is read only by such instructions, its writes need not be
// recorded either: it counts as defined from the start.

// blockStarts returns, for each instruction, whether a basic block begins there.
func blockStarts(code []instr) []bool {
	starts := make([]bool, len(code)+1)
	mark := func(at int32) {
		if at >= 0 && int(at) < len(starts) {
			starts[at] = true
		}
	}
	for i := range code {
		in := &code[i]
		switch in.kind {
		case kindBranch, kindBrx, kindCall, kindRet, kindExit:
			mark(in.target)
			mark(in.rpc)
			for _, t := range in.table {
				mark(t)
			}
			mark(int32(i) + 1)
		}
	}
	return starts
}

// findSure finds the instructions that need not be tracked, and the registers whose writes must be recorded:
// those that some instruction reads without a preceding write in its basic block.
func findSure(e *entry, starts []bool) {
	written := make([]int, len(e.regs)) // number of the block that last wrote each register, from 1
	block := 0
	local := func(r uint32) bool { return written[r] == block }
	reads := func(in *instr, each func(r uint32)) {
		if in.guard >= 0 {
			each(in.guardReg)
		}
		for _, r := range in.uses {
			each(r)
		}
	}
	e.initial = make([]uint32, len(e.regs))
	for r := range e.initial {
		e.initial[r] = allLanes
	}
	walk := func(each func(in *instr)) {
		clear(written)
		block = 0
		for i := range e.code {
			if starts[i] || i == 0 {
				block++
			}
			in := &e.code[i]
			each(in)
			if in.guard < 0 {
				for _, r := range in.defs {
					written[r] = block
				}
			}
		}
	}
	walk(func(in *instr) {
		reads(in, func(r uint32) {
			if !local(r) {
				e.initial[r] = 0
			}
		})
	})
	walk(func(in *instr) {
		in.sure = true
		reads(in, func(r uint32) { in.sure = in.sure && local(r) })
		for _, r := range in.defs {
			in.sure = in.sure && e.initial[r] != 0
		}
	})
}
