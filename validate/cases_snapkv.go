package validate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"kvcompress/kv"
	"kvcompress/ref"
)

// windowCase is the common part of the recorded cases of SnapKV, PyramidKV, Ada-SnapKV and H2O's prefill
// form: a prompt in one layer, and what every head keeps of it.
type windowCase struct {
	QueryHeads, KVHeads, Tokens, Dim, Window int
	Kept                                     [][]int32
	Margin                                   *float64
	group                                    string // reduction over the group
	prompt                                   *recordedPrompt
}

// window reads a case; field names the reduction over the group. If that is null and the recording lists kept
// KVs for every query head, the published code repeated the KV heads before it compressed: the case then has
// as many KV heads as query heads.
func (c *methodCase) window(field string) (*windowCase, error) {
	w := windowCase{group: "mean"}
	if err := (fields{
		"q_heads": &w.QueryHeads, "kv_heads": &w.KVHeads, "tokens": &w.Tokens, "dim": &w.Dim, "window": &w.Window, "kept": &w.Kept,
	}).decode(c.found); err != nil {
		return nil, err
	}
	reduction := ""
	if err := (fields{"margin": &w.Margin, field: &reduction}).optional(c.found); err != nil {
		return nil, err
	}
	var err error
	if w.prompt, err = c.prompt(w.QueryHeads, w.KVHeads, w.Tokens, w.Dim); err != nil {
		return nil, err
	}
	switch {
	case reduction != "":
		w.group = reduction
	case len(w.Kept) == w.QueryHeads:
		if err := w.prompt.repeat(); err != nil {
			return nil, err
		}
		w.KVHeads = w.QueryHeads
	}
	if len(w.Kept) != w.KVHeads {
		return nil, fmt.Errorf("kept has %d heads, kv_heads is %d", len(w.Kept), w.KVHeads)
	}
	return &w, nil
}

// pooling reads a pooling and its width as options of the methods.
func (c *methodCase) pooling(set map[string]any) error {
	var kernel int
	var pooling string
	if err := (fields{"kernel": &kernel, "pooling": &pooling}).decode(c.found); err != nil {
		return err
	}
	set["kernel"], set["pooling"] = kernel, strings.TrimSuffix(pooling, "pool")
	return nil
}

// replay runs the method on the prompt and compares what the heads of one layer keep, and the scores if the
// case has them, with the recording.
func (w *windowCase) replay(c *methodCase, method string, set map[string]any, capacity, layers, layer int) (CaseResult, error) {
	r := CaseResult{
		Compared: "positions that every head keeps",
		Detail: fmt.Sprintf("%d query and %d KV heads of %d, %d tokens, window %d, capacity %d",
			w.QueryHeads, w.KVHeads, w.Dim, w.Tokens, w.Window, capacity),
	}
	if capacity < 1 {
		return r, fmt.Errorf("a capacity of %d KVs, want at least 1", capacity)
	}
	if layer < 0 || layer >= layers {
		return r, fmt.Errorf("layer %d is not one of %d", layer, layers)
	}
	e, err := w.prompt.enter(method, set, ref.Compression{MaxCacheTokens: capacity}, layers)
	if err != nil {
		return r, err
	}
	first := layer * w.KVHeads
	var scores [][]float32
	for head := range w.KVHeads {
		scores = append(scores, scoresOf(e, 0, first+head))
	}
	if past := w.Tokens - w.Window; past > 0 && c.has("score") {
		want, err := c.floats("score", 1, w.KVHeads, past)
		if err != nil {
			return r, err
		}
		var got []float32
		for head := range w.KVHeads {
			got = append(got, scores[head][:past]...)
		}
		r.Compared = "scores before the window, and " + r.Compared
		r.Values += len(want)
		r.Mismatch, r.MaxError = near("score", got, want, tensorTolerance)
	}
	if err := quickIsPlain(e); err != nil {
		r.Mismatch = cmp.Or(r.Mismatch, err.Error())
	}
	if _, err := e.Compress(0); err != nil {
		return r, err
	}
	for head, want := range w.Kept {
		r.Values += len(want)
		if r.Mismatch == "" {
			r.Mismatch = sameKept(head, held(e, first+head), want, scores[head], w.Margin)
		}
	}
	return r, nil
}

func compareSnapKV(c *methodCase) (CaseResult, error) {
	w, err := c.window("gqa_agg")
	if err != nil {
		return CaseResult{}, err
	}
	var capacity int
	set := map[string]any{"window": w.Window, "group": w.group}
	if err := (fields{"max_capacity": &capacity}).decode(c.found); err != nil {
		return CaseResult{}, err
	}
	if err := c.pooling(set); err != nil {
		return CaseResult{}, err
	}
	r, err := w.replay(c, "snapkv", set, capacity, 1, 0)
	if err != nil || w.QueryHeads != w.KVHeads || r.Mismatch != "" {
		return r, err
	}
	delete(set, "group") // with a copy for each query head there is no reduction
	published, err := w.replay(c, "snapkv-published", set, capacity, 1, 0)
	r.Values += published.Values
	r.Mismatch = published.Mismatch
	return r, err
}

func compareH2OPrefill(c *methodCase) (CaseResult, error) {
	w, err := c.window("gqa_agg")
	if err != nil {
		return CaseResult{}, err
	}
	var capacity int
	set := map[string]any{"window": w.Window, "group": w.group}
	if err := (fields{"max_capacity": &capacity}).decode(c.found); err != nil {
		return CaseResult{}, err
	}
	return w.replay(c, "h2o-prefill", set, capacity, 1, 0)
}

func comparePyramidKV(c *methodCase) (CaseResult, error) {
	w, err := c.window("gqa_agg")
	if err != nil {
		return CaseResult{}, err
	}
	var capacity, layers, layer, beta int
	if err := (fields{"max_capacity": &capacity, "layers": &layers, "layer": &layer, "beta": &beta}).decode(c.found); err != nil {
		return CaseResult{}, err
	}
	set := map[string]any{"window": w.Window, "group": w.group, "beta": beta}
	if err := c.pooling(set); err != nil {
		return CaseResult{}, err
	}
	return w.replay(c, "pyramidkv", set, capacity, layers, layer)
}

// comparePyramidKVBudgets compares how much of a prompt of zeros every layer keeps: budgets depend only on
// lengths.
func comparePyramidKVBudgets(c *methodCase) (CaseResult, error) {
	var layers, beta, window, capacity, tokens int
	var past []int
	if err := (fields{
		"layers": &layers, "beta": &beta, "window": &window, "max_capacity": &capacity, "tokens": &tokens, "past": &past,
	}).decode(c.found); err != nil {
		return CaseResult{}, err
	}
	r := CaseResult{
		Compared: "KVs that every layer keeps before the window",
		Detail:   fmt.Sprintf("%d layers, β %d, %d tokens, window %d, capacity %d", layers, beta, tokens, window, capacity),
		Values:   len(past),
	}
	const most = 1 << 20
	switch {
	case layers != len(past):
		return r, fmt.Errorf("past has %d layers, layers is %d", len(past), layers)
	case layers < 1 || layers > kv.MaxLayers:
		return r, fmt.Errorf("layers %d is not from 1 to %d", layers, kv.MaxLayers)
	case capacity < 1:
		return r, fmt.Errorf("max_capacity %d is not at least 1", capacity)
	case tokens < 1 || tokens > most:
		return r, fmt.Errorf("tokens %d is not from 1 to %d", tokens, most)
	}
	set := ref.Settings{}
	set.Set("window", fmt.Sprint(window))
	set.Set("beta", fmt.Sprint(beta))
	cfg := ref.Config{Method: "pyramidkv", Set: set, Compression: ref.Compression{MaxCacheTokens: capacity}}
	cfg.Shape = kv.Shape{Layers: layers, KVHeads: 1, Group: 1, HeadSize: kv.MinHeadSize}
	method, err := cfg.NewMethod()
	if err != nil {
		return r, err
	}
	kept := slices.Repeat([]int{tokens}, layers)
	for _, q := range method.(ref.Dropper).Rank(ref.Counts{Prompt: tokens, Tokens: tokens, Heads: slices.Clone(kept)}).Quotas {
		kept[q.First] -= q.Units
	}
	for l, want := range past {
		if tokens >= capacity {
			want += window
		}
		if kept[l] != want && r.Mismatch == "" {
			r.Mismatch = fmt.Sprintf("layer %d keeps %d KVs with the window, %d recorded", l, kept[l], want)
		}
	}
	return r, nil
}

func compareAdaKV(c *methodCase) (CaseResult, error) {
	w, err := c.window("gqa_func")
	if err != nil {
		return CaseResult{}, err
	}
	var capacity, layers, layer, beta int
	var alpha float64
	var pyramid, normalize bool
	if err := (fields{
		"base_capacity": &capacity, "layers": &layers, "layer": &layer, "beta": &beta, "floor_alpha": &alpha, "pyramid": &pyramid,
	}).decode(c.found); err != nil {
		return CaseResult{}, err
	}
	if err := (fields{"normalize": &normalize}).optional(c.found); err != nil {
		return CaseResult{}, err
	}
	set := map[string]any{"window": w.Window, "group": w.group, "floor": alpha, "normalize": normalize, "pyramid": pyramid, "beta": beta}
	if err := c.pooling(set); err != nil {
		return CaseResult{}, err
	}
	return w.replay(c, "ada-snapkv", set, capacity, layers, layer)
}
