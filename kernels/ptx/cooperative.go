package ptx

import (
	"encoding/binary"
	"errors"
	"fmt"

	"kvcompress/kernels/device"
)

// Cooperative launches (CUDA C++ Programming Guide, "Grid Synchronization"): all blocks of the grid are
// resident together, so one may wait for another. They take turns. In a turn each warp executes at most a
// quantum of instructions, and fewer if it may be waiting for another block: its turn ends after some strong
// accesses to memory.

// The limits of the blocks that can be resident together: those of a GPU of compute capability 9.0 with 132
// multiprocessors, as an H100 and an H200 have (CUDA C++ Programming Guide, "Technical Specifications per
// Compute Capability"; the system uses 1 KiB of shared memory per block). Registers, which ptxas assigns, are
// not counted.
const (
	multiprocessors   = 132
	residentBlocks    = 32 // per multiprocessor
	residentWarps     = 64
	residentShared    = 228 << 10
	sharedOfTheSystem = 1 << 10
)

// workspaceSize is the size in bytes of a grid's workspace: a 4-byte size and a 4-byte barrier.
const workspaceSize = 8

// howCooperative says how a launch is made cooperative.
const howCooperative = " (device.CooperativeKernel; kvc ptx run --cooperative; launch … cooperative in a script)"

// maxPolls is the number of strong accesses after which a warp's turn ends.
const maxPolls int32 = 32

// errYield ends a warp's turn.
var errYield = errors.New("the turn ends")

// Cooperative returns the kernel for cooperative launches, as with
// cudaLaunchCooperativeKernel.
func (k *kernel) Cooperative() device.BytesKernel {
	c := *k
	c.cooperative = true
	return &c
}

var _ device.CooperativeKernel = (*kernel)(nil)

// validateCooperative checks that the blocks of a cooperative launch can be resident together, and that a
// kernel that needs a cooperative launch has one.
func (l *launch) validateCooperative() error {
	e := l.entry
	if !l.cooperative {
		if e.readsWorkspace() {
			return errors.New("it reads %envreg1 or %envreg2, where the driver puts the workspace of a grid whose blocks wait for each other " +
				"(cooperative groups' grid sync): the launch has to be cooperative" + howCooperative)
		}
		return nil
	}
	total, warps, shared := l.blocks(), l.warpsOfBlock(), e.dynamicAt+l.shared
	each := min(residentBlocks, residentWarps/warps, residentShared/(shared+sharedOfTheSystem))
	if most := uint64(each * multiprocessors); total > most {
		return fmt.Errorf("a cooperative launch of %d blocks: at most %d of %d threads and %d bytes of shared memory are resident together, %d on each of %d multiprocessors",
			total, most, l.threads(), shared, each, multiprocessors)
	}
	need := int64(total) * (int64(warps)*(int64(e.regBytes)+int64(e.local)*warpSize) + int64(shared))
	if need > l.device.opt.MemoryLimit {
		return fmt.Errorf("a cooperative launch of %d blocks, whose registers, local and shared memory have %d bytes; the limit is %d", total, need, l.device.opt.MemoryLimit)
	}
	return nil
}

// readsWorkspace reports whether the kernel reads the address of its grid's workspace.
func (e *entry) readsWorkspace() bool {
	for _, s := range e.specials {
		if s.reg == regEnvreg1 || s.reg == regEnvreg2 {
			return true
		}
	}
	return false
}

// allocWorkspace allocates the workspace of a cooperative launch if the kernel reads its address. Blocks
// synchronize by it. free frees it.
func (l *launch) allocWorkspace() (free func(), err error) {
	if !l.cooperative || !l.entry.readsWorkspace() {
		return func() {}, nil
	}
	d := l.device
	p, err := d.Alloc("the grid's workspace", workspaceSize)
	if err != nil {
		return nil, err
	}
	var image [workspaceSize]byte
	binary.LittleEndian.PutUint32(image[:], workspaceSize)
	if err := d.Write(p, image[:]); err != nil {
		return nil, err
	}
	l.workspace = uint64(p)
	return func() { d.mem.free(d.mem.find(uint64(p))) }, nil
}

// runTogether executes the blocks of a cooperative launch in turns.
func (l *launch) runTogether(number func(i uint64) uint64) error {
	blocks := make([]*block, l.blocks())
	for i := range blocks {
		blocks[i] = l.newBlock(number(uint64(i)))
	}
	blocks[0].warps, blocks[0].shared = l.warps, l.smem
	for len(blocks) > 0 {
		left := blocks[:0]
		for _, b := range blocks {
			more, err := l.takeTurn(b)
			switch {
			case err != nil:
				return l.together(b, err)
			case more:
				left = append(left, b)
			}
		}
		clear(blocks[len(left):])
		if blocks = left; len(blocks) > 0 && l.watch.endTurns() {
			return l.together(blocks[0], l.deadlock(blocks))
		}
		if l.rng != nil {
			l.rng.Shuffle(len(blocks), func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
		}
	}
	return nil
}

// together returns the error of a launch that ends with an error of one of its blocks.
func (l *launch) together(b *block, err error) error {
	if err == errEndBlock {
		return fmt.Errorf("ptx: %s: block %s cannot continue, and a cooperative launch ends with it", l.entry.fn.name, coordinates(b.index))
	}
	return err
}

// takeTurn executes a turn of a block, and reports whether the block needs another turn. The block's memory
// is allocated for its first turn.
func (l *launch) takeTurn(b *block) (more bool, err error) {
	if b.begun {
		if l.checks != nil {
			l.checks.enter(b)
		}
	} else {
		if b.warps == nil {
			b.warps, b.shared = newWarps(l, len(l.warps)), aligned(len(l.smem))
			for i := range b.warps {
				b.warps[i].fill(l)
			}
		}
		if l.checks != nil {
			l.checks.newBlock(len(b.warps))
		}
		b.begun = true
		b.begin()
	}
	for i := range b.warps {
		b.warps[i].polls = maxPolls
		if l.rng != nil {
			b.warps[i].polls = 1 + l.rng.Int32N(2*maxPolls)
		}
	}
	if more, err = b.turn(); err != nil {
		return false, err
	}
	if !more {
		return false, b.end()
	}
	if l.checks != nil {
		l.checks.leave(b)
	}
	return true, nil
}
