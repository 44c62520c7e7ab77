package validate

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"kvcompress/dtype"
	"kvcompress/internal/ceil"
	"kvcompress/kv"
	"kvcompress/ref"
)

// razorCase is a recorded case of RazorAttention: golden-stick's compaction of one prompt, and three outputs
// of a query: by the paper's equation, the same without the weight, and by attention over all tokens.
type razorCase struct {
	*methodCase
	result CaseResult

	shape        kv.Shape // with dim, padded, as head size
	dim          int
	factor       float32 // factor of the queries, for the padding
	tokens       int
	sinks        int
	capacity     int
	standIn      bool // golden-stick's virtual_token
	keys, values []float32
}

// compareRazor compares one case. Outputs recorded with a stand-in are also compared for cases in which
// golden-stick has none: the tokens that it drops are then folded.
func compareRazor(m *methodCase) (CaseResult, error) {
	c := &razorCase{methodCase: m, shape: kv.Shape{Layers: 1, Group: 1}}
	err := fields{
		"tokens": &c.tokens, "heads": &c.shape.KVHeads, "dim": &c.dim,
		"sink": &c.sinks, "local_capacity": &c.capacity, "virtual_token": &c.standIn,
	}.decode(m.found)
	if err != nil {
		return CaseResult{}, err
	}
	if c.dim < 1 || c.dim > kv.MaxHeadSize {
		return CaseResult{}, fmt.Errorf(`"dim": %d is not from 1 to %d`, c.dim, kv.MaxHeadSize)
	}
	c.shape.HeadSize, c.factor = padded(c.dim)
	if err := c.shape.Check(); err != nil {
		return CaseResult{}, err
	}
	if most := maxCaseElements / (c.shape.KVHeads * c.shape.HeadSize); c.tokens < 1 || c.tokens > most {
		return CaseResult{}, fmt.Errorf(`"tokens": %d is not from 1 to %d`, c.tokens, most)
	}
	if c.capacity < 1 {
		return CaseResult{}, fmt.Errorf(`"local_capacity": %d is not at least 1`, c.capacity)
	}
	for _, x := range []struct {
		name string
		to   *[]float32
	}{{"key", &c.keys}, {"value", &c.values}} {
		rows, err := m.floats(x.name, c.tokens, c.shape.KVHeads, c.dim)
		if err != nil {
			return CaseResult{}, err
		}
		*x.to = pad(rows, c.dim, c.shape.HeadSize, 1)
	}
	c.result.Detail = fmt.Sprintf("%d tokens, %d sinks, capacity %d", c.tokens, c.sinks, c.capacity)
	if err := c.compaction(); err != nil {
		return CaseResult{}, err
	}
	if m.found["dropped"] != nil {
		if err := c.outputs(); err != nil {
			return CaseResult{}, err
		}
	}
	return c.result, nil
}

// engine returns a reference engine that holds the prompt, compressed once by the given variant to the given
// number of entries per head; 0 is no compression.
func (c *razorCase) engine(variant ref.RazorVariant, standIn bool, entries int) (*ref.Engine, ref.Compressed, error) {
	cfg := ref.Config{Method: "razor", Set: ref.Settings{}}
	cfg.Config = kv.Config{Shape: c.shape, BlockSize: 16, DType: dtype.F32}
	cfg.Blocks = c.shape.KVHeads * ceil.Div(c.tokens, cfg.BlockSize)
	cfg.Compression.MaxCacheTokens = entries
	cfg.Set.Set("variant", string(variant))
	cfg.Set.Set("full", "none")
	cfg.Set.Set("sinks", fmt.Sprint(c.sinks))
	cfg.Set.Set("stand_in", fmt.Sprint(standIn))
	e, err := ref.NewEngine(cfg, nil, nil)
	if err != nil {
		return nil, ref.Compressed{}, err
	}
	p, err := e.BeginPrompt(0, c.tokens)
	if err != nil {
		return nil, ref.Compressed{}, err
	}
	if err := p.Layer(nil, c.keys, c.values); err != nil {
		return nil, ref.Compressed{}, err
	}
	p.End()
	if entries == 0 {
		return e, ref.Compressed{}, nil
	}
	done, err := e.Compress(0)
	return e, done, err
}

// compaction compares the number of entries, and K and V of each, in order of position.
func (c *razorCase) compaction() error {
	var entries int
	if err := (fields{"entries": &entries}).decode(c.found); err != nil {
		return err
	}
	e, done, err := c.engine(ref.RazorGoldenStick, c.standIn, c.capacity)
	if err != nil {
		return err
	}
	cache := e.Cache()
	s := cache.Sequence(0)
	c.result.KVs, c.result.Blocks, c.result.Moves = &done.Evicted, &done.Freed, &done.Moved
	heads, d := c.shape.KVHeads, c.dim
	row := make([]float32, c.shape.HeadSize)
	for i := range s.Heads {
		c.result.Values++
		if got := s.Heads[i].Len; got != entries {
			c.differs(fmt.Sprintf("head %d holds %d entries, %d recorded", i, got, entries))
			return nil
		}
	}
	for _, part := range []struct {
		name   string
		stored func(slot int) []byte
	}{{"compressed_key", cache.Key}, {"compressed_value", cache.Value}} {
		want, err := c.floats(part.name, entries, heads, d)
		if err != nil {
			return err
		}
		got := make([]float32, len(want))
		for head := range s.Heads {
			h := &s.Heads[head]
			slots := make([]int, h.Len)
			for i := range slots {
				slots[i] = cache.Slot(h, i)
			}
			slices.SortFunc(slots, func(a, b int) int { return int(cache.Positions[a]) - int(cache.Positions[b]) })
			for i, slot := range slots {
				dtype.F32.Decode(row, part.stored(slot))
				copy(got[(i*heads+head)*d:][:d], row)
			}
		}
		c.near(part.name, got, want)
	}
	return nil
}

// outputs compares the query's outputs, and reports their distance from full attention with the weight and
// without.
func (c *razorCase) outputs() error {
	var dropped [2]int
	var folded int
	if err := (fields{"dropped": &dropped, "paper_n_dropped": &folded}).decode(c.found); err != nil {
		return err
	}
	recent := c.tokens - dropped[1]
	if dropped[0] != c.sinks || dropped[1] <= dropped[0] || recent < 0 {
		return fmt.Errorf(`"dropped": tokens %d to %d of %d, with %d sinks`, dropped[0], dropped[1]-1, c.tokens, c.sinks)
	}
	query, err := c.floats("query", c.shape.KVHeads, c.dim)
	if err != nil {
		return err
	}
	query = pad(query, c.dim, c.shape.HeadSize, c.factor)
	entries := c.sinks + 1 + recent
	read := func(name string, variant ref.RazorVariant, entries int) ([]float32, error) {
		want, err := c.floats(name, c.shape.KVHeads, c.dim)
		if err != nil {
			return nil, err
		}
		e, done, err := c.engine(variant, true, entries)
		if err != nil {
			return nil, err
		}
		if entries > 0 {
			c.result.Values++
			if n := done.Evicted/c.shape.KVHeads + 1; n != folded {
				c.differs(fmt.Sprintf("%s: a stand-in for %d tokens, %d recorded", name, n, folded))
			}
		}
		out := make([]float32, len(query))
		err = e.Attend(0, 0, query, out)
		got := make([]float32, 0, len(want))
		for row := range slices.Chunk(out, c.shape.HeadSize) {
			got = append(got, row[:c.dim]...)
		}
		c.near(name, got, want)
		return got, err
	}
	full, errFull := read("full_output", ref.RazorPaper, 0)
	weighted, errWeighted := read("paper_output", ref.RazorPaper, entries)
	unweighted, errUnweighted := read("unweighted_output", ref.RazorGoldenStick, entries)
	if err := errors.Join(errFull, errWeighted, errUnweighted); err != nil {
		return err
	}
	c.result.Detail += fmt.Sprintf("; a stand-in for %d; mean absolute error against full attention %.3f weighted, %.3f unweighted",
		folded, meanError(weighted, full), meanError(unweighted, full))
	return nil
}

func (c *razorCase) near(name string, got, want []float32) {
	mismatch, far := near(name, got, want, tensorTolerance)
	c.result.Values += len(want)
	c.result.addError(far)
	c.differs(mismatch)
}

// differs records a mismatch if it is the first.
func (c *razorCase) differs(mismatch string) {
	if c.result.Mismatch == "" {
		c.result.Mismatch = mismatch
	}
}

// meanError returns the mean of |a − b|.
func meanError(a, b []float32) float64 {
	sum := 0.0
	for i := range a {
		sum += math.Abs(float64(a[i]) - float64(b[i]))
	}
	return sum / float64(len(a))
}
