package kernels

import (
	"fmt"
	"math"
	"math/bits"
	"slices"

	"kvcompress/internal/ceil"
	"kvcompress/kernels/device"
	"kvcompress/kv"
	"kvcompress/ref"
)

// decision says which KVs of one sequence are evicted, on the device. Its memory belongs to the state: the
// next decision overwrites it.
type decision struct {
	asked   int        // units that the quotas ask for
	offsets device.Ptr // [L·H+1] start of each head's part of list
	list    device.Ptr // evicted logical indices, ascending in each head
	kvs     device.Ptr // [L·H] number of evicted KVs of each head
	holes   device.Ptr // [L·H] how many of them have a logical index below the head's new length
	heads   []loss     // the same on the host
	starts  []int32    // offsets on the host
	lengths []int      // [L·H] before the moves
	longest int        // the largest of lengths
}

// loss is what one head loses. blocks is computed on the host, the rest by the device.
type loss struct{ units, kvs, holes, blocks int }

// evicts returns the number of evicted KVs.
func (d *decision) evicts() int {
	n := 0
	for _, h := range d.heads {
		n += h.kvs
	}
	return n
}

// freed returns the number of freed blocks.
func (d *decision) freed() int {
	n := 0
	for _, h := range d.heads {
		n += h.blocks
	}
	return n
}

// possible returns an error if heads cannot lose as much as the kernels computed, since such a decision could not
// be carried out.
func (d *decision) possible() error {
	for i, lost := range d.heads {
		if lost.kvs < 0 || lost.kvs > d.lengths[i] || lost.holes < 0 || lost.holes > lost.kvs || lost.units < 0 {
			return fmt.Errorf("kernels: decide: head %d of L·H, which holds %d KVs, loses %d units, %d KVs, %d of them below its new length",
				i, d.lengths[i], lost.units, lost.kvs, lost.holes)
		}
	}
	return nil
}

// whole returns an error if a head's evicted KVs are not whole units: the KVs of its last unit, and multiples
// of a unit.
func (d *decision) whole(unit int) error {
	for i, lost := range d.heads {
		kvs := 0
		if lost.units > 0 {
			kvs = (d.lengths[i]-1)%unit + 1 + (lost.units-1)*unit
		}
		if lost.kvs != kvs {
			return fmt.Errorf("kernels: decide: head %d of L·H, which holds %d KVs, loses %d of them: %d units of %d are %d",
				i, d.lengths[i], lost.kvs, lost.units, unit, kvs)
		}
	}
	return nil
}

// The rounds of the search for a quota's bound, and the number of values of the digit that each determines,
// as in decide.cu.
const (
	digits      = 4
	digitValues = 256
)

// decide chooses which KVs of a sequence of length tokens are evicted, as ref.Decide does for the ranking,
// which [state.check] has accepted. lengths are the context lengths of the sequence's heads. It waits for the
// device.
func (s *state) decide(row int, id kv.SeqID, length int, lengths []int, r change) (decision, error) {
	d := decision{heads: make([]loss, len(lengths)), starts: make([]int32, len(lengths)+1), lengths: lengths}
	for i, n := range lengths {
		d.starts[i+1] = d.starts[i] + int32((n+3)&^3) // multiples of 4, since kernels move 16 bytes at a time
		d.longest = max(d.longest, n)
	}
	if r.Asks() == 0 {
		return d, nil
	}
	p, err := s.settle(row, id, length, &d, &r)
	if err != nil {
		return d, err
	}
	if r.Refine != nil || r.Share != nil {
		if p, err = s.refine(row, id, length, &d, &r, p); err != nil {
			return d, err
		}
	}
	if p.keys == 0 {
		return d, nil
	}
	if err := s.launch("decide.ptx", "list_evicted", device.Dim{X: len(lengths), Y: 1, Z: 1}, threads((d.longest+15)/16, 1024), 0,
		device.Pointer(d.offsets), device.Pointer(p.keys), device.Pointer(d.kvs), device.Pointer(s.lengthsOf(row)),
		device.Pointer(p.losses), device.Pointer(d.list), device.Pointer(d.holes)); err != nil {
		return d, err
	}
	return d, s.readLosses(&d, p)
}

// refine repeats settle for each head by itself, once it is known how many units each loses: with the quotas
// that Refine returns, or with these numbers, if shares have decided between heads and only costs decide
// within a head.
func (s *state) refine(row int, id kv.SeqID, length int, d *decision, r *change, p plan) (plan, error) {
	if p.keys != 0 {
		if err := s.readLosses(d, p); err != nil {
			return p, err
		}
	}
	lost := make([]int, len(d.heads))
	for i, h := range d.heads {
		lost[i] = h.units
	}
	clear(d.heads)
	refined := *r
	refined.Share = nil
	if r.Refine != nil {
		refined.Quotas = r.Refine(lost)
		return s.settle(row, id, length, d, &refined)
	}
	refined.Quotas = nil
	for i, n := range lost {
		refined.Quotas = append(refined.Quotas, ref.Quota{First: i, Heads: 1, Units: n})
	}
	p, err := s.settle(row, id, length, d, &refined)
	d.asked = r.Asks()
	return p, err
}

// settle finds how many units and KVs each head loses by the ranking's quotas. The plan is empty if nothing
// is asked for or held.
func (s *state) settle(row int, id kv.SeqID, length int, d *decision, r *change) (plan, error) {
	heads := len(d.heads)
	d.asked = r.Asks()
	var quotas []ref.Quota
	largest := 0
	for _, q := range r.Quotas {
		if q.Units > 0 && q.Heads > 0 {
			quotas = append(quotas, q)
			largest = max(largest, q.Heads)
		}
	}
	if len(quotas) == 0 || d.longest == 0 {
		return plan{}, nil
	}
	p, err := s.plan(d, quotas, r.Keep)
	if err != nil {
		return p, err
	}
	// A thread handles 4 KVs at a time, about 4 times.
	block := threads((d.longest+15)/16, 256)
	grid := device.Dim{X: heads, Y: ceil.Div(d.longest, 16*block.X), Z: 1}
	if err := s.costs(row, id, length, r, p, grid, block); err != nil {
		return p, err
	}
	if r.Share != nil {
		if p, err = s.share(row, length, d, r, p, quotas, grid, block); err != nil {
			return p, err
		}
	}
	unit := number(bits.TrailingZeros(uint(r.Unit)))
	warps := min(largest, 8)
	sums := device.Dim{X: len(quotas), Y: ceil.Div(largest, warps), Z: 1}
	for level := range digits {
		l, all := number(level), number(heads)
		if level > 0 {
			if err := s.launch("decide.ptx", "count_digits", grid, block, 0,
				device.Pointer(d.offsets), device.Pointer(p.keys), device.Pointer(p.quotaOf), device.Pointer(p.quotas),
				device.Pointer(p.sums), device.Pointer(p.buckets), device.Pointer(p.counts),
				l, all, number(len(quotas))); err != nil {
				return p, err
			}
		}
		if err := s.launch("decide.ptx", "sum_evicted", sums, device.Dim{X: 32 * warps, Y: 1, Z: 1}, 0,
			device.Pointer(s.lengthsOf(row)), device.Pointer(p.quotas), device.Pointer(p.buckets),
			device.Pointer(p.counts), device.Pointer(p.sums), l, all, unit); err != nil {
			return p, err
		}
	}
	return p, s.launch("decide.ptx", "settle", device.Dim{X: len(quotas), Y: 1, Z: 1}, threads(largest, 256), 0,
		device.Pointer(s.lengthsOf(row)), device.Pointer(p.quotas), device.Pointer(p.sums), device.Pointer(p.buckets),
		device.Pointer(p.counts), device.Pointer(p.units), device.Pointer(d.kvs), device.Pointer(p.losses),
		number(heads), unit)
}

// readLosses reads what each head loses, as far as it has been determined.
func (s *state) readLosses(d *decision, p plan) error {
	heads := len(d.heads)
	lost, err := download[int32](s, p.units, 3*heads)
	if err != nil {
		return err
	}
	for i, n := range d.lengths {
		kvs := int(lost[heads+i])
		d.heads[i] = loss{
			units: int(lost[i]), kvs: kvs, holes: int(lost[2*heads+i]),
			blocks: ceil.Div(n, s.cfg.BlockSize) - ceil.Div(n-kvs, s.cfg.BlockSize),
		}
	}
	return d.possible()
}

// costs computes the keys, and each head's histogram of their first digit.
func (s *state) costs(row int, id kv.SeqID, length int, r *change, p plan, grid, block device.Dim) error {
	switch {
	case r.hiding != nil:
		args := append(s.costArgs(row, length, &r.Ranking, p), device.Pointer(s.data[s.reads.hidden]), number(r.hiding.Stay))
		return s.launch("decide.ptx", "costs_seen", grid, block, 0, args...)
	case r.Key == ref.ByPosition:
		args := s.costArgs(row, length, &r.Ranking, p)
		return s.launch("decide.ptx", "costs_position", grid, block, 0, slices.Delete(args, 3, 4)...)
	case r.Key == ref.ByHash:
		args := append(s.costArgs(row, length, &r.Ranking, p), number(s.cfg.Shape.KVHeads), device.I32(int32(id)), device.U64(r.Seed))
		return s.launch("decide.ptx", "costs_random", grid, block, 0, args...)
	}
	args, err := s.scoreArgs(row, length, &r.Ranking, p)
	if err != nil {
		return err
	}
	if width := s.columns[r.Column].Width; width > 1 {
		return s.launch("decide.ptx", "costs_sum", grid, block, 0, append(args, number(width))...)
	}
	return s.launch("decide.ptx", "costs", grid, block, 0, args...)
}

// share computes the keys from costs multiplied by their head's share. The host sorts the costs, whose sums
// need that order.
func (s *state) share(row, length int, d *decision, r *change, p plan, quotas []ref.Quota, grid, block device.Dim) (plan, error) {
	shares := make([]float32, len(d.heads))
	for _, q := range quotas {
		for head := q.First; head < q.First+q.Heads; head++ {
			keys, err := download[uint32](s, p.keys+device.Ptr(4*d.starts[head]), d.lengths[head])
			if err != nil {
				return p, err
			}
			shares[head] = ref.ShareOf(costsOf(keys), r.Share[head])
		}
	}
	on, err := upload(s, "shares", shares)
	if err != nil {
		return p, err
	}
	if p, err = s.plan(d, quotas, r.Keep); err != nil {
		return p, err
	}
	args, err := s.scoreArgs(row, length, &r.Ranking, p)
	if err != nil {
		return p, err
	}
	return p, s.launch("decide.ptx", "costs_shared", grid, block, 0, append(args, number(s.columns[r.Column].Width), device.Pointer(on))...)
}

// costsOf returns the costs of candidates from their keys, ascending.
func costsOf(keys []uint32) []float32 {
	keys = slices.DeleteFunc(keys, func(key uint32) bool { return key == noCandidate })
	slices.Sort(keys)
	costs := make([]float32, len(keys))
	for i, key := range keys {
		if key>>31 == 1 {
			key ^= 1 << 31
		} else {
			key = ^key
		}
		costs[i] = math.Float32frombits(key)
	}
	return costs
}

// noCandidate is the key of a KV that may not be evicted.
const noCandidate = 1<<32 - 1

// costArgs are the first arguments of all kernels of costs.
func (s *state) costArgs(row, length int, r *ref.Ranking, p plan) []device.Arg {
	return []device.Arg{
		device.Pointer(s.tables), device.Pointer(s.lengths), number(row),
		device.Pointer(s.scores(r)), device.Pointer(s.positions),
		device.Pointer(p.quotaOf), device.Pointer(p.offsets), device.Pointer(p.keys), device.Pointer(p.counts),
		number(s.maxBlocks), s.shift(),
		number(min(r.Sinks, length)), number(max(length-1-r.Window, -1)),
	}
}

// scores returns the column that a ranking uses, or any column if it uses none.
func (s *state) scores(r *ref.Ranking) device.Ptr {
	if r.Key == ref.ByScore {
		return s.data[r.Column]
	}
	return s.metrics
}

// scoreArgs are the first arguments of the kernels of scores.
func (s *state) scoreArgs(row, length int, r *ref.Ranking, p plan) ([]device.Arg, error) {
	b, err := s.bias(r)
	if err != nil {
		return nil, err
	}
	return append(s.costArgs(row, length, r, p), number(length-1), flag(r.Average),
		number(b.bins), device.Pointer(b.starts), device.Pointer(b.values)), nil
}

// bias is a head bias on the device.
type bias struct {
	of             *ref.HeadBias
	weight         float32
	bins           int
	starts, values device.Ptr // [bins], and [L·H, bins] multiplied by the weight
}

// bias returns the ranking's head bias on the device, and uploads it if it differs from the last one.
func (s *state) bias(r *ref.Ranking) (bias, error) {
	if r.Bias == nil {
		return bias{}, nil
	}
	if s.biased.of == r.Bias && s.biased.weight == r.Weight {
		return s.biased, nil
	}
	var values []float32
	for _, heads := range r.Bias.Bias {
		for _, bins := range heads {
			for _, v := range bins {
				values = append(values, float32(v*r.Weight))
			}
		}
	}
	s.biased = bias{}
	starts, err := upload(s, "bias bins", r.Bias.Bins)
	if err != nil {
		return bias{}, err
	}
	on, err := upload(s, "head bias", values)
	if err != nil {
		return bias{}, err
	}
	s.biased = bias{r.Bias, r.Weight, len(r.Bias.Bins), starts, on}
	return s.biased, nil
}

// plan has the addresses of what the kernels of a decision share, as described in decide.cu.
type plan struct {
	quotas, quotaOf, offsets     device.Ptr
	sums, counts, buckets, units device.Ptr
	losses, keys                 device.Ptr
}

// plan allocates memory for a decision, and writes its initial values. It sets the decision's pointers.
func (s *state) plan(d *decision, quotas []ref.Quota, keep int) (p plan, err error) {
	heads, n := len(d.heads), len(quotas)
	given := make([]int32, 4*n+2*heads+1)
	quotaOf := given[4*n+heads+1:]
	for i := range quotaOf {
		quotaOf[i] = -1
	}
	for i, q := range quotas {
		copy(given[4*i:], []int32{int32(q.First), int32(q.Heads), int32(q.Units), int32(keep)})
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
	p.units = p.buckets + device.Ptr(4*digits*n*4)
	d.kvs = p.units + device.Ptr(4*heads)
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

// readPlan reads the decision from the device as a ref.Plan.
func (s *state) readPlan(d decision, c *change) (ref.Plan, error) {
	plan := ref.Plan{Asked: d.asked}
	for i, h := range d.heads {
		if h.kvs == 0 && !c.hides() {
			continue
		}
		kvs, err := download[int32](s, d.list+device.Ptr(4*d.starts[i]), h.kvs)
		if err != nil {
			return plan, err
		}
		plan.Edits = append(plan.Edits, c.edit(i, d.lengths[i], kvs))
	}
	return plan, nil
}
