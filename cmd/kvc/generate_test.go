package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// continued runs kvc generate and returns its JSON.
func continued(t *testing.T, args ...string) generation {
	t.Helper()
	var out, errs bytes.Buffer
	if code := run(append([]string{"generate", "--json"}, args...), &out, &errs); code != 0 {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	var g generation
	if err := json.Unmarshal(out.Bytes(), &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// recallPrompt is a context with one record, 20 70 71, far from its end.
func recallPrompt() string {
	tokens := make([]string, 90)
	for i := range tokens {
		tokens[i] = fmt.Sprint(152 + i*i*7%104)
	}
	copy(tokens, []string{"0", "160", "20", "70", "71"})
	return strings.Join(tokens, ",")
}

// With its full cache the model finds the record; with only the newest tokens it does not. A
// question in the prompt gets the same answer as one after it. The CUDA engine generates and
// holds the same as the reference.
func TestGenerate(t *testing.T) {
	prompt := recallPrompt()
	full := continued(t, "--model", "recall-0", "--token-ids", prompt, "--question-ids", "1,20", "--max-tokens", "2")
	if want := []int{70, 71}; !reflect.DeepEqual(full.Output, want) {
		t.Errorf("with its full cache the model says %v, want %v", full.Output, want)
	}
	asked := continued(t, "--model", "recall-0", "--token-ids", prompt+",1,20", "--max-tokens", "2")
	if !reflect.DeepEqual(asked.Output, full.Output) {
		t.Errorf("asked in the prompt it says %v", asked.Output)
	}
	args := []string{"--model", "recall-0", "--token-ids", prompt, "--question-ids", "1,20", "--max-tokens", "2",
		"--method", "streaming-llm", "--max-cache-tokens", "20", "--block-size", "8"}
	recent := continued(t, args...)
	if reflect.DeepEqual(recent.Output, full.Output) {
		t.Error("without the record the answer is the same")
	}
	if got := recent.Steps[0]; got.KVs != 8*21 || got.Tokens != 91 || recent.Evicted < 8*70 {
		t.Errorf("after the first token the cache held %+v, and %d KVs were evicted in all", got, recent.Evicted)
	}
	device := continued(t, append(args, "--device", "ptx")...)
	if !reflect.DeepEqual(device, recent) {
		t.Errorf("on the CUDA engine %+v, on the reference %+v", device, recent)
	}
}

func TestGenerateWrongUse(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--prompt", "x"}, "--model is missing"},
		{[]string{"--model", "recall-0"}, "--prompt or --token-ids is missing"},
		{[]string{"--model", "nothing", "--prompt", "x"}, "the bundled models are recall-0"},
		{[]string{"--model", "recall-0", "--prompt", "x"}, "--tokenizer is missing"},
		{[]string{"--model", "recall-0", "--token-ids", "0,1", "--max-tokens", "0"}, "at least 1"},
		{[]string{"--model", "recall-0", "--token-ids", "0,256"}, "not in the vocabulary"},
		{[]string{"--model", "recall-0", "--token-ids", "0,,1"}, "--token-ids: a comma without a number on both sides, after 1 id"},
		{[]string{"--model", "recall-0", "--token-ids", "0,1,"}, "after 2 ids"},
		{[]string{"--model", "recall-0", "--token-ids", " "}, "--token-ids: there are no ids"},
		{[]string{"--model", "recall-0", "--token-ids", "@nofile"}, "--token-ids: nofile: no such file"},
		{[]string{"--model", "recall-0", "--token-ids", "0,1", "--question-ids", "x"}, "--question-ids: \"x\" is not a number"},
		{[]string{"--model", "recall-0", "--token-ids", "0,1", "--prefill", "windowed"}, "live: kv-compress watches the attention"},
		{[]string{"--model", "recall-0", "--token-ids", "0,1", "--method", "snapkv", "--max-cache-tokens", "8"}, "snapkv"},
		{[]string{"--model", "recall-0", "--token-ids", "0,1", "--method", "quest", "--max-cache-tokens", "8"}, "quest"},
	} {
		var out, errs bytes.Buffer
		if code := run(append([]string{"generate"}, c.args...), &out, &errs); code == 0 || !strings.Contains(errs.String(), c.want) {
			t.Errorf("%v: exit code %d and %q, want something with %q", c.args, code, errs.String(), c.want)
		}
	}
}
