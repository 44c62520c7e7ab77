package kernels

import (
	"fmt"

	"kvcompress/kernels/device"
	"kvcompress/kv"
	"kvcompress/ref"
)

// decision is what falls of one sequence, on the device. Its memory is that of the
// state: the next decision overwrites it.
type decision struct {
	asked   int
	offsets device.Ptr // [L·H+1] where each head's part of list begins
	list    device.Ptr // logical indices that fall, ascending in each head
	kvs     device.Ptr // [L·H] how many of them each head has
	holes   device.Ptr // [L·H] how many of them are less than the head's new length
	heads   []loss     // the same on the host
	starts  []int32    // offsets on the host
}

// loss is what one head loses.
type loss struct{ blocks, kvs, holes int }

// freed returns how many blocks come free.
func (d *decision) freed() int {
	n := 0
	for _, h := range d.heads {
		n += h.blocks
	}
	return n
}

// possible returns an error if heads of the given lengths cannot lose what the
// kernels say they do: nothing could be done with such a decision.
func (d *decision) possible(lengths []int) error {
	for i, lost := range d.heads {
		if lost.kvs < 0 || lost.kvs > lengths[i] || lost.holes < 0 || lost.holes > lost.kvs || lost.blocks < 0 {
			return fmt.Errorf("kernels: decide: head %d of L·H, which holds %d KVs, loses %d blocks, %d KVs, %d of them from what stays",
				i, lengths[i], lost.blocks, lost.kvs, lost.holes)
		}
	}
	return nil
}

// The rounds of the search for a quota's bound, and the values of the digit that
// each of them settles: as decide.cu has them.
const (
	digits      = 4
	digitValues = 256
)

// decide chooses which KVs of a sequence of length tokens fall, so that the quotas'
// blocks come free: what ref.Decide says. lengths are the context lengths of its
// heads. It waits for the device.
func (s *state) decide(row int, id kv.SeqID, length int, lengths []int, quotas []ref.Quota) (decision, error) {
	heads := len(lengths)
	d := decision{heads: make([]loss, heads), starts: make([]int32, heads+1)}
	longest := 0
	for i, n := range lengths {
		d.starts[i+1] = d.starts[i] + int32((n+3)&^3) // 16 bytes are moved at a time
		longest = max(longest, n)
	}
	largest := 0
	for _, q := range quotas {
		d.asked += q.Units
		largest = max(largest, q.Heads)
	}
	if d.asked == 0 || longest == 0 {
		return d, nil
	}

	p, err := s.plan(&d, quotas)
	if err != nil {
		return d, err
	}
	// A thread does 4 KVs at a time, some 4 times.
	block := threads((longest+15)/16, 256)
	grid := device.Dim{X: heads, Y: ceilDiv(longest, 16*block.X), Z: 1}
	if err := s.costs(row, id, length, p, grid, block); err != nil {
		return d, err
	}
	warps := min(largest, 8)
	sums := device.Dim{X: len(quotas), Y: ceilDiv(largest, warps), Z: 1}
	for level := range digits {
		l, all := number(level), number(heads)
		if level > 0 {
			if err := s.launch("decide.ptx", "count_digits", grid, block, 0,
				device.Pointer(d.offsets), device.Pointer(p.keys), device.Pointer(p.quotaOf), device.Pointer(p.quotas),
				device.Pointer(p.sums), device.Pointer(p.buckets), device.Pointer(p.counts),
				l, all, number(len(quotas))); err != nil {
				return d, err
			}
		}
		if err := s.launch("decide.ptx", "sum_fallen", sums, device.Dim{X: 32 * warps, Y: 1, Z: 1}, 0,
			device.Pointer(s.lengthsOf(row)), device.Pointer(p.quotas), device.Pointer(p.buckets),
			device.Pointer(p.counts), device.Pointer(p.sums), l, all, s.shift()); err != nil {
			return d, err
		}
	}
	if err := s.launch("decide.ptx", "settle", device.Dim{X: len(quotas), Y: 1, Z: 1}, threads(largest, 256), 0,
		device.Pointer(s.lengthsOf(row)), device.Pointer(p.quotas), device.Pointer(p.sums), device.Pointer(p.buckets),
		device.Pointer(p.counts), device.Pointer(p.blocks), device.Pointer(d.kvs), device.Pointer(p.losses),
		number(heads), s.shift()); err != nil {
		return d, err
	}
	if err := s.launch("decide.ptx", "list_evicted", device.Dim{X: heads, Y: 1, Z: 1}, threads((longest+15)/16, 1024), 0,
		device.Pointer(d.offsets), device.Pointer(p.keys), device.Pointer(d.kvs), device.Pointer(s.lengthsOf(row)),
		device.Pointer(p.losses), device.Pointer(d.list), device.Pointer(d.holes)); err != nil {
		return d, err
	}

	lost, err := download[int32](s, p.blocks, 3*heads)
	if err != nil {
		return d, err
	}
	for i := range d.heads {
		d.heads[i] = loss{int(lost[i]), int(lost[heads+i]), int(lost[2*heads+i])}
	}
	return d, nil
}

// costs computes the keys, and each head's counts by their first digit.
func (s *state) costs(row int, id kv.SeqID, length int, p plan, grid, block device.Dim) error {
	opt := &s.cfg.Compression
	args := []device.Arg{
		device.Pointer(s.tables), device.Pointer(s.lengths), number(row),
		device.Pointer(s.metrics), device.Pointer(s.positions),
		device.Pointer(p.quotaOf), device.Pointer(p.offsets), device.Pointer(p.keys), device.Pointer(p.counts),
		number(s.maxBlocks), s.shift(),
		number(opt.Sinks), number(length - 1 - opt.ProtectedWindow),
	}
	if opt.Random {
		return s.launch("decide.ptx", "costs_random", grid, block, 0, append(args,
			number(s.cfg.Shape.KVHeads), device.I32(int32(id)), device.U64(opt.Seed))...)
	}
	average := int32(0)
	if s.cfg.Metric.Reduction == ref.Avg {
		average = 1
	}
	starts, bias, err := s.headBias()
	if err != nil {
		return err
	}
	bins := 0
	if b := opt.HeadBias; b != nil {
		bins = len(b.Bins)
	}
	return s.launch("decide.ptx", "costs", grid, block, 0, append(args,
		number(length-1), device.I32(average),
		number(bins), device.Pointer(starts), device.Pointer(bias))...)
}

// headBias returns the starts of the bins and the bias [L·H, bins] times its
// weight; 0 and 0 without a head bias.
func (s *state) headBias() (starts, bias device.Ptr, err error) {
	b := s.cfg.Compression.HeadBias
	if b == nil {
		return 0, 0, nil
	}
	if first, second := s.buffers["bias bins"], s.buffers["head bias"]; first != nil && second != nil {
		return first.ptr, second.ptr, nil
	}
	var values []float32
	for _, heads := range b.Bias {
		for _, bins := range heads {
			for _, v := range bins {
				values = append(values, float32(v*s.cfg.Compression.BiasWeight))
			}
		}
	}
	if starts, err = upload(s, "bias bins", b.Bins); err != nil {
		return 0, 0, err
	}
	bias, err = upload(s, "head bias", values)
	return starts, bias, err
}

// plan is where the kernels of a decision find what they share: decide.cu says what
// each is.
type plan struct {
	quotas, quotaOf, offsets      device.Ptr
	sums, counts, buckets, blocks device.Ptr
	losses, keys                  device.Ptr
}

// plan makes room for a decision, and writes what it starts from. It sets the
// decision's pointers.
func (s *state) plan(d *decision, quotas []ref.Quota) (p plan, err error) {
	heads, n := len(d.heads), len(quotas)
	given := make([]int32, 4*n+2*heads+1)
	quotaOf := given[4*n+heads+1:]
	for i := range quotaOf {
		quotaOf[i] = -1
	}
	for i, q := range quotas {
		copy(given[4*i:], []int32{int32(q.First), int32(q.Heads), int32(q.Units), 0})
		for h := range q.Heads {
			quotaOf[q.First+h] = int32(i)
		}
	}
	copy(given[4*n:], d.starts)
	if p.quotas, err = upload(s, "decision's quotas", given); err != nil {
		return p, err
	}
	p.offsets = p.quotas + device.Ptr(4*4*n)
	p.quotaOf = p.offsets + device.Ptr(4*(heads+1))

	size := 4 * (digits*(n+heads)*digitValues + digits*n*4 + 3*heads)
	if p.sums, err = s.buffer("decision's counts", size); err != nil {
		return p, err
	}
	p.counts = p.sums + device.Ptr(4*digits*n*digitValues)
	p.buckets = p.counts + device.Ptr(4*digits*heads*digitValues)
	p.blocks = p.buckets + device.Ptr(4*digits*n*4)
	d.kvs = p.blocks + device.Ptr(4*heads)
	d.holes = d.kvs + device.Ptr(4*heads)
	if err := s.dev.Fill(p.sums, 0, int64(size)); err != nil {
		return p, err
	}

	if p.losses, err = s.buffer("decision's losses", 16*heads); err != nil {
		return p, err
	}
	kvs := int(d.starts[heads])
	if p.keys, err = s.buffer("decision's keys", 4*kvs); err != nil {
		return p, err
	}
	d.offsets = p.offsets
	d.list, err = s.buffer("decision's list", 4*kvs)
	return p, err
}

// readPlan returns the decision as the reference has it.
func (s *state) readPlan(d decision) (ref.Plan, error) {
	plan := ref.Plan{Asked: d.asked}
	for i, h := range d.heads {
		if h.kvs == 0 {
			continue
		}
		kvs, err := download[int32](s, d.list+device.Ptr(4*d.starts[i]), h.kvs)
		if err != nil {
			return plan, err
		}
		plan.Edits = append(plan.Edits, ref.Edit{Op: ref.Drop, Head: i, KVs: kvs})
	}
	return plan, nil
}
