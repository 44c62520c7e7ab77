package validate

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	"kvcompress/safetensors"
	"kvcompress/trace"
)

// comparers returns the table of what compares recorded cases, by the "method" of their
// file; "METHOD_table" compares the rows of a file's table.
func comparers() map[string]func(*methodCase) (CaseResult, error) {
	return map[string]func(*methodCase) (CaseResult, error){
		"adakv":             compareAdaKV,
		"duo_attention":     compareDuo,
		"h2o_mask":          compareH2OMask,
		"h2o_prefill":       compareH2OPrefill,
		"h2o_real_drop":     compareH2ODrop,
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

// methodCase is one recorded case of a method. What a comparer does not ask for is what
// else the recorder had to say.
type methodCase struct {
	id      string
	found   map[string][]byte
	tensors *safetensors.File // nil if there are none
}

// methodCases compares every case of a method's file, a JSON object: "method", "cases",
// and "table" where the method has one.
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
	for i, raw := range append(cases[:len(cases):len(cases)], table...) {
		if err := ctx.Err(); err != nil {
			return results, fmt.Errorf("cases: stopped before case %d: %w", i, err)
		}
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
			return results, fmt.Errorf("cases: case %s: %w", result.ID, err)
		}
		result.Case = i
		result.Agree = result.Skipped == "" && result.Mismatch == ""
		results = append(results, result)
	}
	return results, nil
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

// floats reads the case's tensor of this name, which must be F32, of exactly these
// dimensions, and hold nothing beyond trace.MaxMagnitude.
func (c *methodCase) floats(name string, dims ...int) ([]float32, error) {
	data, err := c.bytes(name, safetensors.F32, dims)
	if err != nil {
		return nil, err
	}
	values := make([]float32, len(data)/4)
	for i := range values {
		v := math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		if !(v >= -trace.MaxMagnitude && v <= trace.MaxMagnitude) {
			return nil, fmt.Errorf("tensor %s.%s: element %d, %g, is beyond ±2⁵⁶", c.id, name, i, v)
		}
		values[i] = v
	}
	return values, nil
}

// ints reads the case's tensor of this name, which must be I32, of exactly these
// dimensions.
func (c *methodCase) ints(name string, dims ...int) ([]int32, error) {
	data, err := c.bytes(name, safetensors.I32, dims)
	if err != nil {
		return nil, err
	}
	values := make([]int32, len(data)/4)
	for i := range values {
		values[i] = int32(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return values, nil
}

func (c *methodCase) bytes(name string, t safetensors.DType, dims []int) ([]byte, error) {
	name = c.id + "." + name
	if c.tensors == nil {
		return nil, fmt.Errorf("tensor %s: there is no .safetensors file beside the JSON", name)
	}
	info, ok := c.tensors.Tensor(name)
	if !ok {
		return nil, fmt.Errorf("tensor %s is missing", name)
	}
	same := info.DType == t && len(info.Shape) == len(dims)
	for i := range dims {
		same = same && info.Shape[i] == int64(dims[i])
	}
	if !same {
		return nil, fmt.Errorf("tensor %s is %s %v, want %s %v", name, info.DType, info.Shape, t, dims)
	}
	if info.Bytes() > 4*maxCaseElements {
		return nil, fmt.Errorf("tensor %s has more than %d elements", name, maxCaseElements)
	}
	data := make([]byte, info.Bytes())
	return data, c.tensors.ReadBytes(data, name, 0)
}

// tensorTolerance is how far an element may lie from a recorded one, relative to the
// largest magnitude of its tensor, or to 1 if that is larger.
const tensorTolerance = 1e-5

// near says where got first lies further from the recorded tensor than tolerance, relative
// to its largest magnitude or 1, or nothing; and the largest such distance.
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
