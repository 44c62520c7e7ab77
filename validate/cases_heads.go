package validate

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"kvcompress/heads"
	"kvcompress/kv"
	"kvcompress/trace"
)

// headSearch is a recorded case of RazorAttention's search for retrieval heads: q and k of a repeated
// sequence, the resulting scores, and the selected heads.
type headSearch struct {
	*methodCase
	shape  kv.Shape
	rep    heads.Repetition
	ratios heads.RazorOptions
	q, k   [][]float32 // of each layer: [H·G, tokens, D], [H, tokens, D]
	result CaseResult
}

// compareHeadSearch compares the scores of query heads and KV heads, within 1e-5, and the KV heads selected
// by induction, by echo, and by both.
func compareHeadSearch(m *methodCase) (CaseResult, error) {
	c := headSearch{methodCase: m, result: CaseResult{Compared: "induction and echo scores of query and KV heads, and the heads that they select"}}
	if err := c.read(); err != nil {
		return CaseResult{}, err
	}
	scores, err := heads.FromTensors(context.Background(), &c, c.shape, c.rep, nil)
	if err != nil {
		return CaseResult{}, err
	}
	found, err := heads.Razor(scores, c.shape.KVHeads, c.ratios, c.id)
	if err != nil {
		return CaseResult{}, err
	}
	full := make([][]bool, c.shape.Layers)
	for l := range full {
		for h := range c.shape.KVHeads {
			full[l] = append(full[l], found.IsFull(l, h))
		}
	}
	for _, s := range []struct {
		name string
		got  [][]float64
	}{
		{"induction_score", scores.Induction}, {"echo_score", scores.Echo},
		{"induction_group", found.Scores[0].KV}, {"echo_group", found.Scores[1].KV},
	} {
		if err := c.scores(s.name, s.got); err != nil {
			return CaseResult{}, err
		}
	}
	for _, s := range []struct {
		name string
		got  [][]bool
	}{
		{"induction_heads", found.Scores[0].Selects()}, {"echo_heads", found.Scores[1].Selects()}, {"retrieval_heads", full},
	} {
		if err := c.selected(s.name, s.got); err != nil {
			return CaseResult{}, err
		}
	}
	c.result.Detail = fmt.Sprintf("%d×%d KV heads, %d × %d tokens: %d full", c.shape.Layers, c.shape.KVHeads, c.rep.Repeats, c.rep.Period, found.CountFull())
	return c.result, nil
}

// read reads the options, and the tensors qL and kL of each layer L.
func (c *headSearch) read() error {
	var queryHeads int
	err := fields{
		"layers": &c.shape.Layers, "q_heads": &queryHeads, "kv_heads": &c.shape.KVHeads, "period": &c.rep.Period, "repeats": &c.rep.Repeats,
		"induction_ratio": &c.ratios.InductionRatio, "echo_ratio": &c.ratios.EchoRatio,
	}.decode(c.found)
	if err != nil {
		return err
	}
	if err := c.rep.Check(); err != nil {
		return err
	}
	if n := c.rep.Tokens(); n > maxCaseTokens {
		return fmt.Errorf("1 + %d × %d tokens, want at most %d", c.rep.Repeats, c.rep.Period, maxCaseTokens)
	}
	if c.shape.KVHeads < 1 || queryHeads%c.shape.KVHeads != 0 {
		return fmt.Errorf("%d query heads do not share %d KV heads evenly", queryHeads, c.shape.KVHeads)
	}
	c.shape.Group = queryHeads / c.shape.KVHeads
	dim := 0
	if c.tensors != nil { // the head size is their last dimension
		if info, ok := c.tensors.Tensor(c.id + ".q0"); ok && len(info.Shape) == 3 {
			dim = int(min(info.Shape[2], kv.MaxHeadSize+1))
		}
	}
	if dim == 0 {
		return fmt.Errorf("tensor %s.q0 [heads, tokens, head size] is missing", c.id)
	}
	var factor float32
	c.shape.HeadSize, factor = padded(dim)
	if err := c.shape.Check(); err != nil {
		return err
	}
	for l := range c.shape.Layers {
		q, err := c.floats(fmt.Sprint("q", l), queryHeads, c.rep.Tokens(), dim)
		if err != nil {
			return err
		}
		k, err := c.floats(fmt.Sprint("k", l), c.shape.KVHeads, c.rep.Tokens(), dim)
		if err != nil {
			return err
		}
		c.q = append(c.q, pad(q, dim, c.shape.HeadSize, factor))
		c.k = append(c.k, pad(k, dim, c.shape.HeadSize, 1))
	}
	return nil
}

// Tokens, Read and Close implement [trace.Tensors]. There are no values.
func (c *headSearch) Tokens() int  { return c.rep.Tokens() }
func (c *headSearch) Close() error { return nil }

func (c *headSearch) Read(dst []float32, t trace.Tensor, layer, from, n int) error {
	var x []float32
	switch t {
	case trace.Q:
		x = c.q[layer]
	case trace.K:
		x = c.k[layer]
	default:
		return fmt.Errorf("case %s: %v is not recorded", c.id, t)
	}
	rows, d, tokens := t.Heads(c.shape), c.shape.HeadSize, c.rep.Tokens()
	for token := range n {
		for head := range rows {
			copy(dst[(token*rows+head)*d:][:d], x[(head*tokens+from+token)*d:])
		}
	}
	return nil
}

// scores compares [L][heads] with the recorded scores by layer.
func (c *headSearch) scores(name string, got [][]float64) error {
	recorded := map[string][]float32{}
	if err := (fields{name: &recorded}).decode(c.found); err != nil {
		return err
	}
	for l, row := range got {
		now := make([]float32, len(row))
		for i, x := range row {
			now[i] = float32(x)
		}
		mismatch, far := near(fmt.Sprintf("%s of layer %d", name, l), now, recorded[strconv.Itoa(l)], tensorTolerance)
		c.result.Values += len(row)
		c.result.MaxError = max(c.result.MaxError, far)
		c.differs(mismatch)
	}
	return nil
}

// selected compares [L][H] with the recorded heads by layer.
func (c *headSearch) selected(name string, got [][]bool) error {
	recorded := map[string][]int{}
	if err := (fields{name: &recorded}).decode(c.found); err != nil {
		return err
	}
	for l, row := range got {
		want := recorded[strconv.Itoa(l)]
		for _, h := range want {
			if h < 0 || h >= len(row) {
				return fmt.Errorf("%s of layer %d: there is no head %d", name, l, h)
			}
		}
		for h, is := range row {
			c.result.Values++
			if is != slices.Contains(want, h) {
				c.differs(fmt.Sprintf("%s of layer %d: head %d is selected: %t, %t recorded", name, l, h, is, !is))
			}
		}
	}
	return nil
}

// differs records a mismatch if it is the first.
func (c *headSearch) differs(mismatch string) {
	if c.result.Mismatch == "" {
		c.result.Mismatch = mismatch
	}
}
