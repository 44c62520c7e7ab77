package kernels

import (
	"kvcompress/internal/ceil"
	"kvcompress/kernels/device"
	"kvcompress/ref"
)

// prompt is one layer of a prompt to be scored.
type prompt struct {
	tables  device.Arg // of the layer's heads, in the sequence's row
	n       int        // tokens
	queries int        // number of last tokens whose queries are given
	tensors            // float32, as the model computed them; queries and keys may be overwritten
}

// scores reports whether there are kernels for a scorer.
func scores(scorer ref.Scorer) bool {
	switch scorer.(type) {
	case ref.KeyNorm, ref.KeyDiff, ref.LagKV, *ref.ExpectedAttention:
		return true
	}
	return false
}

// score sets the column of every KV of a prompt with a scorer.
func (s *state) score(by ref.Scorer, p prompt) error {
	switch scorer := by.(type) {
	case ref.KeyDiff:
		return s.scoreKeyDiff(p)
	case ref.LagKV:
		return s.scoreLagKV(p, scorer)
	case *ref.ExpectedAttention:
		return s.scoreExpected(p, scorer)
	}
	return s.scoreKeyNorm(p)
}

// byToken returns the grid of kernels with one thread block for each partition of n tokens.
func byToken(heads, n int) (grid, block device.Dim) {
	return device.Dim{X: heads, Y: ceil.Div(n, ref.Partition), Z: 1}, threads(n, ref.Partition)
}

// writeScores launches a kernel that writes the column for all tokens of a prompt. Its first arguments are
// reads, its last says.
func (s *state) writeScores(kernel string, p prompt, reads []device.Arg, says ...device.Arg) error {
	grid, block := byToken(s.cfg.Shape.KVHeads, p.n)
	args := append(reads, p.tables, device.Pointer(s.metrics), number(p.n))
	args = append(append(args, says...), s.shift(), number(s.maxBlocks))
	return s.launch("scores.ptx", kernel, grid, block, 0, args...)
}

func (s *state) scoreKeyNorm(p prompt) error {
	norms, err := s.rowNorms(p.n, p.k)
	if err != nil {
		return err
	}
	return s.writeScores("score_norms", p, []device.Arg{device.Pointer(norms)})
}

func (s *state) scoreKeyDiff(p prompt) error {
	h, d := s.cfg.Shape.KVHeads, s.cfg.Shape.HeadSize
	norms, err := s.rowNorms(p.n, p.k)
	if err != nil {
		return err
	}
	means, err := s.tokenMeans(p.n, h, p.k, norms)
	if err != nil {
		return err
	}
	return s.writeScores("score_cosines", p,
		[]device.Arg{device.Pointer(p.k), device.Pointer(norms), device.Pointer(means)}, number(h), number(d))
}

// rowNorms returns the norms of rows, [n, H, D]: [H, n].
func (s *state) rowNorms(n int, rows device.Ptr) (device.Ptr, error) {
	h, d := s.cfg.Shape.KVHeads, s.cfg.Shape.HeadSize
	norms, err := s.buffer("norms", h*n*4)
	if err != nil {
		return 0, err
	}
	grid, block := byToken(h, n)
	return norms, s.launch("scores.ptx", "row_norms", grid, block, 0,
		device.Pointer(rows), device.Pointer(norms), number(n), number(h), number(d))
}

// tokenMeans returns the mean over n tokens of rows, [n, heads, D]: [heads, D]. If norms, [heads, n], are
// given, each row is divided by its norm.
func (s *state) tokenMeans(n, heads int, rows, norms device.Ptr) (device.Ptr, error) {
	d := s.cfg.Shape.HeadSize
	width, partitions := heads*d, ceil.Div(n, ref.Partition)
	sums, err := s.buffer("sums over tokens", partitions*width*4)
	if err != nil {
		return 0, err
	}
	means, err := s.buffer("means over tokens", width*4)
	if err != nil {
		return 0, err
	}
	block := threads(width, 128)
	grid := blocks(width, block)
	if err := s.launch("scores.ptx", "sum_tokens", device.Dim{X: grid.X, Y: partitions, Z: 1}, block, 0,
		device.Pointer(rows), device.Pointer(norms), device.Pointer(sums), number(n), number(heads), number(d)); err != nil {
		return 0, err
	}
	return means, s.launch("scores.ptx", "mean_tokens", grid, block, 0,
		device.Pointer(sums), device.Pointer(means), number(n), number(width))
}

// softmax replaces scores, [rows, count], by their e_i, and returns the factors of their partitions, [rows,
// ⌈count/128⌉].
func (s *state) softmax(rows, count int, scores device.Ptr) (device.Ptr, error) {
	partitions := ceil.Div(count, ref.Partition)
	var maxima, sums, factors device.Ptr
	for _, x := range []struct {
		to   *device.Ptr
		name string
	}{{&maxima, "partition maxima"}, {&sums, "partition sums"}, {&factors, "partition factors"}} {
		var err error
		if *x.to, err = s.buffer(x.name, rows*partitions*4); err != nil {
			return 0, err
		}
	}
	if err := s.launch("scores.ptx", "softmax_partitions", device.Dim{X: rows, Y: partitions, Z: 1}, device.Dim{X: warpSize, Y: 1, Z: 1}, 0,
		device.Pointer(scores), device.Pointer(maxima), device.Pointer(sums), number(count), number(partitions)); err != nil {
		return 0, err
	}
	width := factorLanes(partitions)
	each := threads(rows*width, 128)
	return factors, s.launch("prefill.ptx", "prefill_factors", blocks(rows*width, each), each, 0,
		device.Pointer(maxima), device.Pointer(sums), device.Pointer(factors),
		number(count-1), number(rows), number(rows), number(partitions), number(width)) // each row ends with element count−1
}

func (s *state) scoreLagKV(p prompt, o ref.LagKV) error {
	segments := max(0, (p.n-o.Sinks)/o.Lag-1) // partitions with a next one
	if segments > 0 {
		if err := s.scoreLags(p, o, segments); err != nil {
			return err
		}
	}
	return s.writeScores("score_lag_rest", p, nil, number(o.Sinks), number(segments*o.Lag))
}

func (s *state) scoreLags(p prompt, o ref.LagKV, segments int) error {
	h, d := s.cfg.Shape.KVHeads, s.cfg.Shape.HeadSize
	rows, scored := 2*h*segments, segments*o.Lag
	lows, err := s.buffer("lag lows", rows*d*4)
	if err != nil {
		return err
	}
	ranges, err := s.buffer("lag ranges", rows*d*4)
	if err != nil {
		return err
	}
	weights, err := s.buffer("score weights", 2*h*scored*4)
	if err != nil {
		return err
	}
	if err := s.launch("scores.ptx", "lag_ranges", device.Dim{X: rows, Y: 1, Z: 1}, threads(d, 256), 0,
		device.Pointer(p.k), device.Pointer(p.v), device.Pointer(lows), device.Pointer(ranges),
		number(h), number(d), number(o.Sinks), number(o.Lag), number(segments)); err != nil {
		return err
	}
	grid, block := byToken(2*h, scored)
	if err := s.launch("scores.ptx", "lag_deviations", grid, block, 0,
		device.Pointer(p.k), device.Pointer(p.v), device.Pointer(lows), device.Pointer(ranges), device.Pointer(weights),
		number(h), number(d), number(o.Sinks), number(o.Lag), number(segments)); err != nil {
		return err
	}
	factors, err := s.softmax(rows, o.Lag, weights)
	if err != nil {
		return err
	}
	return s.launch("scores.ptx", "score_lags", device.Dim{X: h * segments, Y: 1, Z: 1}, threads(o.Lag, 256), 0,
		device.Pointer(weights), device.Pointer(factors), p.tables, device.Pointer(s.metrics),
		number(h), number(o.Sinks), number(o.Lag), number(segments), number(ceil.Div(o.Lag, ref.Partition)),
		flag(o.Cross), s.shift(), number(s.maxBlocks))
}

func (s *state) scoreExpected(p prompt, o *ref.ExpectedAttention) error {
	group := s.cfg.Shape.Group
	var weights, factors, norms device.Ptr
	count := max(0, p.n-o.Sinks) // tokens after the sinks
	if count > 0 {
		var err error
		if weights, err = s.expectedLogits(p, o, count); err != nil {
			return err
		}
		if factors, err = s.softmax(s.cfg.Shape.QueryHeads(), count, weights); err != nil {
			return err
		}
		if o.ValueNorm {
			if norms, err = s.rowNorms(p.n, p.v); err != nil {
				return err
			}
		}
	}
	return s.writeScores("score_expected", p,
		[]device.Arg{device.Pointer(weights), device.Pointer(factors), device.Pointer(norms)},
		number(o.Sinks), number(group), number(ceil.Div(count, ref.Partition)), device.F32(o.Epsilon))
}

// expectedLogits returns the logits of expected attention for the last count tokens of a prompt, [H·G,
// count]. It overwrites queries and keys.
func (s *state) expectedLogits(p prompt, o *ref.ExpectedAttention, count int) (device.Ptr, error) {
	shape := s.cfg.Shape
	h, group, d := shape.KVHeads, shape.Group, shape.HeadSize
	queries := min(p.queries, count)
	q := p.q + device.Ptr((p.queries-queries)*h*group*d*4)
	k := p.k + device.Ptr((p.n-count)*h*d*4)
	angles, err := s.angles(o, p.n)
	if err != nil {
		return 0, err
	}
	pairs, _, _ := o.Pairs()
	if err := s.turnBack(o, queries, h*group, q, angles+device.Ptr((p.n-queries)*2*pairs*4), 1); err != nil {
		return 0, err
	}
	future, err := upload(s, "future angles", table(o.FutureAngles(p.n)))
	if err != nil {
		return 0, err
	}
	if err := s.turnBack(o, count, h, k, future, 0); err != nil {
		return 0, err
	}
	means, err := s.tokenMeans(queries, h*group, q, 0)
	if err != nil {
		return 0, err
	}
	var c device.Ptr
	if o.Covariance {
		if c, err = s.buffer("covariances", h*group*d*d*4); err != nil {
			return 0, err
		}
		tiles := ceil.Div(d, 32)
		if err := s.launch("scores.ptx", "covariances", device.Dim{X: h * group, Y: tiles, Z: tiles}, device.Dim{X: 64, Y: 1, Z: 1}, 0,
			device.Pointer(q), device.Pointer(means), device.Pointer(c), number(queries), number(h*group), number(d)); err != nil {
			return 0, err
		}
	}
	logits, err := s.buffer("score weights", h*group*count*4)
	if err != nil {
		return 0, err
	}
	grid, block := byToken(h*group, count)
	return logits, s.launch("scores.ptx", "expected_logits", grid, block, 0,
		device.Pointer(k), device.Pointer(means), device.Pointer(c), device.Pointer(logits),
		number(h), number(group), number(d), number(count), device.F32(attentionScale(d)))
}

// turnBack multiplies rows, [n, heads, D], by transposed rotations: one from the table for each token (pitch
// 1), or one for all (pitch 0).
func (s *state) turnBack(o *ref.ExpectedAttention, n, heads int, rows, angles device.Ptr, pitch int) error {
	d := s.cfg.Shape.HeadSize
	pairs, step, partner := o.Pairs()
	work := n * heads * (d - pairs)
	block := threads(work, 256)
	return s.launch("scores.ptx", "turn_back", blocks(work, block), block, 0,
		device.Pointer(rows), device.Pointer(angles), number(n), number(heads), number(d),
		number(pairs), number(step), number(partner), number(pitch))
}

// angles returns the rotations at positions 0 to n−1, [n, 2, pairs]. They stay on the device for the next
// layer and for shorter prompts.
func (s *state) angles(o *ref.ExpectedAttention, n int) (device.Ptr, error) {
	pairs, _, _ := o.Pairs()
	if n <= s.turned {
		return s.buffers["angles"].ptr, nil
	}
	s.turned = 0
	all := make([]float32, 0, n*2*pairs)
	for position := range n {
		all = append(all, table(o.Angles(position))...)
	}
	p, err := upload(s, "angles", all)
	if err == nil {
		s.turned = n
	}
	return p, err
}

// table returns a rotation in the kernels' layout: cosines, then sines.
func table(cos, sin []float32) []float32 { return append(cos, sin...) }
