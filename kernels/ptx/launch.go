package ptx

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"unsafe"

	"kvcompress/internal/ceil"
	"kvcompress/kernels/device"
)

// Limits of a launch, those of compute capability 8.0 to 9.0 (CUDA C++ Programming Guide, "Technical
// Specifications per Compute Capability").
const (
	maxThreads      = 1024
	maxBlockZ       = 64
	maxGridX        = math.MaxInt32
	maxGridYZ       = 65535
	maxStaticShared = 48 << 10
	maxShared       = 227 << 10
	maxBarriers     = 16
	maxParams       = 32764
	maxLocal        = 512 << 10
)

// blockCost is charged to the budget for each block, in addition to its instructions.
const blockCost = 8

// errStopped ends a launch whose context is done.
var errStopped = errors.New("stopped")

// launch is one run of a kernel.
type launch struct {
	device *Device
	loaded *loadedModule
	entry  *entry
	grid   [3]int
	block  [3]int
	shared int // dynamic bytes
	params []byte
	origin []*allocation // indexed by memOp.origin
	points []bool        // by memOp.origin: an origin points to global memory, or none is known
	bounds []bound       // by memOp.bound
	budget int64
	done   <-chan struct{} // of the launch's context
	checks *checks         // nil: no checks

	cooperative bool
	workspace   uint64 // address of the memory by which the blocks of a cooperative launch synchronize

	followed  bool   // undefined registers are tracked
	covered   []hits // by index in the code; nil: coverage is off
	checkSync bool
	rng       *rand.Rand // of a shuffled launch; else nil

	warps []warp // of the running block, reused for the next
	smem  []byte
	clock uint64
	watch watch

	storeBytes uint64 // of all blocks' pending bulk copies to global memory

	printed  int // bytes printed
	findings findings
}

// block is a running block.
type block struct {
	launch   *launch
	index    [3]int
	linear   uint64 // its linear index in the grid
	warps    []warp
	shared   []byte
	barriers [maxBarriers]barrierState
	cluster  clusterBarrier
	threads  int
	order    [maxThreads / warpSize]int // order of the warps' turns

	bulk     []bulkCopy     // pending bulk copies
	stores   []bulkStore    // pending bulk copies to global memory, in order
	trailing []asyncArrival // pending cp.async.mbarrier.arrive, in order

	begun  bool        // in a cooperative launch
	checks blockChecks // of a block that waits for its turn
}

// kernel implements device.Kernel.
type kernel struct {
	device      *Device
	loaded      *loadedModule
	entry       *entry
	cooperative bool // its launches are cooperative
}

// Launch runs the kernel to its end. The error says which thread failed and where.
func (k *kernel) Launch(ctx context.Context, grid, block device.Dim, shared int, args ...device.Arg) error {
	return k.launch(ctx, grid, block, shared, wordArgs(args))
}

// launch runs the kernel with either form of arguments.
func (k *kernel) launch(ctx context.Context, grid, block device.Dim, shared int, args arguments) error {
	if k.device.closed {
		return errClosed
	}
	e := k.entry
	l := &launch{
		done: ctx.Done(), device: k.device, loaded: k.loaded, entry: e,
		grid: [3]int{grid.X, grid.Y, grid.Z}, block: [3]int{block.X, block.Y, block.Z},
		shared: shared, budget: k.device.opt.Budget, cooperative: k.cooperative,
	}
	err := l.validate()
	if err == nil {
		err = args.validate(e.params)
	}
	if err != nil {
		return fmt.Errorf("ptx: %s: %w", e.fn.name, err)
	}
	l.params = make([]byte, max(e.paramSize, 8))
	for i, p := range e.params {
		args.put(l.params[p.off:p.off+p.size], i)
	}
	free, err := l.allocWorkspace()
	if err != nil {
		return fmt.Errorf("ptx: %s: %w", e.fn.name, err)
	}
	defer free()
	l.findOrigins()
	l.bounds = l.findBounds()
	if c := k.device.opt.Coverage; c != nil {
		l.covered = make([]hits, len(e.code))
		defer func() { c.add(e, l.covered) }()
	}
	err = l.outcome(k.device.run(l))
	if errors.Is(err, errStopped) {
		err = fmt.Errorf("%w: %w", err, ctx.Err())
	}
	return err
}

func (l *launch) validate() error {
	e := l.entry
	for i, limit := range [3]int{maxGridX, maxGridYZ, maxGridYZ} {
		if l.grid[i] < 1 || l.grid[i] > limit {
			return fmt.Errorf("grid %s: want dimensions from 1 to %d, %d and %d", coordinates(l.grid), maxGridX, maxGridYZ, maxGridYZ)
		}
	}
	for i, limit := range [3]int{maxThreads, maxThreads, maxBlockZ} {
		if l.block[i] < 1 || l.block[i] > limit {
			return fmt.Errorf("block %s: want dimensions from 1 to %d, %d and %d", coordinates(l.block), maxThreads, maxThreads, maxBlockZ)
		}
	}
	threads := l.threads()
	if threads > maxThreads {
		return fmt.Errorf("block %s has %d threads; the limit is %d", coordinates(l.block), threads, maxThreads)
	}
	if r := e.fn.reqntid; r[0] != 0 && r != l.block {
		return fmt.Errorf("block %s; the kernel requires %s (.reqntid)", coordinates(l.block), coordinates(r))
	}
	if m := e.fn.maxntid; m[0] != 0 && threads > m[0]*m[1]*m[2] {
		return fmt.Errorf("block %s has %d threads; the kernel allows %d (.maxntid)", coordinates(l.block), threads, m[0]*m[1]*m[2])
	}
	if l.shared < 0 || l.shared > maxShared || e.dynamicAt+l.shared > maxShared {
		return fmt.Errorf("%d bytes of static and %d of dynamic shared memory; the limit is %d", e.shared, l.shared, maxShared)
	}
	if need := int64(e.local) * int64(threads); need > l.device.opt.MemoryLimit {
		return fmt.Errorf("%d bytes of local memory for %d threads; the limit is %d", need, threads, l.device.opt.MemoryLimit)
	}
	return l.validateCooperative()
}

// blocks returns the number of blocks of the grid.
func (l *launch) blocks() uint64 { return uint64(l.grid[0]) * uint64(l.grid[1]) * uint64(l.grid[2]) }

// threads returns the number of threads per block.
func (l *launch) threads() int { return l.block[0] * l.block[1] * l.block[2] }

func (l *launch) warpsOfBlock() int { return ceil.Div(l.threads(), warpSize) }

// indexOf returns the index in the grid of the block with a linear index.
func (l *launch) indexOf(block uint64) [3]int {
	x, y := uint64(l.grid[0]), uint64(l.grid[1])
	return [3]int{int(block % x), int(block / x % y), int(block / (x * y))}
}

// newBlock returns a block of the grid, without memory.
func (l *launch) newBlock(number uint64) *block {
	return &block{launch: l, linear: number, index: l.indexOf(number), threads: l.threads()}
}

// run executes the blocks: one after another, or in turns if the launch is cooperative.
func (d *Device) run(l *launch) error {
	e := l.entry
	l.smem = aligned(e.dynamicAt + l.shared)
	l.warps = d.warpsFor(l, l.warpsOfBlock())
	l.start()
	total, number := l.blocks(), func(i uint64) uint64 { return i }
	if d.opt.Shuffle != 0 {
		d.launches++
		l.rng = rand.New(rand.NewPCG(d.opt.Shuffle, d.launches))
		number = newPermutation(total, l.rng).at
	}
	if l.cooperative {
		return l.runTogether(number)
	}
	b := l.newBlock(0)
	b.warps, b.shared = l.warps, l.smem
	for i := range total {
		b.linear = number(i)
		b.index = l.indexOf(b.linear)
		if err := b.run(); err != nil && err != errEndBlock {
			return err
		}
	}
	return nil
}

// start prepares the checkers.
func (l *launch) start() {
	on := l.device.opt.Checks
	l.followed, l.checkSync = on.Registers || on.Uninit, on.Sync
	if l.device.checks != nil {
		l.checks = l.device.checks
		l.checks.begin(l)
	}
}

// warpsFor returns n warps whose register files have the constants set. It reuses those of the kernel's last
// launch if they are enough.
func (d *Device) warpsFor(l *launch, n int) []warp {
	warps := l.loaded.warps[l.entry]
	if len(warps) < n {
		warps = newWarps(l, n)
		l.loaded.warps[l.entry] = warps
	}
	warps = warps[:n]
	for i := range warps {
		warps[i].fill(l)
	}
	return warps
}

// newWarps returns n warps with register files whose constants are set.
func newWarps(l *launch, n int) []warp {
	e := l.entry
	warps := make([]warp, n)
	words := int(e.regBytes+127)/128*16 + 16
	for i := range warps {
		w := &warps[i]
		w.index = i
		w.file = make([]uint64, words)
		w.regs = unsafe.Pointer(&w.file[0])
		if off := uintptr(w.regs) & 63; off != 0 {
			w.regs = unsafe.Add(w.regs, 64-off)
		}
		w.preds = make([]uint32, e.preds)
		if e.predTrue >= 0 {
			w.preds[e.predTrue] = allLanes
		}
		w.init = make([]uint32, len(e.regNames))
		w.local = aligned(e.local * warpSize)
		w.access.w = w
		w.known = make([]knownRow, e.known)
		for _, c := range e.consts {
			v := c.value
			if c.sym != nil {
				v += l.loaded.address(c.sym, c.gen)
			}
			for lane := range warpSize {
				w.setLane(c.off, c.bytes, lane, v)
			}
		}
	}
	return warps
}

// run executes one block.
func (b *block) run() error {
	b.begin()
	b.launch.watch = watch{}
	for {
		more, err := b.turn()
		switch {
		case err != nil:
			return err
		case !more:
			return b.end()
		case b.launch.watch.endTurns():
			return b.launch.deadlock([]*block{b})
		}
	}
}

// begin prepares the block to run.
func (b *block) begin() {
	l := b.launch
	l.budget -= blockCost
	for i := range b.barriers {
		b.barriers[i] = barrierState{}
	}
	clear(b.shared)
	b.bulk, b.stores, b.trailing, b.cluster = nil, nil, nil, clusterBarrier{}
	for i := range b.warps {
		b.warps[i].begin(b)
		b.order[i] = i
	}
	if l.checks != nil {
		l.checks.beginBlock(b)
	}
}

// turn gives each warp its turn, and reports whether any warp could run.
func (b *block) turn() (more bool, err error) {
	l, order := b.launch, b.order[:len(b.warps)]
	if rng := l.rng; rng != nil {
		rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	}
	for _, i := range order {
		w := &b.warps[i]
		if w.live == 0 || w.waiting >= 0 {
			continue
		}
		more = true
		if err := w.take(); err != nil && err != errYield {
			return false, err
		}
		if l.budget <= 0 {
			return false, b.endless(w)
		}
		select {
		case <-l.done:
			return false, fmt.Errorf("ptx: %s: block %s: %w", l.entry.fn.name, coordinates(b.index), errStopped)
		default:
		}
		if err := b.release(); err != nil {
			return false, err
		}
	}
	return more, nil
}

// endless returns the error of a launch that has used up its budget while warp w ran.
func (b *block) endless(w *warp) error {
	l := b.launch
	text := fmt.Sprintf("ptx: %s: block %s: more than %d instructions of a warp: an endless loop? (--budget; in Go, Options.Budget)",
		l.entry.fn.name, coordinates(b.index), l.device.opt.Budget)
	if code := l.entry.code; w.live != 0 && int(w.pc) < len(code) {
		at := w.accessOf(&code[w.pc], bits.TrailingZeros32(w.active|1<<31))
		text += fmt.Sprintf("; thread %s was at %s", coordinates(at.Thread), at.place())
	}
	return errors.New(text + l.laterBlock())
}

// laterBlock is advice for a block that waits.
func (l *launch) laterBlock() string {
	if l.blocks() == 1 || l.cooperative {
		return ""
	}
	return "; if it waits for a later block, the launch has to be cooperative" + howCooperative + ": in any other one block runs after another"
}

// end ends the block when no warp can run any more: it reports the warps that have not exited.
func (b *block) end() error {
	for i := range b.warps {
		if w := &b.warps[i]; w.live != 0 {
			return b.launch.foundFatal(b.stuck(w))
		}
	}
	return b.endStores()
}

// begin prepares the warp for a block.
func (w *warp) begin(b *block) {
	w.block = b
	l := b.launch
	w.pc, w.rpc, w.stack, w.calls, w.waiting, w.cc, w.clusterPhase, w.clusterLanes = 0, -1, w.stack[:0], 0, -1, 0, 0, 0
	w.live = allLanes
	if rest := b.threads - w.index*warpSize; rest < warpSize {
		w.live = 1<<rest - 1
	}
	w.active, w.polls = w.live, 0
	w.forgetCopies()
	if l.followed {
		w.undefinedAbout, w.undefStored = false, 0
		w.undef.reset()
		if copy(w.init, l.entry.initial); !l.device.opt.Checks.Registers { // only values loaded from memory can be undefined
			for r := range w.init {
				w.init[r] = allLanes
			}
		}
	}
	for _, s := range l.entry.specials {
		if s.reg.ofBlock() {
			s.reg.fill(w, l, s.off)
		}
	}
}

// fill sets the special registers that are the same for all blocks of a launch.
func (w *warp) fill(l *launch) {
	for _, s := range l.entry.specials {
		if !s.reg.ofBlock() {
			s.reg.fill(w, l, s.off)
		}
	}
}
