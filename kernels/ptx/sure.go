package ptx

// Registers that are surely defined. Of most instructions every source was written before
// in the same basic block, by whoever executes it. While nothing undefined is about in a
// warp, such instructions need not be followed (used.go), nor need it be noted that what
// they write is defined, where all that read it are such instructions too: its register
// counts as defined from the start.

// blockStarts returns where basic blocks begin.
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

// findSure finds the instructions that need not be followed, and the registers of which it
// counts where they were written: those that an instruction reads that was not written in
// its block before.
func findSure(e *entry, starts []bool) {
	written := make([]int, len(e.regs)) // in which block last, by a register's number, from 1 on
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
