package kernels

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"kvcompress/kernels/device"
	"kvcompress/kv"
	"kvcompress/ref"
)

// freeOwner is the owner of a free block on the device.
var freeOwner = [4]int32{-1, -1, -1, -1}

// Cache reads the cache back from the device. Tables and lengths may be wrong because of a kernel's bug; the
// caller must check them. Slots that no head holds are not read, and are 0.
func (e *Engine) Cache() (*kv.Cache, error) {
	s := e.state
	slots := e.cfg.Blocks * e.cfg.BlockSize
	row := e.cfg.RowBytes()
	snap := kv.Snapshot{
		Keys:   make([]byte, slots*row),
		Values: make([]byte, slots*row),
		Owners: make([]kv.Owner, e.cfg.Blocks),
	}
	owners, err := download[int32](s, s.own(s.owners, 16), 4*e.cfg.Blocks)
	if err != nil {
		return nil, err
	}
	for i := range snap.Owners {
		snap.Owners[i] = kv.OwnerOf([4]int32(owners[4*i:]))
	}
	if snap.Free, err = download[uint32](s, s.free+device.Ptr(s.first/8), freeWords(e.cfg.Blocks)); err != nil {
		return nil, err
	}
	for _, id := range slices.Sorted(maps.Keys(e.seqs)) {
		seq, tables, err := e.sequence(id)
		if err == nil {
			err = e.checkTables(seq, tables)
		}
		if err != nil {
			return nil, err
		}
		snap.Sequences = append(snap.Sequences, seq)
	}
	arrays := s.slotArrays()
	contents := [][]byte{snap.Keys, snap.Values}
	for _, a := range arrays[2:] {
		contents = append(contents, make([]byte, slots*a.size))
	}
	if err := e.readPages(&snap); err != nil {
		return nil, err
	}
	held := e.cfg.Held(plainOf(snap.Sequences))
	for first := 0; first < slots; first++ {
		n := 0
		for first+n < slots && held[first+n] {
			n++
		}
		if n == 0 {
			continue
		}
		for i, a := range arrays {
			if err := s.dev.Read(contents[i][first*a.size:][:n*a.size], s.own(*a.at, e.cfg.BlockSize*a.size)+device.Ptr(first*a.size)); err != nil {
				return nil, err
			}
		}
		first += n
	}
	snap.Positions = decode[int32](contents[2])
	for _, column := range contents[3:] {
		snap.Data = append(snap.Data, decode[float32](column))
	}
	c, err := snap.Cache(e.cfg.Config, s.columns)
	if err != nil {
		return nil, err
	}
	for i := range c.Owners { // a snapshot may have anything else in the owner of a free block, kernels write only freeOwner
		if o := [4]int32(owners[4*i:]); kv.SeqID(o[0]) == kv.NoSeq && o != freeOwner {
			c.Owners[i] = kv.OwnerOf(o)
		}
	}
	return c, nil
}

// sequence reads a sequence's context lengths and block tables. It also returns the tables with all their entries,
// [L·H, maxBlocks].
func (e *Engine) sequence(id kv.SeqID) (*kv.Sequence, []int32, error) {
	s, known := e.state, e.seqs[id]
	heads := s.heads()
	lengths, err := download[int32](s, s.lengthsOf(known.row), heads)
	if err != nil {
		return nil, nil, err
	}
	tables, err := download[int32](s, s.tablesOf(known.row), heads*s.maxBlocks)
	if err != nil {
		return nil, nil, err
	}
	s.hostBlocks(tables)
	seq := &kv.Sequence{ID: id, Prompt: known.prompt, Len: known.tokens, Heads: make([]kv.Head, heads)}
	for i, n := range lengths {
		blocks := min(max(0, e.blocksOf(int(n))), s.maxBlocks)
		seq.Heads[i] = kv.Head{Segment: kv.Segment{Len: int(n), Table: tables[i*s.maxBlocks:][:blocks:blocks]}}
	}
	if s.packing != nil {
		if err := e.readLists(known, seq.Heads); err != nil {
			return nil, nil, err
		}
	}
	return seq, tables, nil
}

// checkTables returns an error if an entry of a sequence's block tables is not −1 where the head has no block: after its
// last one, and before the first one whose KVs are not all quantized or merged.
func (e *Engine) checkTables(seq *kv.Sequence, tables []int32) error {
	most := e.state.maxBlocks
	for i := range seq.Heads {
		h, table := &seq.Heads[i], tables[i*most:][:most]
		first := min(h.First/e.cfg.BlockSize, most)
		last := min(first+len(h.Table), most)
		for j, block := range table {
			if (j < first || j >= last) && block != -1 {
				return fmt.Errorf("kernels: sequence %d, head %d of L·H: entry %d of its block table is %d, where it has no block: want -1", seq.ID, i, j, block)
			}
		}
	}
	return nil
}

// Restore replaces the engine's cache by a copy of the given one, which must have the engine's configuration.
func (e *Engine) Restore(c *kv.Cache) error {
	s := e.state
	snap := c.Snapshot()
	if _, err := snap.Cache(e.cfg.Config, s.columns); err != nil {
		return err
	}
	if err := e.inputs.Restore(c.Sequences()); err != nil {
		return err
	}
	owners := make([]int32, 0, 4*e.cfg.Blocks)
	for _, o := range snap.Owners {
		n := o.Ints()
		if o.Seq == kv.NoSeq {
			n = freeOwner
		}
		owners = append(owners, n[:]...)
	}
	maps.DeleteFunc(e.own, func(id kv.SeqID, _ rules) bool { return c.Sequence(id) == nil })
	clear(e.seqs)
	clear(e.used)
	e.held, e.broken = 0, nil
	errs := []error{s.dev.Write(s.own(s.owners, 16), encode(owners)), s.dev.Write(s.free+device.Ptr(s.first/8), encode(snap.Free))}
	contents := [][]byte{snap.Keys, snap.Values, encode(snap.Positions)}
	for _, column := range snap.Data {
		contents = append(contents, encode(column))
	}
	for i, a := range s.slotArrays() {
		errs = append(errs, s.dev.Write(s.own(*a.at, e.cfg.BlockSize*a.size), contents[i]))
	}
	for _, seq := range snap.Sequences {
		errs = append(errs, e.restoreSequence(c, seq))
	}
	if err := errors.Join(errs...); err != nil {
		return e.fail(err)
	}
	return nil
}

func (e *Engine) restoreSequence(c *kv.Cache, seq *kv.Sequence) error {
	s := e.state
	known := &sequence{prompt: seq.Prompt, tokens: seq.Len, lengths: make([]int, s.heads())}
	lengths := make([]int32, s.heads())
	for i := range seq.Heads {
		h := &seq.Heads[i]
		if err := c.CheckHead(h); err != nil {
			return fmt.Errorf("kernels: restore: sequence %d, head %d of L·H: %w", seq.ID, i, err)
		}
		if h.KVs() > seq.Len || h.KVs() < seq.Len && ref.KeepsAll(e.method) {
			return fmt.Errorf("kernels: restore: sequence %d, head %d of L·H: %d KVs of %d tokens", seq.ID, i, h.KVs(), seq.Len)
		}
		lengths[i], known.lengths[i] = int32(h.KVs()), h.KVs()
	}
	if err := e.restoreLists(c, known, seq); err != nil {
		return err
	}
	var err error
	if known.row, err = e.takeRow(max(seq.Len, e.inputs.Length(seq.ID))); err != nil {
		return err
	}
	e.seqs[seq.ID] = known
	e.use(known.row, true)
	e.held += e.blocks(known)
	return errors.Join(e.writeTables(seq), s.dev.Write(s.lengthsOf(known.row), encode(lengths)))
}

// writeTables writes the block tables of a sequence, with −1 past the end of each.
func (e *Engine) writeTables(seq *kv.Sequence) error {
	s := e.state
	tables := slices.Repeat([]int32{-1}, s.heads()*s.maxBlocks)
	for i := range seq.Heads {
		h := &seq.Heads[i]
		copy(tables[i*s.maxBlocks:][:s.maxBlocks][min(h.First/e.cfg.BlockSize, s.maxBlocks):], h.Table)
	}
	s.deviceBlocks(tables)
	if s.packing != nil {
		if err := e.writeLists(seq); err != nil {
			return err
		}
	}
	return s.dev.Write(s.tablesOf(e.seqs[seq.ID].row), encode(tables))
}

// Poison fills every slot that no head holds with NaN, its position with [kv.PoisonPosition], and every block
// table past its head's last block with −1, so that a kernel that reads one of them is found.
func (e *Engine) Poison() error {
	var seqs []*kv.Sequence
	for id := range e.seqs {
		seq, _, err := e.sequence(id)
		if err != nil {
			return err
		}
		seqs = append(seqs, seq)
	}
	s := e.state
	errs := []error{s.clearTables()}
	for _, seq := range seqs {
		errs = append(errs, e.writeTables(seq))
	}
	errs = append(errs, e.poisonPages(seqs))
	held := e.cfg.Held(seqs)
	for first := 0; first < len(held); first++ {
		n := 0
		for first+n < len(held) && !held[first+n] {
			n++
		}
		if n == 0 {
			continue
		}
		for _, a := range s.slotArrays() {
			at := s.own(*a.at, e.cfg.BlockSize*a.size) + device.Ptr(first*a.size)
			if a.at == &s.positions {
				errs = append(errs, s.dev.Write(at, encode(poisonPositions(first, n))))
			} else {
				errs = append(errs, s.dev.Fill(at, 0xff, int64(n*a.size)))
			}
		}
		first += n
	}
	return errors.Join(errs...)
}

// poisonPositions returns the positions of n slots from first on that no head holds.
func poisonPositions(first, n int) []int32 {
	all := make([]int32, n)
	for i := range all {
		all[i] = kv.PoisonPosition(first + i)
	}
	return all
}
