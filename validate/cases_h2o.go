package validate

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"kvcompress/ref"
)

// compareH2ODrop compares which KVs H2O's real_drop keeps, and their scores, after the prompt and each step.
func compareH2ODrop(c *methodCase) (CaseResult, error) {
	var (
		a             attentionCase
		heavy, recent int
		kept          [][][]int32
		scores        [][][]float32
		margin        *float64
		failed        string
	)
	if err := (fields{
		"heads": &a.heads, "prefill": &a.prompt, "steps": &a.steps, "dim": &a.headSize,
		"heavy": &heavy, "recent": &recent, "kept": &kept, "score": &scores,
	}).decode(c.found); err != nil {
		return CaseResult{}, err
	}
	if err := (fields{"margin": &margin, "error": &failed}).optional(c.found); err != nil {
		return CaseResult{}, err
	}
	if failed != "" {
		return CaseResult{Skipped: "the published code failed: " + failed}, nil
	}
	set, err := h2oSettings(&a, heavy, recent)
	if err != nil {
		return CaseResult{}, err
	}
	for _, x := range []struct {
		name string
		to   *[]float32
	}{{"q", &a.q}, {"k", &a.k}} {
		values, err := c.floats(x.name, 1, a.heads, a.tokens(), a.headSize)
		if err != nil {
			return CaseResult{}, err
		}
		*x.to = byToken(values, a.heads, a.tokens(), a.headSize)
	}
	result := CaseResult{
		Detail:   fmt.Sprintf("%d heads, %d tokens and %d steps, %d heavy, %d recent", a.heads, a.prompt, a.steps, heavy, recent),
		Compared: "the KVs kept and their scores, after the prompt and each step",
	}
	step := 0
	err = a.run("h2o-real-drop", set, heavy+recent, func(e *ref.Engine, _ []float32) error {
		if step >= len(kept) || step >= len(scores) || len(kept[step]) != a.heads || len(scores[step]) != a.heads {
			return fmt.Errorf("kept and score want %d steps of %d heads", a.steps+1, a.heads)
		}
		for head := range a.heads {
			positions, got := heldScores(e, head)
			want, err := byPosition(kept[step][head], scores[step][head])
			if err != nil {
				return fmt.Errorf("step %d, head %d: %w", step, head, err)
			}
			result.Values += 2 * len(positions)
			if margin != nil && *margin == 0 {
				slices.Sort(got)
				slices.Sort(want)
			} else if held := sorted(kept[step][head]); !slices.Equal(positions, held) && result.Mismatch == "" {
				result.Mismatch = fmt.Sprintf("step %d, head %d: keeps %v, %v recorded", step, head, positions, held)
			}
			mismatch, far := near(fmt.Sprintf("step %d, head %d: scores", step, head), got, want, tensorTolerance)
			result.MaxError = max(result.MaxError, far)
			if result.Mismatch == "" {
				result.Mismatch = mismatch
			}
		}
		step++
		return nil
	})
	return result, err
}

// h2oSettings checks a case of H2O and returns the options for its two budgets.
func h2oSettings(a *attentionCase, heavy, recent int) (ref.Settings, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	if heavy < 0 || recent < 0 || heavy > maxCaseTokens || recent > maxCaseTokens || heavy+recent < 1 {
		return nil, fmt.Errorf("budgets of %d and %d KVs, want 0 to %d each, and at least 1 in total", heavy, recent, maxCaseTokens)
	}
	part, err := json.Marshal(float64(heavy) / float64(heavy+recent))
	if err != nil {
		return nil, err
	}
	return ref.Settings{"heavy": part}, nil
}

// heldScores returns the positions of the KVs in a head of sequence 0, ascending, and their scores.
func heldScores(e *ref.Engine, head int) ([]int32, []float32) {
	cache := e.Cache()
	h := &cache.Sequence(0).Heads[head]
	positions, scores := make([]int32, h.Len), make([]float32, h.Len)
	for i := range h.Len {
		slot := cache.Slot(h, i)
		positions[i], scores[i] = cache.Positions[slot], cache.Column("scores")[slot]
	}
	ordered, err := byPosition(positions, scores)
	if err != nil { // impossible: both have the same length
		return positions, scores
	}
	return sorted(positions), ordered
}

// byPosition returns the scores sorted by position.
func byPosition(positions []int32, scores []float32) ([]float32, error) {
	if len(positions) != len(scores) {
		return nil, fmt.Errorf("%d KVs and %d scores", len(positions), len(scores))
	}
	order := make([]int, len(positions))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return int(positions[a]) - int(positions[b]) })
	out := make([]float32, len(scores))
	for i, j := range order {
		out[i] = scores[j]
	}
	return out, nil
}

// compareH2OMask compares which KVs H2O's mask leaves visible for the next query, and the outputs, after the
// prompt and each step.
func compareH2OMask(c *methodCase) (CaseResult, error) {
	var (
		a                       attentionCase
		heavy, recent           int
		heavyRatio, recentRatio float64
		visible                 [][]string
	)
	if err := (fields{
		"heads": &a.heads, "prefill": &a.prompt, "steps": &a.steps, "head_dim": &a.headSize,
		"heavy_budget": &heavy, "recent_budget": &recent, "heavy_ratio": &heavyRatio, "recent_ratio": &recentRatio,
		"visible": &visible,
	}).decode(c.found); err != nil {
		return CaseResult{}, err
	}
	if heavy == 0 && recent == 0 {
		return CaseResult{Skipped: "no KV may be seen: the published code then attends to all alike"}, nil
	}
	set, err := h2oSettings(&a, heavy, recent)
	if err != nil {
		return CaseResult{}, err
	}
	set["published"] = json.RawMessage("true")
	width := a.heads * a.headSize
	if width > maxCaseHeads {
		return CaseResult{}, fmt.Errorf("%d heads of %d, want at most %d elements", a.heads, a.headSize, maxCaseHeads)
	}
	x, err := c.floats("x", a.tokens(), width)
	if err != nil {
		return CaseResult{}, err
	}
	for _, p := range []struct {
		name string
		to   *[]float32
	}{{"wq", &a.q}, {"wk", &a.k}, {"wv", &a.v}} {
		w, err := c.floats(p.name, width, width)
		if err != nil {
			return CaseResult{}, err
		}
		*p.to = project(x, w, width)
	}
	output, err := c.floats("output", a.tokens(), width)
	if err != nil {
		return CaseResult{}, err
	}

	result := CaseResult{
		Detail:   fmt.Sprintf("%d heads, %d tokens and %d steps, %d heavy, %d recent", a.heads, a.prompt, a.steps, heavy, recent),
		Compared: "both budgets, what each query may see, and the outputs of the steps",
		Values:   2,
	}
	if h, r := int(heavyRatio*float64(a.prompt)), int(recentRatio*float64(a.prompt)); h != heavy || r != recent {
		result.Mismatch = fmt.Sprintf("budgets of %d and %d KVs, %d and %d recorded", h, r, heavy, recent)
	}
	step := 0
	err = a.run("h2o-mask", set, heavy+recent, func(e *ref.Engine, out []float32) error {
		if step >= len(visible) || len(visible[step]) != a.heads {
			return fmt.Errorf("visible wants %d steps of %d heads", a.steps+1, a.heads)
		}
		for head, want := range visible[step] {
			got, err := seen(e, head)
			if err != nil {
				return err
			}
			result.Values += len(want)
			if got != want && result.Mismatch == "" {
				result.Mismatch = fmt.Sprintf("step %d, head %d: the next query sees %s, %s recorded", step, head, got, want)
			}
		}
		if step > 0 {
			result.Values += width
			mismatch, far := near(fmt.Sprintf("step %d: output", step), out, output[(a.prompt+step-1)*width:][:width], tensorTolerance)
			result.MaxError = max(result.MaxError, far)
			if result.Mismatch == "" {
				result.Mismatch = mismatch
			}
		}
		step++
		return nil
	})
	return result, err
}

// seen returns what the next query of sequence 0 sees in a head: a digit for each KV, 1 if it is visible and
// 0 if it is hidden, and one for the query's own KV.
func seen(e *ref.Engine, head int) (string, error) {
	cfg := e.Config()
	method, err := cfg.NewMethod()
	if err != nil {
		return "", err
	}
	masker, ok := method.(ref.Masker)
	if !ok {
		return "", fmt.Errorf("method %s hides nothing", method.Name())
	}
	cache := e.Cache()
	s := cache.Sequence(0)
	h := &s.Heads[head]
	var text strings.Builder
	digit := func(hidden bool) {
		if hidden {
			text.WriteByte('0')
		} else {
			text.WriteByte('1')
		}
	}
	for i := range h.Len {
		digit(cache.Data[masker.Hidden()][cache.Slot(h, i)] != 0)
	}
	digit(masker.HidesNew(s.Prompt, h.Len))
	return text.String(), nil
}

// project returns x·wᵀ: x is [tokens, width], w [width, width].
func project(x, w []float32, width int) []float32 {
	y := make([]float32, len(x))
	for i := range y {
		row := x[i/width*width:][:width]
		var sum float64
		for e, v := range w[i%width*width:][:width] {
			sum += float64(row[e]) * float64(v)
		}
		y[i] = float32(sum)
	}
	return y
}
