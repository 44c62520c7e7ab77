package kernels

import (
	"kvcompress/dtype"
	"kvcompress/internal/ceil"
	"kvcompress/kernels/device"
	"kvcompress/ref"
)

// maxPrefillWeights is the default of state.mostWeights: the bytes of attention weights that a prefill holds
// at a time, if more than those of a single position.
const maxPrefillWeights = 64 << 20

// promptNumbers sets the observed column for every KV of one layer of a row's prompt of n tokens, if there is
// an observation. It overwrites the inputs.
func (s *state) promptNumbers(o *ref.Observation, row, layer, n int, on tensors) error {
	queries := o.Queries(n)
	var err error
	switch {
	case o != nil && o.Scorer != nil:
		err = s.score(o.Scorer, prompt{tables: device.Pointer(s.layerTables(row, layer)), n: n, queries: queries, tensors: on})
	case queries > 0:
		err = s.prefillMetrics(o, row, layer, n, queries, on.q, on.k)
	default:
		return nil
	}
	if err != nil || !o.LayerMean {
		return err
	}
	each := threads(n*s.width, 256)
	return s.launch("prefill.ptx", "layer_mean", blocks(n*s.width, each), each, 0,
		device.Pointer(s.layerTables(row, layer)), device.Pointer(s.metrics),
		number(n), number(s.cfg.Shape.KVHeads), number(s.width), s.shift(), number(s.maxBlocks))
}

// prefillMetrics sets the observed column for every KV of one layer of a row's prompt of n tokens, from its
// last window queries, at least one. On the device, q is [window, H·G, D] and k is [n, H, D] as the model
// computed it, both float32.
func (s *state) prefillMetrics(o *ref.Observation, row, layer, n, window int, q, k device.Ptr) error {
	perPosition := s.cfg.Shape.QueryHeads() * ceil.Div(n, ref.Partition) * ref.Partition * 4
	return s.prefillMetricsBy(o, max(1, s.mostWeights/perPosition), row, layer, n, window, q, k)
}

// prefillMetricsBy is prefillMetrics in which a launch handles the queries of at most `together` positions.
func (s *state) prefillMetricsBy(o *ref.Observation, together, row, layer, n, window int, q, k device.Ptr) error {
	shape := s.cfg.Shape
	h, group, d := shape.KVHeads, shape.Group, shape.HeadSize
	partitions := ceil.Div(n, ref.Partition)
	gains, err := s.buffer("prefill gains", h*group*partitions*ref.Partition*4)
	if err != nil {
		return err
	}
	for w := 0; w < window; w += together {
		from := q + device.Ptr(w*h*group*d*4)
		if err := s.observe(o, n-window+w, min(together, window-w), n, w > 0, from, k, gains); err != nil {
			return err
		}
	}
	grid, block := device.Dim{X: h, Y: partitions, Z: 1}, threads(n, ref.Partition)
	return s.finish(o, n, window, device.Pointer(s.layerTables(row, layer)), device.Pointer(gains), grid, block)
}

// finish computes the scores of a layer's n keys from the gains of the last window queries: scale, pool,
// reduce.
func (s *state) finish(o *ref.Observation, n, window int, tables, gains device.Arg, grid, block device.Dim) error {
	group, partitions := s.cfg.Shape.Group, grid.Y
	if metric(o) {
		reach, average := 0, 0
		if o.Pool.Kind == ref.MaxPool {
			reach = o.Pool.Width / 2
		}
		if o.Scale == ref.ScaleByPosition {
			average = window
		}
		return s.launch("prefill.ptx", "prefill_finish", grid, block, 0,
			gains, tables, device.Pointer(s.metrics),
			number(n), number(group), number(partitions), s.shift(), number(s.maxBlocks),
			number(reach), number(average))
	}
	scored := n
	if o.Outside {
		scored -= window
	}
	return s.launch("prefill.ptx", "prefill_numbers", grid, block, 0,
		gains, tables, device.Pointer(s.metrics),
		number(n), number(scored), number(window), number(group), number(partitions), s.shift(), number(s.maxBlocks),
		number(int(o.Scale)), number(int(o.Pool.Kind)), number(o.Pool.Width), number(int(o.Group)), flag(o.GroupFirst))
}

// metric reports whether an observation computes scores from gains as KV-Compress's metric does.
func metric(o *ref.Observation) bool {
	return !o.Outside && o.Scale <= ref.ScaleByPosition && o.Pool.Kind <= ref.MaxPool && o.Group == ref.GroupSum && !o.GroupFirst
}

// observe adds to the gains what the queries at positions first, first+1, … give to the keys of a prompt of n
// tokens. Unless goOn is set, the gains start from 0.
func (s *state) observe(o *ref.Observation, first, queries, n int, goOn bool, q, k, gains device.Ptr) error {
	shape := s.cfg.Shape
	h, group, d := shape.KVHeads, shape.Group, shape.HeadSize
	rows, partitions := queries*h*group, ceil.Div(n, ref.Partition)
	seen := ceil.Div(first+queries, ref.Partition) // partitions with keys that these queries attend to
	part, err := s.partials(rows, partitions)
	if err != nil {
		return err
	}
	together := min(queries*group, mostQueries)
	if err := s.launch("prefill.ptx", "prefill_partitions",
		device.Dim{X: h * ceil.Div(queries*group, mostQueries), Y: seen, Z: 1}, device.Dim{X: warpSize, Y: 1, Z: 1},
		partitionShared(dtype.F32, together, d),
		device.Pointer(q), device.Pointer(k), device.Pointer(part.weights), device.Pointer(part.maxima), device.Pointer(part.sums),
		number(first), number(h), number(group), number(d), number(queries), number(partitions),
		device.F32(attentionScale(d))); err != nil {
		return err
	}
	width := factorLanes(partitions)
	each := threads(rows*width, 128)
	if err := s.launch("prefill.ptx", "prefill_factors",
		blocks(rows*width, each), each, 0,
		device.Pointer(part.maxima), device.Pointer(part.sums), device.Pointer(part.factors),
		number(first), number(rows), number(h*group), number(partitions), number(width)); err != nil {
		return err
	}
	touched := partitions
	if goOn {
		touched = seen
	}
	return s.launch("prefill.ptx", "prefill_gains",
		device.Dim{X: h * group, Y: touched, Z: 1}, threads(n, ref.Partition), 0,
		device.Pointer(part.weights), device.Pointer(part.factors), device.Pointer(gains),
		number(first), number(queries), number(n), number(partitions),
		number(o.Buffer), flag(o.Norm == ref.L2), flag(goOn))
}
