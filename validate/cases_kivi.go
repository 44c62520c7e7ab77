package validate

import (
	"encoding/json"
	"fmt"
	"slices"

	"kvcompress/kv"
	"kvcompress/ref"
)

// compareKIVICache compares how many keys and values KIVI's cache has quantized and in full precision, and
// the outputs, after the prompt and each step.
func compareKIVICache(c *methodCase) (CaseResult, error) {
	var (
		a                             attentionCase
		group, residual, kBits, vBits int
		lengths                       [][4]int
		failed                        string
	)
	if err := (fields{
		"heads": &a.heads, "prefill": &a.prompt, "steps": &a.steps, "head_dim": &a.headSize,
		"group": &group, "residual": &residual, "k_bits": &kBits, "v_bits": &vBits,
	}).decode(c.found); err != nil {
		return CaseResult{}, err
	}
	if err := (fields{"lengths": &lengths, "error": &failed}).optional(c.found); err != nil {
		return CaseResult{}, err
	}
	if failed != "" {
		return CaseResult{Skipped: "the published code failed: " + failed}, nil
	}
	if err := a.check(); err != nil {
		return CaseResult{}, err
	}
	if size, _ := padded(a.headSize); size != a.headSize {
		return CaseResult{}, fmt.Errorf("head_dim is %d, want a multiple of 8: groups of channels cannot be padded", a.headSize)
	}
	row := a.heads * a.headSize
	for _, x := range []struct {
		name string
		to   *[]float32
	}{{"q", &a.q}, {"k", &a.k}, {"v", &a.v}} {
		var err error
		if *x.to, err = c.floats(x.name, a.tokens(), row); err != nil {
			return CaseResult{}, err
		}
	}
	output, err := c.anyFloats("output", a.tokens(), row)
	if err != nil {
		return CaseResult{}, err
	}
	if len(lengths) != a.steps+1 {
		return CaseResult{}, fmt.Errorf("lengths has %d entries, want one for the prompt and each of %d steps", len(lengths), a.steps)
	}
	set := ref.Settings{}
	for key, value := range map[string]int{"bits": kBits, "value_bits": vBits, "group": group, "residual": residual} {
		text, err := json.Marshal(value)
		if err != nil {
			return CaseResult{}, err
		}
		set[key] = text
	}
	result := CaseResult{
		Detail: fmt.Sprintf("%d heads of %d, %d tokens and %d steps, %d and %d bits in groups of %d, residual %d",
			a.heads, a.headSize, a.prompt, a.steps, kBits, vBits, group, residual),
		Compared: "keys and values quantized and in full precision, after the prompt and each step, and the outputs of the steps",
	}
	step, undefined := 0, 0
	err = a.run("kivi", set, 0, func(e *ref.Engine, out []float32) error {
		s := e.Cache().Sequence(0)
		for head := range s.Heads {
			h := &s.Heads[head]
			keys, values := h.End(kv.Keys), h.End(kv.Values)
			got := [4]int{keys, h.KVs() - keys, values, h.KVs() - values}
			result.Values += len(got)
			if got != lengths[step] && result.Mismatch == "" {
				result.Mismatch = fmt.Sprintf("step %d, head %d: lengths %d, %d recorded", step, head, got, lengths[step])
			}
		}
		if out != nil {
			want := slices.Clone(output[(a.prompt+step-1)*row:][:row])
			for i, v := range want {
				if v != v { // the published code divides by 0 for a constant group
					want[i] = out[i]
					undefined++
				}
			}
			result.Values += len(want)
			mismatch, far := near(fmt.Sprintf("step %d: output", step), out, want, tensorTolerance)
			result.MaxError = max(result.MaxError, far)
			if result.Mismatch == "" {
				result.Mismatch = mismatch
			}
		}
		step++
		return nil
	})
	if undefined > 0 {
		result.Detail += fmt.Sprintf("; %d outputs are NaN in the published code, of constant groups", undefined)
		result.Values -= undefined
	}
	return result, err
}
