package validate

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"

	"kvcompress/dtype"
	"kvcompress/kv"
	"kvcompress/ref"
)

// recordedPrompt is the prompt of a recorded case, in one layer.
type recordedPrompt struct {
	shape   kv.Shape  // of one layer; the head size is padded to a multiple of 8
	tokens  int       // n
	q, k, v []float32 // [n, H·G, D], [n, H, D]
	more    int       // further tokens for which the cache has room
}

// prompt reads q, k and, if the case has it, v: [1, heads, tokens, dim] each. Without v values are 0.
func (c *methodCase) prompt(queryHeads, kvHeads, tokens, dim int) (*recordedPrompt, error) {
	for _, f := range []struct {
		name        string
		value, most int
	}{
		{"q_heads", queryHeads, kv.MaxKVHeads * kv.MaxGroup}, {"kv_heads", kvHeads, kv.MaxKVHeads},
		{"tokens", tokens, maxCaseElements}, {"dim", dim, kv.MaxHeadSize},
	} {
		if f.value < 1 || f.value > f.most {
			return nil, fmt.Errorf("%s %d is not from 1 to %d", f.name, f.value, f.most)
		}
	}
	if queryHeads%kvHeads != 0 {
		return nil, fmt.Errorf("%d query heads do not share %d KV heads evenly", queryHeads, kvHeads)
	}
	size, scale := padded(dim)
	p := &recordedPrompt{tokens: tokens}
	p.shape = kv.Shape{Layers: 1, KVHeads: kvHeads, Group: queryHeads / kvHeads, HeadSize: size}
	if err := p.shape.Check(); err != nil {
		return nil, err
	}
	if tokens > maxCaseElements/(queryHeads*size) {
		return nil, fmt.Errorf("%d tokens of %d query heads of %d have more than %d elements", tokens, queryHeads, size, maxCaseElements)
	}
	for _, x := range []struct {
		name  string
		heads int
		scale float32
		to    *[]float32
	}{{"q", queryHeads, scale, &p.q}, {"k", kvHeads, 1, &p.k}, {"v", kvHeads, 1, &p.v}} {
		if x.name == "v" && !c.has("v") {
			p.v = make([]float32, len(p.k))
			continue
		}
		values, err := c.floats(x.name, 1, x.heads, tokens, dim)
		if err != nil {
			return nil, err
		}
		*x.to = make([]float32, tokens*x.heads*p.shape.HeadSize)
		for i, value := range values {
			head, token, element := i/(tokens*dim), i/dim%tokens, i%dim
			(*x.to)[(token*x.heads+head)*p.shape.HeadSize+element] = value * x.scale
		}
	}
	return p, nil
}

// repeat gives every query head a copy of its KV head.
func (p *recordedPrompt) repeat() error {
	shape := p.shape
	shape.KVHeads, shape.Group = shape.QueryHeads(), 1
	if err := shape.Check(); err != nil {
		return err
	}
	copies := func(x []float32) []float32 {
		repeated := make([]float32, 0, len(x)*p.shape.Group)
		for row := range slices.Chunk(x, p.shape.HeadSize) {
			for range p.shape.Group {
				repeated = append(repeated, row...)
			}
		}
		return repeated
	}
	p.k, p.v = copies(p.k), copies(p.v)
	p.shape = shape
	return nil
}

// has reports whether the case has a tensor of this name.
func (c *methodCase) has(name string) bool {
	if c.tensors == nil {
		return false
	}
	_, ok := c.tensors.Tensor(c.id + "." + name)
	return ok
}

// config returns the configuration of an f32 cache for the prompt in the given number of layers.
func (p *recordedPrompt) config(method string, set map[string]any, compression ref.Compression, layers int) (ref.Config, error) {
	const blockSize = 16
	if layers < 1 || layers > kv.MaxLayers || layers > maxCaseElements/(len(p.k)+len(p.q)) {
		return ref.Config{}, fmt.Errorf("layers %d of %d tokens: want 1 to %d, and at most %d elements", layers, p.tokens, kv.MaxLayers, maxCaseElements)
	}
	cfg := ref.Default()
	cfg.Shape = p.shape
	cfg.Shape.Layers = layers
	cfg.BlockSize, cfg.DType = blockSize, dtype.F32
	cfg.Blocks = cfg.Shape.Heads() * ((p.tokens+p.more)/blockSize + 1)
	cfg.UseMethod(method)
	cfg.Set, cfg.Compression = ref.Settings{}, compression
	for key, value := range set {
		text, err := json.Marshal(value)
		if err != nil {
			return ref.Config{}, fmt.Errorf("%s: %w", key, err)
		}
		cfg.Set[key] = text
	}
	return cfg, nil
}

// enter returns an engine with an f32 cache in which the prompt is sequence 0, the same in every layer.
func (p *recordedPrompt) enter(method string, set map[string]any, compression ref.Compression, layers int) (*ref.Engine, error) {
	cfg, err := p.config(method, set, compression, layers)
	if err != nil {
		return nil, err
	}
	e, err := ref.NewEngine(cfg, nil, nil)
	if err != nil {
		return nil, err
	}
	if err := cfg.PrefillFits(p.tokens); err != nil {
		return nil, err
	}
	prompt, err := e.BeginPrompt(0, p.tokens)
	if err != nil {
		return nil, err
	}
	row := p.shape.QueryHeads() * p.shape.HeadSize
	queries := p.q[(p.tokens-min(cfg.Window(), p.tokens))*row:]
	for range layers {
		if err := prompt.Layer(queries, p.k, p.v); err != nil {
			return nil, err
		}
	}
	prompt.End()
	return e, nil
}

// quickIsPlain returns an error if the method's Plan and Spec differ for sequence 0.
func quickIsPlain(e *ref.Engine) error {
	cfg := e.Config()
	method, err := cfg.NewMethod()
	if err != nil {
		return err
	}
	v := ref.View{Cache: e.Cache(), Sequence: e.Cache().Sequence(0)}
	if !reflect.DeepEqual(method.Plan(v), method.Spec(v)) {
		return errors.New("the method's Plan and Spec differ")
	}
	return nil
}

// held returns the positions of the KVs of a head of sequence 0, in logical order.
func held(e *ref.Engine, head int) []int32 {
	c := e.Cache()
	h := &c.Sequence(0).Heads[head]
	positions := make([]int32, h.Len)
	for i := range positions {
		positions[i] = c.Positions[c.Slot(h, i)]
	}
	return positions
}

// scoresOf returns the numbers in a column for the KVs of a head of sequence 0, by position: [n, width], with
// 0 for positions that are not held.
func scoresOf(e *ref.Engine, column, head int) []float32 {
	c := e.Cache()
	s := c.Sequence(0)
	h, width := &s.Heads[head], c.Columns()[column].Width
	scores := make([]float32, s.Len*width)
	for i := range h.Len {
		slot := c.Slot(h, i)
		copy(scores[int(c.Positions[slot])*width:][:width], c.Data[column][slot*width:])
	}
	return scores
}

// sameKept describes how the set of positions that a head keeps differs from the recorded set, or returns "".
// If the recorded margin between the last kept and the first dropped score is within rounding, selections
// with equal scores are the same.
func sameKept(head int, got, want []int32, scores []float32, margin *float64) string {
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	for i, p := range want {
		if p < 0 || int(p) >= len(scores) || i > 0 && p == want[i-1] {
			return fmt.Sprintf("head %d: position %d is recorded, which is not one of %d, or twice", head, p, len(scores))
		}
	}
	if slices.Equal(got, want) {
		return ""
	}
	if len(got) == len(want) && margin != nil && *margin <= tensorTolerance {
		if slices.EqualFunc(scoresAt(scores, got), scoresAt(scores, want), equalScores) {
			return ""
		}
	}
	for _, p := range want {
		if !slices.Contains(got, p) {
			return fmt.Sprintf("head %d keeps %d KVs, without position %d; %d are recorded, with it", head, len(got), p, len(want))
		}
	}
	return fmt.Sprintf("head %d keeps %d KVs, %d recorded", head, len(got), len(want))
}

// equalScores reports whether two scores differ only by rounding.
func equalScores(a, b float32) bool {
	x, y := float64(a), float64(b)
	return math.Abs(x-y) <= tensorTolerance*max(math.Abs(x), math.Abs(y))
}

// scoresAt returns the scores at some positions, ascending.
func scoresAt(scores []float32, positions []int32) []float32 {
	picked := make([]float32, len(positions))
	for i, p := range positions {
		picked[i] = scores[p]
	}
	slices.Sort(picked)
	return picked
}
