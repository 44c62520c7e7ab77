package ptx

import "unsafe"

// specialReg is a special register (PTX ISA §10).
type specialReg uint8

const (
	regTidX specialReg = iota
	regTidY
	regTidZ
	regNtidX
	regNtidY
	regNtidZ
	regCtaidX
	regCtaidY
	regCtaidZ
	regNctaidX
	regNctaidY
	regNctaidZ
	regLaneid
	regWarpid
	regNwarpid
	regSmid
	regNsmid
	regGridid
	regMaskEq
	regMaskLe
	regMaskLt
	regMaskGe
	regMaskGt
	regEnvreg1
	regEnvreg2
	regDynamicShared
	regTotalShared
	regClusterRank // in a cluster, of one block: 0
	regClusterSize // 1
	regClock
	regClockHi
	regClock64
	regGlobaltimer
	regGlobaltimerLo
	regGlobaltimerHi
)

var specialRegs = map[string]specialReg{
	"%tid.x": regTidX, "%tid.y": regTidY, "%tid.z": regTidZ,
	"%ntid.x": regNtidX, "%ntid.y": regNtidY, "%ntid.z": regNtidZ,
	"%ctaid.x": regCtaidX, "%ctaid.y": regCtaidY, "%ctaid.z": regCtaidZ,
	"%nctaid.x": regNctaidX, "%nctaid.y": regNctaidY, "%nctaid.z": regNctaidZ,
	"%laneid": regLaneid, "%warpid": regWarpid, "%nwarpid": regNwarpid,
	"%smid": regSmid, "%nsmid": regNsmid, "%gridid": regGridid,
	"%lanemask_eq": regMaskEq, "%lanemask_le": regMaskLe, "%lanemask_lt": regMaskLt,
	"%lanemask_ge": regMaskGe, "%lanemask_gt": regMaskGt,
	"%envreg1": regEnvreg1, "%envreg2": regEnvreg2,
	"%dynamic_smem_size": regDynamicShared, "%total_smem_size": regTotalShared,
	"%clusterid.x": regCtaidX, "%clusterid.y": regCtaidY, "%clusterid.z": regCtaidZ,
	"%nclusterid.x": regNctaidX, "%nclusterid.y": regNctaidY, "%nclusterid.z": regNctaidZ,
	"%cluster_ctaid.x": regClusterRank, "%cluster_ctaid.y": regClusterRank, "%cluster_ctaid.z": regClusterRank, "%cluster_ctarank": regClusterRank,
	"%cluster_nctaid.x": regClusterSize, "%cluster_nctaid.y": regClusterSize, "%cluster_nctaid.z": regClusterSize, "%cluster_nctarank": regClusterSize,
	"%clock": regClock, "%clock_hi": regClockHi, "%clock64": regClock64,
	"%globaltimer": regGlobaltimer, "%globaltimer_lo": regGlobaltimerLo, "%globaltimer_hi": regGlobaltimerHi,
}

func (r specialReg) bytes() uint8 {
	if r == regClock64 || r == regGlobaltimer || r == regGridid {
		return 8
	}
	return 4
}

// ticks reports whether the register changes while the warp runs: then an instruction reads it, and it has no
// row.
func (r specialReg) ticks() bool { return r >= regClock }

// ofBlock reports whether the register differs between blocks.
func (r specialReg) ofBlock() bool { return r >= regCtaidX && r <= regCtaidZ }

// fill sets the row of a special register.
func (r specialReg) fill(w *warp, l *launch, off uint32) {
	if r.bytes() == 8 { // gridid
		d := row[uint64](w.regs, off)
		for i := range d {
			d[i] = l.device.launches
		}
		return
	}
	d := row[uint32](w.regs, off)
	switch {
	case r <= regTidZ:
		for i := range d {
			d[i] = uint32(l.thread(w.index, i)[r-regTidX])
		}
		return
	case r >= regMaskEq && r <= regMaskGt || r == regLaneid:
		for i := range d {
			bit := uint32(1) << i
			switch r {
			case regLaneid:
				d[i] = uint32(i)
			case regMaskEq:
				d[i] = bit
			case regMaskLe:
				d[i] = bit | (bit - 1)
			case regMaskLt:
				d[i] = bit - 1
			case regMaskGe:
				d[i] = -bit
			case regMaskGt:
				d[i] = -bit &^ bit
			}
		}
		return
	}
	var v int
	switch r {
	case regEnvreg1:
		v = int(l.workspace >> 32)
	case regEnvreg2:
		v = int(uint32(l.workspace))
	case regNtidX, regNtidY, regNtidZ:
		v = l.block[r-regNtidX]
	case regCtaidX, regCtaidY, regCtaidZ:
		v = w.block.index[r-regCtaidX]
	case regNctaidX, regNctaidY, regNctaidZ:
		v = l.grid[r-regNctaidX]
	case regWarpid:
		v = w.index
	case regNwarpid:
		v = l.warpsOfBlock()
	case regNsmid, regClusterSize:
		v = 1
	case regDynamicShared:
		v = l.shared
	case regTotalShared:
		v = l.entry.dynamicAt + l.shared
	}
	for i := range d {
		d[i] = uint32(v)
	}
}

// readClock reads a clock: the number of instructions executed by the launch's warps so far, which is the
// same in every run.
func readClock(p unsafe.Pointer, w *warp, in *instr) {
	l := w.block.launch
	l.clock++
	v := uint64(l.device.opt.Budget-l.budget) + l.clock
	switch specialReg(in.imm) {
	case regClockHi, regGlobaltimerHi:
		v >>= 32
	}
	if in.dbytes == 8 {
		d := (*[warpSize]uint64)(p)
		for i := range d {
			d[i] = v
		}
		return
	}
	d := (*[warpSize]uint32)(p)
	for i := range d {
		d[i] = uint32(v)
	}
}
