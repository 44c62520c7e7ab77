package kernels

import (
	"math/bits"

	"kvcompress/internal/ceil"
	"kvcompress/kernels/device"
	"kvcompress/kv"
)

// allocatePrompt allocates blocks for n KVs in every head of a row: ⌈n/B⌉ each, the lowest free ones, in
// (layer, head, logical block) order. The caller has checked that enough are free.
func (s *state) allocatePrompt(row int, id kv.SeqID, n int) error {
	heads := s.heads()
	each := ceil.Div(n, s.cfg.BlockSize)
	taken, err := s.take(heads * each)
	if err != nil {
		return err
	}
	block := threads(heads*each, 256)
	return s.launch("allocate.ptx", "give_prompt", blocks(heads*each, block), block, 0,
		device.Pointer(taken), device.Pointer(s.tablesOf(row)), device.Pointer(s.owners), device.Pointer(s.lengthsOf(row)),
		device.I32(int32(id)), number(n), number(each),
		number(heads), number(s.cfg.Shape.KVHeads), number(s.maxBlocks))
}

// allocateTokens makes room for one KV in every head of the batch: it adds 1 to the context lengths, and
// gives the heads with a full last block, need of them, the lowest free blocks, in (layer, sequence, head)
// order.
func (s *state) allocateTokens(b batch, need int) error {
	taken := s.free // not read if no head needs a block
	if need > 0 {
		var err error
		if taken, err = s.take(need); err != nil {
			return err
		}
	}
	n := b.n * s.heads()
	block := threads(n, 1024)
	grid := blocks(n, block)
	counts, err := s.buffer("full heads", 4*grid.X)
	if err != nil {
		return err
	}
	heads, all := number(s.cfg.Shape.KVHeads), number(s.heads())
	if grid.X > 1 {
		if err := s.launch("allocate.ptx", "count_full", grid, block, 0,
			device.Pointer(b.rows), device.Pointer(s.lengths), device.Pointer(counts),
			number(b.n), all, heads, number(s.cfg.BlockSize)); err != nil {
			return err
		}
	}
	return s.launch("allocate.ptx", "give_tokens", grid, block, 0,
		device.Pointer(b.rows), device.Pointer(b.ids), device.Pointer(counts), device.Pointer(taken),
		device.Pointer(s.tables), device.Pointer(s.owners), device.Pointer(s.lengths),
		number(b.n), all, heads, s.shift(), number(s.maxBlocks))
}

// take removes the need lowest blocks from the free list and returns them on the device, ascending.
func (s *state) take(need int) (device.Ptr, error) {
	taken, err := s.buffer("taken blocks", 4*need)
	if err != nil {
		return 0, err
	}
	words := freeWords(s.first + s.cfg.Blocks)
	block := threads(words, 1024)
	grid := blocks(words, block)
	counts, err := s.buffer("free blocks", 4*grid.X)
	if err != nil {
		return 0, err
	}
	if grid.X > 1 {
		if err := s.launch("allocate.ptx", "count_free", grid, block, 0,
			device.Pointer(s.free), device.Pointer(counts), number(words)); err != nil {
			return 0, err
		}
	}
	return taken, s.launch("allocate.ptx", "take_blocks", grid, block, 0,
		device.Pointer(s.free), device.Pointer(counts), device.Pointer(taken),
		number(words), number(need))
}

// truncate removes the evicted KVs from every head of a row. After the moves they are the last ones. Blocks
// that become empty are freed.
func (s *state) truncate(row int, d decision) error {
	most, lost := 0, 0
	for _, h := range d.heads {
		most, lost = max(most, h.blocks), max(lost, h.kvs)
	}
	if lost == 0 {
		return nil
	}
	return s.freeBlocks(row, d.kvs, most)
}

// release frees all blocks of a row and sets its context lengths to 0.
func (s *state) release(row int) error {
	return s.freeBlocks(row, s.lengthsOf(row), s.maxBlocks)
}

// freeBlocks removes lost[head] KVs from every head of a row, and frees the blocks that become empty, at most
// most of them per head.
func (s *state) freeBlocks(row int, lost device.Ptr, most int) error {
	return s.launch("allocate.ptx", "free_blocks", device.Dim{X: s.heads(), Y: 1, Z: 1}, threads(most, 256), 0,
		device.Pointer(lost), device.Pointer(s.lengthsOf(row)), device.Pointer(s.tablesOf(row)),
		device.Pointer(s.free), device.Pointer(s.owners), s.shift(), number(s.maxBlocks))
}

// tablesOf returns a row's block tables [L·H, maxBlocks].
func (s *state) tablesOf(row int) device.Ptr {
	return s.tables + device.Ptr(4*row*s.heads()*s.maxBlocks)
}

// lengthsOf returns a row's context lengths [L·H].
func (s *state) lengthsOf(row int) device.Ptr { return s.lengths + device.Ptr(4*row*s.heads()) }

// shift returns log2(B), an argument of kernels.
func (s *state) shift() device.Arg {
	return device.I32(int32(bits.TrailingZeros(uint(s.cfg.BlockSize))))
}

// threads returns a thread block for n threads: whole warps, at most limit threads.
func threads(n, limit int) device.Dim {
	return device.Dim{X: min(max(32, (n+31)/32*32), limit), Y: 1, Z: 1}
}

// blocks returns a grid with enough thread blocks for n threads.
func blocks(n int, block device.Dim) device.Dim {
	return device.Dim{X: ceil.Div(n, block.X), Y: 1, Z: 1}
}
