package validate

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"kvcompress/internal/work"
	"kvcompress/safetensors"
	"kvcompress/trace"
)

// comparers returns the functions that compare recorded cases, by the "method" of their file. "METHOD_table"
// compares rows of a file's table.
func comparers() map[string]func(*methodCase) (CaseResult, error) {
	return map[string]func(*methodCase) (CaseResult, error){
		"adakv":             compareAdaKV,
		"duo_attention":     compareDuo,
		"flexgen_quant":     compareFlexGen,
		"h2o_mask":          compareH2OMask,
		"h2o_prefill":       compareH2OPrefill,
		"h2o_real_drop":     compareH2ODrop,
		"kivi_cache":        compareKIVICache,
		"kivi_quant":        compareKIVI,
		"minicache":         compareMiniCache,
		"kvpress":           comparePress,
		"pyramidkv":         comparePyramidKV,
		"pyramidkv_table":   comparePyramidKVBudgets,
		"quest":             compareQuest,
		"razor_compress":    compareRazor,
		"razor_head_search": compareHeadSearch,
		"snapkv":            compareSnapKV,
		"streaming_llm":     compareStreaming,
	}
}

// methodCase is one recorded case of a method. A comparer ignores members that it does not know.
type methodCase struct {
	id      string
	found   map[string][]byte
	tensors *safetensors.File // nil if there are none
}

// methodCases compares every case of a method's file, a JSON object with "method", "cases", and for some
// methods "table". The error is that of the first case that cannot be compared; the results are those of all
// others.
func methodCases(ctx context.Context, text []byte, tensors *safetensors.File) ([]CaseResult, error) {
	file, err := members(text)
	if err != nil {
		return nil, fmt.Errorf("cases: %w", err)
	}
	if file["method"] == nil && file["cases"] == nil {
		return nil, errNoCases
	}
	var method, source string
	if err := (fields{"method": &method}).optional(file); err != nil {
		return nil, fmt.Errorf("cases: %w", err)
	}
	if method == "" {
		if err := (fields{"source": &source}).optional(file); err != nil {
			return nil, fmt.Errorf("cases: %w", err)
		}
	}
	var cases, table []json.RawMessage
	if err := (fields{"cases": &cases}).decode(file); err != nil {
		return nil, fmt.Errorf("cases: %w", err)
	}
	if err := (fields{"table": &table}).optional(file); err != nil {
		return nil, fmt.Errorf("cases: %w", err)
	}
	if len(cases)+len(table) == 0 {
		return nil, errors.New("cases: the file has none")
	}
	var results []CaseResult
	var first error
	failed := 0
	for i, raw := range append(cases[:len(cases):len(cases)], table...) {
		if err := ctx.Err(); err != nil {
			return results, fmt.Errorf("cases: stopped before case %d: %w", i, err)
		}
		work.Step(ctx)
		kind, id := method, strconv.Itoa(i)
		if i >= len(cases) {
			kind, id = method+"_table", fmt.Sprintf("table %d", i-len(cases))
		}
		var result CaseResult
		if method == "" && isSchedule(raw) {
			result, err = compareSchedule(source, id, raw)
		} else {
			result, err = compareMethod(kind, id, raw, tensors)
			result.Kind = kind
		}
		if err != nil {
			if failed++; first == nil {
				first = fmt.Errorf("cases: case %s: %w", result.ID, err)
			}
			continue
		}
		result.Case = i
		result.Agree = result.Skipped == "" && result.Mismatch == ""
		results = append(results, result)
	}
	if failed > 1 {
		first = fmt.Errorf("%w (%d more of its cases cannot be compared)", first, failed-1)
	}
	return results, first
}

func compareMethod(kind, id string, raw []byte, tensors *safetensors.File) (CaseResult, error) {
	found, err := members(raw)
	if err == nil {
		err = fields{"id": &id}.optional(found)
	}
	if err != nil {
		return CaseResult{ID: id}, err
	}
	compare := comparers()[kind]
	if compare == nil {
		skipped := fmt.Sprintf("%s is not implemented", kind)
		if kind == "" {
			skipped = `the file names no "method"`
		}
		return CaseResult{ID: id, Skipped: skipped}, nil
	}
	result, err := compare(&methodCase{id, found, tensors})
	result.ID = id
	return result, err
}

// maxCaseElements bounds the elements of one tensor of a case.
const maxCaseElements = 1 << 26

// floats reads the case's tensor of this name. It must have a float type and exactly these dimensions, and no
// value beyond trace.MaxMagnitude.
func (c *methodCase) floats(name string, dims ...int) ([]float32, error) {
	values, err := c.anyFloats(name, dims...)
	if err != nil {
		return nil, err
	}
	for i, v := range values {
		if !(v >= -trace.MaxMagnitude && v <= trace.MaxMagnitude) {
			return nil, fmt.Errorf("tensor %s.%s: element %d, %g, is beyond ±2⁵⁶", c.id, name, i, v)
		}
	}
	return values, nil
}

// anyFloats is floats for a tensor that may hold any values, including NaN.
func (c *methodCase) anyFloats(name string, dims ...int) ([]float32, error) {
	info, data, err := c.read(name, dims)
	if err != nil {
		return nil, err
	}
	var values []float32
	switch format, ok := info.DType.Float(); {
	case ok:
		values = make([]float32, len(data)/format.Size())
		format.Decode(values, data)
	case info.DType == safetensors.F64:
		values = make([]float32, len(data)/8)
		for i := range values {
			values[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(data[8*i:])))
		}
	default:
		return nil, fmt.Errorf("tensor %s.%s is %s, want a float type", c.id, name, info.DType)
	}
	return values, nil
}

// ints reads the case's tensor of this name, which must be I32 with exactly these dimensions.
func (c *methodCase) ints(name string, dims ...int) ([]int32, error) {
	info, data, err := c.read(name, dims)
	if err != nil {
		return nil, err
	}
	if info.DType != safetensors.I32 {
		return nil, fmt.Errorf("tensor %s.%s is %s, want I32", c.id, name, info.DType)
	}
	values := make([]int32, len(data)/4)
	for i := range values {
		values[i] = int32(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return values, nil
}

// read reads the bytes of the case's tensor of this name, which must have exactly these dimensions.
func (c *methodCase) read(name string, dims []int) (safetensors.Info, []byte, error) {
	fail := func(format string, args ...any) (safetensors.Info, []byte, error) {
		return safetensors.Info{}, nil, fmt.Errorf("tensor %s.%s"+format, append([]any{c.id, name}, args...)...)
	}
	if c.tensors == nil {
		return fail(": there is no .safetensors file beside the JSON")
	}
	full := c.id + "." + name
	info, ok := c.tensors.Tensor(full)
	if !ok {
		return fail(" is missing")
	}
	want := make([]int64, len(dims))
	for i, d := range dims {
		want[i] = int64(d)
	}
	if !slices.Equal(info.Shape, want) {
		return fail(" is %v, want %v", info.Shape, want)
	}
	elements := int64(1)
	for _, d := range want {
		elements *= d // bounded by the size of the file
	}
	if elements > maxCaseElements {
		return fail(" has more than %d elements", maxCaseElements)
	}
	data := make([]byte, info.Bytes())
	return info, data, c.tensors.ReadBytes(data, full, 0)
}

// tensorTolerance is the largest error of an element against a recording, relative to the largest magnitude
// in its tensor, or to 1 if that is larger.
const tensorTolerance = 1e-5

// near compares got with a recorded tensor. It describes the first element with an error above tolerance,
// relative to the tensor's largest magnitude or 1, and returns the largest such relative error.
func near(name string, got, want []float32, tolerance float64) (mismatch string, far float64) {
	if len(got) != len(want) {
		return fmt.Sprintf("%s: %d elements, %d recorded", name, len(got), len(want)), 0
	}
	largest := 1.0
	for _, v := range want {
		largest = max(largest, math.Abs(float64(v)))
	}
	for i := range want {
		distance := math.Abs(float64(got[i])-float64(want[i])) / largest
		far = max(far, distance)
		if !(distance <= tolerance) && mismatch == "" {
			mismatch = fmt.Sprintf("%s[%d]: %g, %g recorded", name, i, got[i], want[i])
		}
	}
	return mismatch, far
}
