package validate

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"kvcompress/kv"
	"kvcompress/ref"
)

// pressCase is one recorded case of kvpress: a prompt of one layer, the scores of its KVs, and which KVs are
// kept.
type pressCase struct {
	*recordedPrompt
	press    string // without AdaKV
	adaptive bool   // wrapped in AdaKV, which masks KVs that this repository's methods evict
	layer    int
	layers   int // layers of the model; 0 if the case does not say
	ratio    float64
	options  map[string][]byte
	kept     [][]int32 // [H], ascending
	tied     bool      // the last kept and the first dropped score may differ only by rounding
	score    []float32 // [H, n]
}

// adaKV is the prefix of the name of a press that is wrapped in AdaKV.
const adaKV = "AdaKV:"

// press is the method for a press: its settings, and which scores the press sets to the layer's largest plus
// 1 so that those KVs are never dropped.
type press struct {
	method        string
	settings      map[string]any
	sinks, window int
	pyramid       bool // the budget depends on the layer, and scores are sums over the window
}

// method returns the method of the case's press.
func (c *pressCase) method() (press, error) {
	var p press
	options := fields{}
	set := func(theirs, ours string, value any) {
		if p.settings == nil {
			p.settings = map[string]any{}
		}
		options[theirs], p.settings[ours] = value, value
	}
	switch c.press {
	case "KnormPress":
		p.method = "knorm"
	case "KeyDiffPress":
		p.method = "keydiff"
	case "TOVAPress":
		p.method, p.window = "tova", 1
	case "ObservedAttentionPress":
		p.method = "observed-attention"
	case "LagKVPress":
		p.method = "lagkv"
		set("n_sink", "sinks", new(4))
		set("lag_size", "lag", new(128))
		set("cross_scoring", "cross", new(false))
	case "ExpectedAttentionPress":
		p.method = "expected-attention"
		p.sinks = 4
		set("n_future_positions", "future", new(512))
		set("n_sink", "sinks", &p.sinks)
		set("use_covariance", "covariance", new(true))
		set("use_vnorm", "value_norm", new(true))
		set("epsilon", "epsilon", new(0.0))
		p.settings["rope"] = "none" // the recorder has no rotation: cosines 1 and sines 0
	case "StreamingLLMPress":
		p.method, p.sinks = "streaming-llm-kvpress", 4
		set("n_sink", "sinks", &p.sinks)
	case "SnapKVPress", "PyramidKVPress":
		p.method, p.window = "snapkv-kvpress", 64
		set("window_size", "window", &p.window)
		set("kernel_size", "kernel", new(5))
		if c.press == "PyramidKVPress" && !c.adaptive { // AdaKV uses the press's scores but not its budgets
			p.method, p.pyramid = "pyramidkv", true
			set("beta", "beta", new(20))
			p.settings["budgets"], p.settings["order"] = "kvpress", "after"
		}
	default:
		return p, fmt.Errorf("no method is %s", c.press)
	}
	if err := options.optional(c.options); err != nil {
		return p, fmt.Errorf("options: %w", err)
	}
	if c.adaptive {
		floor := 0.2
		if err := (fields{"alpha_safeguard": &floor}).optional(c.options); err != nil {
			return p, fmt.Errorf("options: %w", err)
		}
		if p.settings == nil {
			p.settings = map[string]any{}
		}
		p.settings["adaptive"], p.settings["floor"] = true, floor
	}
	return p, nil
}

// comparePress runs a case through the engine in f32 and compares the scores and the kept KVs.
func comparePress(m *methodCase) (CaseResult, error) {
	var name string
	if err := (fields{"press": &name}).decode(m.found); err != nil {
		return CaseResult{}, err
	}
	if _, err := (&pressCase{press: strings.TrimPrefix(name, adaKV)}).method(); err != nil {
		return CaseResult{Skipped: err.Error()}, nil
	}
	c, err := readPress(m)
	if err != nil {
		return CaseResult{}, err
	}
	p, err := c.method()
	if err != nil {
		return CaseResult{}, err
	}
	result := CaseResult{
		Detail: fmt.Sprintf("%s, %d tokens, %d KV heads of size %d, group %d, ratio %g",
			c.press, c.tokens, c.shape.KVHeads, c.shape.HeadSize, c.shape.Group, c.ratio),
		Compared: "scores and kept KVs",
	}
	if c.adaptive {
		result.Detail = "AdaKV over " + result.Detail
	}
	scores, kept, err := c.run(p)
	if err != nil {
		return result, err
	}
	result.Values = len(c.score)
	result.Mismatch, result.MaxError = near("score", scores, c.score, tensorTolerance)
	for h := range kept {
		result.KVs += c.tokens - len(kept[h])
		result.Values += len(c.kept[h])
	}
	if result.Mismatch == "" {
		result.Mismatch = c.compareKept(kept)
	}
	return result, nil
}

// readPress reads a case.
func readPress(m *methodCase) (*pressCase, error) {
	c := new(pressCase)
	var queryHeads, heads, tokens, dim int
	var options json.RawMessage
	if err := (fields{"press": &c.press, "q_heads": &queryHeads, "kv_heads": &heads, "tokens": &tokens,
		"dim": &dim, "compression_ratio": &c.ratio, "options": &options}).decode(m.found); err != nil {
		return nil, err
	}
	c.press, c.adaptive = strings.CutPrefix(c.press, adaKV)
	var err error
	if c.options, err = members(options); err == nil {
		err = fields{"layer": &c.layer, "layers": &c.layers}.optional(c.options)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("options: %w", err)
	case c.layer < 0 || c.layer >= kv.MaxLayers || c.layers < 0 || c.layers > 0 && c.layer >= c.layers:
		return nil, fmt.Errorf("layer %d is not one of %d", c.layer, c.layers)
	case !(c.ratio >= 0 && c.ratio < 1):
		return nil, fmt.Errorf("compression_ratio %g is not from 0 to below 1", c.ratio)
	case c.press == "LagKVPress" && dim%8 != 0:
		return nil, fmt.Errorf("dim %d is not a multiple of 8: padding would change the score", dim)
	}
	if c.recordedPrompt, err = m.prompt(queryHeads, heads, tokens, dim); err != nil {
		return nil, err
	}
	if c.score, err = m.floats("score", 1, heads, tokens); err != nil {
		return nil, err
	}
	return c, c.readKept(m.found)
}

// readKept reads which tokens are kept: "kept", or all that are not "masked".
func (c *pressCase) readKept(found map[string][]byte) error {
	var kept, masked [][]int32
	margin := math.NaN()
	if err := (fields{"kept": &kept, "masked": &masked, "margin": &margin}).optional(found); err != nil {
		return err
	}
	c.tied = !(margin > tensorTolerance)
	if (kept == nil) == (masked == nil) {
		return errors.New(`one of "kept" and "masked" must be given`)
	}
	if kept != nil && len(kept) != c.shape.KVHeads {
		return fmt.Errorf("kept: %d heads, want %d", len(kept), c.shape.KVHeads)
	}
	given := make([]bool, c.shape.KVHeads*c.tokens)
	give := func(head, token int32) error {
		if head < 0 || int(head) >= c.shape.KVHeads || token < 0 || int(token) >= c.tokens {
			return fmt.Errorf("head %d has no token %d", head, token)
		}
		at := int(head)*c.tokens + int(token)
		if given[at] {
			return fmt.Errorf("head %d, token %d is given twice", head, token)
		}
		given[at] = true
		return nil
	}
	for head, tokens := range kept {
		for _, t := range tokens {
			if err := give(int32(head), t); err != nil {
				return fmt.Errorf("kept: %w", err)
			}
		}
	}
	for _, pair := range masked {
		if len(pair) != 2 {
			return fmt.Errorf("masked: %v is no pair of head and token", pair)
		}
		if err := give(pair[0], pair[1]); err != nil {
			return fmt.Errorf("masked: %w", err)
		}
	}
	c.kept = make([][]int32, c.shape.KVHeads)
	for i, g := range given {
		if g == (kept != nil) {
			c.kept[i/c.tokens] = append(c.kept[i/c.tokens], int32(i%c.tokens))
		}
	}
	return nil
}

// run enters the prompt, compresses, and returns the scores of the case's layer, [H, n], as the press has
// them, and the kept tokens, [H], ascending.
func (c *pressCase) run(p press) (scores []float32, kept [][]int32, err error) {
	compression := ref.Compression{Rate: 1 - c.ratio}
	layers, err := c.modelLayers(p, compression)
	if err != nil {
		return nil, nil, err
	}
	e, err := c.enter(p.method, p.settings, compression, layers)
	if err != nil {
		return nil, nil, err
	}
	first := c.layer * c.shape.KVHeads
	scored := len(e.Cache().Columns()) > 0
	for h := range c.shape.KVHeads {
		if scored {
			scores = append(scores, scoresOf(e, 0, first+h)...)
		}
	}
	if err := quickIsPlain(e); err != nil {
		return nil, nil, err
	}
	if _, err := e.Compress(0); err != nil {
		return nil, nil, err
	}
	for h := range c.shape.KVHeads {
		kept = append(kept, slices.Sorted(slices.Values(held(e, first+h))))
	}
	if !scored {
		return c.streamingScores(p.sinks, compression.Kept(c.tokens)), kept, nil
	}
	if p.pyramid {
		for i := range scores {
			scores[i] /= float32(p.window)
		}
	}
	c.protect(scores, p)
	return scores, kept, nil
}

// mostLayersMore bounds the search for the number of layers of a model that a case does not state.
const mostLayersMore = 128

// modelLayers returns the model's number of layers. If the case does not state it and the budget depends on
// it, it is the smallest number with which as many KVs are kept as recorded, or, if there is none, the
// smallest number that includes the case's layer.
func (c *pressCase) modelLayers(p press, compression ref.Compression) (int, error) {
	if c.layers > 0 || !p.pyramid {
		return max(c.layers, c.layer+1), nil
	}
	cfg, err := c.config(p.method, p.settings, compression, 1)
	if err != nil {
		return 0, err
	}
	for layers := c.layer + 1; layers <= c.layer+mostLayersMore; layers++ {
		cfg.Shape.Layers = layers
		method, err := cfg.NewMethod()
		if err != nil {
			return 0, err
		}
		heads := cfg.Shape.Heads()
		counts := ref.Counts{Prompt: c.tokens, Tokens: c.tokens, Heads: slices.Repeat([]int{c.tokens}, heads)}
		left := c.tokens
		for _, quota := range method.(ref.Dropper).Rank(counts).Quotas {
			if quota.First == c.layer*cfg.Shape.KVHeads {
				left -= quota.Units
			}
		}
		if left == len(c.kept[0]) {
			return layers, nil
		}
	}
	return c.layer + 1, nil
}

// streamingScores returns StreamingLLM's scores, which the cache does not store: 0 for the tokens after the
// sinks that are dropped, 1 for all others. With a budget smaller than the sinks, more tokens have 1 than are
// kept.
func (c *pressCase) streamingScores(sinks, kept int) []float32 {
	scores := make([]float32, c.shape.KVHeads*c.tokens)
	for i := range scores {
		if t := i % c.tokens; t < sinks || t-sinks >= c.tokens-kept {
			scores[i] = 1
		}
	}
	return scores
}

// protect sets the scores that a press protects to the layer's largest other score plus 1.
func (c *pressCase) protect(scores []float32, p press) {
	first, last := min(p.sinks, c.tokens), max(0, c.tokens-p.window)
	if first == 0 && last == c.tokens {
		return
	}
	var others []float32
	for h := range c.shape.KVHeads {
		others = append(others, scores[h*c.tokens:][min(first, last):last]...)
	}
	if len(others) == 0 {
		others = []float32{0}
	}
	top := slices.Max(others) + 1
	for i := range scores {
		if t := i % c.tokens; t < first || t >= last {
			scores[i] = top
		}
	}
}

// compareKept compares the kept KVs as sets; or, if the last kept and the first dropped score may differ only
// by rounding, as multisets of recorded scores.
func (c *pressCase) compareKept(kept [][]int32) string {
	if !c.tied {
		for h := range kept {
			if !slices.Equal(kept[h], c.kept[h]) {
				return fmt.Sprintf("head %d: kept %v, %v recorded", h, kept[h], c.kept[h])
			}
		}
		return ""
	}
	scores := func(of [][]int32) [][]float32 {
		sorted := make([][]float32, len(of))
		for h, tokens := range of {
			for _, t := range tokens {
				sorted[h] = append(sorted[h], c.score[h*c.tokens+int(t)])
			}
			slices.Sort(sorted[h])
		}
		if c.adaptive { // over all heads of the layer
			all := slices.Concat(sorted...)
			slices.Sort(all)
			return [][]float32{all}
		}
		return sorted
	}
	ours, theirs := scores(kept), scores(c.kept)
	for h := range ours {
		if !slices.EqualFunc(ours[h], theirs[h], equalScores) {
			return fmt.Sprintf("head %d: the scores of what is kept are %v, %v recorded", h, ours[h], theirs[h])
		}
	}
	return ""
}
