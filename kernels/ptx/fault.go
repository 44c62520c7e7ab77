package ptx

import (
	"fmt"
	"math/bits"
)

// Errors and their places.

// thread returns a lane's coordinates in its block.
func (w *warp) thread(lane int) [3]int { return w.block.launch.thread(w.index, lane) }

func (l *launch) thread(warp, lane int) [3]int {
	d := l.block
	t := warp*warpSize + lane
	return [3]int{t % d[0], t / d[0] % d[1], t / (d[0] * d[1])}
}

// report starts a report about the first lane of mask.
func (w *warp) report(kind Kind, in *instr, mask uint32) *Report {
	l := w.block.launch
	r := &Report{Kind: kind, Kernel: l.entry.fn.name}
	r.Access = w.accessOf(in, bits.TrailingZeros32(mask|1<<31))
	return r
}

// accessOf returns which thread executes an instruction, and the instruction's place.
func (w *warp) accessOf(in *instr, lane int) Access {
	return w.block.launch.entry.accessOf(in, w.block.index, w.thread(lane))
}

func (e *entry) accessOf(in *instr, block, thread [3]int) Access {
	m := e.program.module
	return Access{
		Block: block, Thread: thread,
		Op: in.op, File: m.files[in.loc.file], Line: in.loc.line,
		PTX: m.name, PTXLine: int(in.line),
	}
}

// errorf returns an error of the kernel that is not a checker's report.
func (w *warp) errorf(in *instr, mask uint32, format string, args ...any) error {
	a := w.accessOf(in, bits.TrailingZeros32(mask|1<<31))
	return fmt.Errorf("ptx: %s: block %s thread %s: %s: %s: %s", w.block.launch.entry.fn.name,
		coordinates(a.Block), coordinates(a.Thread), a.place(), a.Op, fmt.Sprintf(format, args...))
}
