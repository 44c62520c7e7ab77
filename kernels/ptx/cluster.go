package ptx

import (
	"fmt"
	"math/bits"
)

// Clusters (PTX ISA §2.2.3). Every cluster has one block here, as in a launch that asks for none. So the shared memory
// of the cluster is the block's, at the same addresses, and barrier.cluster is a barrier of the block whose arrival
// and wait are two instructions. The lanes of a warp arrive together with .aligned, else also one by one; they always wait together.

// clusterBarrier is the state of a block's barrier.cluster.
type clusterBarrier struct {
	arrived uint32 // the warps of which lanes have arrived in the current phase
	phase   int    // the number of complete phases
}

// atCluster is the number that a warp waits at in barrier.cluster.wait, after those of the block's other barriers.
const atCluster = maxBarriers

// decodeClusterBarrier decodes barrier.cluster, of which these words have been read.
func (d *decoder) decodeClusterBarrier() error {
	op := &barOp{kind: barClusterArrive}
	switch d.takeOne("arrive", "wait") {
	case 0:
		op.relaxed = d.takeOne("release", "relaxed") == 1
	case 1:
		op.kind = barClusterWait
		d.take("acquire")
	default:
		return d.unsupported()
	}
	op.aligned = d.take("aligned")
	if _, err := d.operands(0); err != nil {
		return err
	}
	d.e.clusters = true
	d.in.bar, d.in.kind = op, kindBarrier
	return d.push()
}

// clusterBarrier executes barrier.cluster; it reports whether the warp has to wait.
func (w *warp) clusterBarrier(in *instr, mask uint32) (bool, error) {
	b, c := w.block, w.block.launch.checks
	if in.bar.kind == barClusterArrive {
		if w.clusterLanes&mask != 0 {
			return false, w.errorf(in, mask, "arrives again without barrier.cluster.wait")
		}
		w.clusterPhase = b.cluster.phase + 1
		w.clusterLanes |= mask
		b.cluster.arrived |= 1 << w.index
		if c != nil {
			c.clusterArrive(w, in.bar.relaxed)
		}
		return false, nil
	}
	switch {
	case mask&^w.clusterLanes != 0:
		return false, w.errorf(in, mask, "waits without barrier.cluster.arrive")
	case b.cluster.phase < w.clusterPhase:
		w.waiting = atCluster
		return true, nil
	}
	w.passCluster()
	return false, nil
}

// passCluster lets a warp go on after its wait.
func (w *warp) passCluster() {
	w.clusterPhase, w.clusterLanes = 0, 0
	if c := w.block.launch.checks; c != nil {
		c.clusterWait(w)
	}
}

// inCluster reports whether all lanes of a warp that have not exited have arrived in the current phase.
func (w *warp) inCluster() bool {
	return w.clusterPhase == w.block.cluster.phase+1 && w.live&^w.clusterLanes == 0
}

// releaseCluster completes the phase if every warp has arrived or exited. Warps that wait at barrier.cluster then go on.
func (b *block) releaseCluster() {
	if b.cluster.arrived == 0 {
		return
	}
	for i := range b.warps {
		if w := &b.warps[i]; w.live != 0 && !w.inCluster() {
			return
		}
	}
	b.cluster = clusterBarrier{phase: b.cluster.phase + 1}
	if c := b.launch.checks; c != nil {
		c.clusterPhase()
	}
	for i := range b.warps {
		if w := &b.warps[i]; w.waiting == atCluster {
			w.waiting = -1
			w.passCluster()
		}
	}
}

// barrierName names the barrier that the warp waits at.
func (w *warp) barrierName() string {
	if w.waiting == atCluster {
		return "barrier.cluster"
	}
	return fmt.Sprintf("barrier %d", w.waiting)
}

// stuckInCluster describes a warp that waits for ever.
func (b *block) stuckInCluster() string {
	waits, arrived := 0, 0
	for i := range b.warps {
		if b.warps[i].live != 0 {
			waits++
			if b.warps[i].inCluster() {
				arrived++
			}
		}
	}
	return fmt.Sprintf("barrier.cluster waits for %d warps; %d have arrived, and no other can (%d of %d warps have exited)",
		waits, arrived, len(b.warps)-waits, len(b.warps))
}

// clusterArrive records a warp's barrier.cluster.arrive: a relaxed one releases what was before the warp's last
// fence. A fence of some lanes counts as one of the warp.
func (c *checks) clusterArrive(w *warp, relaxed bool) {
	if c.races == nil {
		return
	}
	list := &c.arrivals[atCluster]
	if !relaxed {
		c.races.catchUp(c.shared.races)
		*list = append(*list, c.races.arrive(w.index))
	} else if at := c.fenced[w.index]; at != nil {
		*list = append(*list, *at)
	}
}

// clusterFence records a warp's fence for a later relaxed arrival.
func (c *checks) clusterFence(w *warp) {
	c.races.catchUp(c.shared.races)
	at := c.races.arrive(w.index)
	c.fenced[w.index] = &at
}

// clusterPhase records the end of a phase.
func (c *checks) clusterPhase() {
	c.released, c.arrivals[atCluster] = c.arrivals[atCluster], nil
}

// clusterWait orders a warp after the arrivals of the phase that it has waited for.
func (c *checks) clusterWait(w *warp) {
	if c.races != nil {
		c.races.catchUp(c.shared.races)
		c.races.partBarrier(1<<w.index, c.released)
	}
}

// clusterAddress takes the modifiers of mapa and getctarank, which are the address's space and its type, and returns the
// type and n operands.
func (d *decoder) clusterAddress(n int) (typ, []operand, error) {
	d.take("shared::cluster")
	t, err := d.takeType()
	if err != nil {
		return t, nil, err
	}
	if t != u32 && t != u64 {
		return t, nil, d.unsupported()
	}
	ops, err := d.operands(n)
	return t, ops, err
}

// decodeMapa decodes mapa: the address in a block of the cluster.
func decodeMapa(d *decoder) error {
	t, ops, err := d.clusterAddress(3)
	if err != nil {
		return err
	}
	if d.in.b, err = d.src(ops[2], u32); err != nil {
		return err
	}
	d.need(0, "the rank in the cluster")
	if d.in.a, err = d.src(ops[1], t); err != nil {
		return err
	}
	if d.in.d, err = d.dst(ops[0], t); err != nil {
		return err
	}
	d.in.dbytes = uint8(t.bytes())
	d.in.kind, d.in.run = kindRun, mapa
	return d.push()
}

func mapa(w *warp, in *instr, mask uint32) error {
	for rest := mask; rest != 0; rest &= rest - 1 {
		lane := bits.TrailingZeros32(rest) & 31
		if rank := row[uint32](w.regs, in.b)[lane]; rank != 0 {
			return w.errorf(in, 1<<lane, "block %d of the cluster, which has one block here", rank)
		}
		w.setLane(in.d, in.dbytes, lane, w.lane(in.a, in.dbytes, lane))
	}
	return nil
}

// decodeGetctarank decodes getctarank, the rank of the block with an address in the cluster: 0.
func decodeGetctarank(d *decoder) error {
	t, ops, err := d.clusterAddress(2)
	if err != nil {
		return err
	}
	if _, err = d.src(ops[1], t); err != nil {
		return err
	}
	d.need(0, "the address")
	if d.in.d, err = d.dst(ops[0], u32); err != nil {
		return err
	}
	d.in.a = d.constant(0, 4, nil, false)
	d.in.kind, d.in.alu, d.in.dbytes = kindALU, copyOf(32), 4
	return d.push()
}
