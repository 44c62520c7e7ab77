package validate

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"kvcompress/safetensors"
)

// smallTensor is a tensor of a hand-made case: all elements are equal except the last.
type smallTensor struct {
	name     string
	shape    []int
	all, end float32
}

// smallCases were computed by hand: keys are 0, so every KV gets the same attention.
var smallCases = []struct {
	method, text string
	tensors      []smallTensor
	wrong        [][2]string // replacements with which the case must differ
	refused      [][2]string // replacements with which the case must be an error
}{
	{
		"streaming_llm", `{"id":"c","start":1,"recent":1,"events":[["call",3],["add",1],["space",1],["range",[0,1]]],"after":[[0,2],[0,2,3],[0],[]]}`, nil,
		[][2]string{{"[0,2]", "[0,1]"}, {"[0,2,3]", "[0,3]"}, {"[0],[]", "[3],[]"}, {"[]]", "[0]]"}},
		[][2]string{{"call", "tell"}, {`["add",1]`, `["add",-1]`}, {`["add",1]`, `["add",99999999]`}, {`["add",1]`, `["add"]`}, {"[0,1]]]", "[0,2]]]"}, {`"start":1`, `"start":-1`}, {",[]", ""}},
	},
	{ // the range includes the sink, so the next KV becomes a sink
		"streaming_llm", `{"id":"c","start":1,"recent":0,"events":[["add",3],["range",[0,1]],["call",1]],"after":[[0,1,2],[1,2],[1]]}`, nil,
		[][2]string{{"[1]]", "[3]]"}}, nil,
	},
	{ // three of the four sinks are dropped, and still have the score of sinks
		"kvpress", `{"id":"c","press":"StreamingLLMPress","q_heads":1,"kv_heads":1,"tokens":5,"dim":8,"compression_ratio":0.7,"options":{},"kept":[[0]],"margin":0}`,
		[]smallTensor{{"q", []int{1, 1, 5, 8}, 0, 0}, {"k", []int{1, 1, 5, 8}, 0, 0}, {"v", []int{1, 1, 5, 8}, 0, 0}, {"score", []int{1, 1, 5}, 1, 0}},
		[][2]string{{"[[0]]", "[[4]]"}, {`ratio":0.7`, `ratio":0.2`}, {`ratio":0.7`, `ratio":0.5`}}, [][2]string{{"[[0]]", "[[5]]"}},
	},
	{ // KV heads are repeated, since no reduction is given
		"snapkv", `{"id":"c","q_heads":2,"kv_heads":1,"tokens":3,"dim":3,"window":1,"max_capacity":2,"kernel":1,"pooling":"avgpool","gqa_agg":null,"margin":0,"kept":[[0,2],[1,2]]}`,
		[]smallTensor{{"q", []int{1, 2, 3, 3}, 0, 0}, {"k", []int{1, 1, 3, 3}, 0, 0}, {"score", []int{1, 2, 2}, 1. / 3, 1. / 3}},
		[][2]string{{"[1,2]]", "[0,1]]"}, {`max_capacity":2`, `max_capacity":3`}}, [][2]string{{"null", `"mean"`}, {"[[0,2],[1,2]]", "[[0,2]]"}, {`max_capacity":2`, `max_capacity":0`}},
	},
	{
		"duo_attention", `{"id":"c","layers":1,"kv_heads":2,"sparsity":0.5,"scores":[[0.9,0.1]],"full":[[1,0]],"sparsity_reached":0.5}`, nil,
		[][2]string{{"[[1,0]]", "[[0,1]]"}, {`reached":0.5`, `reached":0.25`}},
		[][2]string{{"[[1,0]]", "[[1]]"}, {`"layers":1`, `"layers":2`}, {`"sparsity":0.5`, `"sparsity":2`}},
	},
	{
		"razor_head_search", `{"id":"c","layers":1,"q_heads":2,"kv_heads":1,"period":1,"repeats":2,"induction_ratio":1,"echo_ratio":0,` +
			`"induction_score":{"0":[0.33333334,0.33333333]},"echo_score":{"0":[0.3333333,0.33333332]},"induction_group":{"0":[0.33333335]},"echo_group":{"0":[0.33333336]},` +
			`"induction_heads":{"0":[0]},"echo_heads":{"0":[]},"retrieval_heads":{"0":[0]}}`,
		[]smallTensor{{"q0", []int{2, 3, 8}, 0, 0}, {"k0", []int{1, 3, 8}, 0, 0}},
		[][2]string{{"0.33333334", "0.3334"}, {"0.33333332", "0.3334"}, {"0.33333335", "0.3334"}, {"0.33333336", "0.3334"}, {",0.33333333", ""},
			{`induction_heads":{"0":[0]}`, `induction_heads":{"0":[]}`}, {`echo_heads":{"0":[]}`, `echo_heads":{"0":[0]}`}, {`retrieval_heads":{"0":[0]}`, `retrieval_heads":{}`}},
		[][2]string{{`"period":1`, `"period":0`}, {`"repeats":2`, `"repeats":1`}, {`"repeats":2`, `"repeats":3`}, {`"period":1`, `"period":999999`}, {`"q_heads":2`, `"q_heads":3`},
			{`"kv_heads":1`, `"kv_heads":0`}, {`"layers":1`, `"layers":2`}, {`"layers":1`, `"layers":0`}, {`"induction_ratio":1`, `"induction_ratio":2`}, {`"echo_heads":{"0":[]}`, `"echo_heads":{"0":[1]}`},
			{`"echo_heads"`, `"heads"`}},
	},
	{
		"h2o_real_drop", `{"id":"c","heads":1,"prefill":2,"steps":1,"dim":8,"heavy":1,"recent":1,"margin":0.5,"kept":[[[1,0]],[[0,2]]],"score":[[[0.5,1.5]],[[1.8333333,0.33333333]]]}`,
		[]smallTensor{{"q", []int{1, 1, 3, 8}, 0, 0}, {"k", []int{1, 1, 3, 8}, 0, 0}},
		[][2]string{{"[[0,2]]", "[[1,2]]"}, {"1.8333333", "1.8334"}, {"[0.5,1.5]", "[1.5,0.5]"}},
		[][2]string{{`"heavy":1`, `"heavy":-1`}, {`"steps":1`, `"steps":2`}, {`[[1,0]]`, `[[1]]`}, {`"dim":8`, `"dim":0`}, {`"heads":1`, `"heads":2`}},
	},
	{
		"h2o_mask", `{"id":"c","heads":1,"prefill":3,"steps":1,"head_dim":4,"heavy_ratio":0.34,"recent_ratio":0.34,"heavy_budget":1,"recent_budget":1,"visible":[["1001"],["10001"]]}`,
		[]smallTensor{{"x", []int{4, 4}, 0, 1}, {"wq", []int{4, 4}, 0, 0}, {"wk", []int{4, 4}, 0, 0}, {"wv", []int{4, 4}, 0, 1}, {"output", []int{4, 4}, 0, 0.5}},
		[][2]string{{"1001", "1011"}, {"10001", "00001"}, {`heavy_ratio":0.34`, `heavy_ratio":0.3`}},
		[][2]string{{`["1001"],`, ""}, {`"head_dim":4`, `"head_dim":300`}, {`"recent_budget":1`, `"recent_budget":-1`}},
	},
	{
		"kivi_cache", `{"id":"c","heads":1,"prefill":1,"steps":1,"head_dim":8,"group":2,"residual":2,"k_bits":4,"v_bits":4,"lengths":[[0,1,0,1],[2,0,0,2]]}`,
		[]smallTensor{{"q", []int{2, 8}, 0, 0}, {"k", []int{2, 8}, 0, 0}, {"v", []int{2, 8}, 0, 1}, {"output", []int{2, 8}, 0, 0.5}},
		[][2]string{{"[0,1,0,1]", "[1,0,0,1]"}, {"[2,0,0,2]", "[2,0,1,1]"}, {`"residual":2`, `"residual":4`}},
		[][2]string{{"[0,1,0,1],", ""}, {`"residual":2`, `"residual":3`}, {`"k_bits":4`, `"k_bits":9`}, {`"v_bits":4`, `"v_bits":2`}, {`"group":2`, `"group":0`}, {`"head_dim":8`, `"head_dim":9`}, {`"heads":1`, `"heads":0`}},
	},
	{
		"quest", `{"id":"c","heads":1,"tokens":2,"dim":8,"page":1,"budget":1,"recent":0,"selected":[[1]]}`,
		[]smallTensor{{"q", []int{1, 1, 1, 8}, 1, 1}, {"k", []int{1, 1, 2, 8}, 0, 1}, {"page_score", []int{1, 1, 2}, 0, 1}},
		[][2]string{{"[[1]]", "[[0]]"}, {"[[1]]", "[[-1]]"}, {"[[1]]", "[[]]"}},
		[][2]string{{`"page":1`, `"page":0`}, {`"heads":1`, `"heads":2`}, {`"budget":1`, `"budget":0`}},
	},
}

// smallFile returns the tensors as a safetensors file.
func smallFile(id string, tensors []smallTensor) []byte {
	var header, data []byte
	for _, x := range tensors {
		n := 1
		for _, d := range x.shape {
			n *= d
		}
		shape, err := json.Marshal(x.shape)
		if err != nil {
			panic(err)
		}
		header = fmt.Appendf(header, `,"%s.%s":{"dtype":"F32","shape":%s,"data_offsets":[%d,%d]}`, id, x.name, shape, len(data), len(data)+4*n)
		for i := range n {
			v := x.all
			if i == n-1 {
				v = x.end
			}
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
		}
	}
	text := "{" + strings.TrimPrefix(string(header), ",") + "}"
	return slices.Concat(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), []byte(text), data)
}

// TestSmallCases checks that the hand-made cases agree, that they differ when one value is changed, and that
// invalid values are errors.
func TestSmallCases(t *testing.T) {
	for _, c := range smallCases {
		replay := func(text string, tensors []smallTensor) ([]CaseResult, error) {
			file := smallFile("c", tensors)
			opened, err := safetensors.Open(bytes.NewReader(file), int64(len(file)), "test")
			if err != nil {
				t.Fatal(err)
			}
			return methodCases(t.Context(), []byte(`{"method":"`+c.method+`","cases":[`+text+`]}`), opened)
		}
		if results, err := replay(c.text, c.tensors); err != nil || !results[0].Agree {
			t.Errorf("%s: %v, %+v", c.method, err, results)
		}
		for _, change := range c.wrong {
			text := strings.Replace(c.text, change[0], change[1], 1)
			if results, err := replay(text, c.tensors); err != nil || results[0].Agree || results[0].Mismatch == "" {
				t.Errorf("%s with %s: %v, %+v", c.method, change[1], err, results)
			}
		}
		for _, change := range c.refused {
			text := strings.Replace(c.text, change[0], change[1], 1)
			if results, err := replay(text, c.tensors); err == nil {
				t.Errorf("%s with %q for %q is no error: %+v", c.method, change[1], change[0], results)
			}
		}
		for i, x := range c.tensors {
			if x.name != "page_score" && x.name != "output" {
				continue
			}
			changed := slices.Clone(c.tensors)
			changed[i].end += 0.01
			if results, err := replay(c.text, changed); err != nil || results[0].Agree {
				t.Errorf("%s with another %s: %v, %+v", c.method, x.name, err, results)
			}
		}
	}
}

// FuzzDropCases gives the comparers of methods that drop or hide KVs any case and any tensors.
func FuzzDropCases(f *testing.F) {
	for _, c := range smallCases {
		f.Add(c.method, []byte(c.text), smallFile("c", c.tensors))
	}
	f.Fuzz(func(t *testing.T, method string, text, file []byte) {
		compare := map[string]func(*methodCase) (CaseResult, error){
			"streaming_llm": compareStreaming, "duo_attention": compareDuo, "h2o_real_drop": compareH2ODrop, "h2o_mask": compareH2OMask, "quest": compareQuest, "kivi_cache": compareKIVICache, "razor_head_search": compareHeadSearch,
		}[method]
		if compare == nil || len(text) > 4096 {
			return
		}
		found, err := members(text)
		if err != nil {
			return
		}
		tensors, err := safetensors.Open(bytes.NewReader(file), int64(len(file)), "fuzz")
		if err != nil {
			tensors = nil
		}
		if result, err := compare(&methodCase{"c", found, tensors}); err == nil && result.Skipped == "" && result.Compared == "" {
			t.Errorf("%+v", result)
		}
	})
}
