package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"kvcompress/ref"
)

// TestMethods prints the table, one method, and both as JSON.
func TestMethods(t *testing.T) {
	code, out, _ := kvc("methods")
	if code != 0 {
		t.Fatalf("exit code %d", code)
	}
	for _, e := range ref.Methods() {
		if !strings.Contains(out, "\n"+e.Name+" ") {
			t.Errorf("no row of %s in\n%s", e.Name, out)
		}
		for name, text := range map[string]string{
			"paper": e.Paper, "watches": e.Watches, "does": e.Does, "from": e.From, "when": e.When, "reads": e.Reads,
			"payload": e.Payload, "max_cache_tokens": e.CacheTokens, "rate": e.Rate, "held against": e.HeldAgainst,
		} {
			if text == "" {
				t.Errorf("%s: nothing is said of %s", e.Name, name)
			}
		}
		code, one, _ := kvc("methods", e.Name)
		if code != 0 || !strings.Contains(one, "--max-cache-tokens") {
			t.Errorf("methods %s: exit code %d:\n%s", e.Name, code, one)
		}
		for _, o := range optionsOf(&e) {
			if o.Help == "" || !strings.Contains(one, o.Key) {
				t.Errorf("methods %s does not explain %s", e.Name, o.Key)
			}
		}
	}
	code, out, _ = kvc("methods", "--json")
	var list []methodInfo
	if err := json.Unmarshal([]byte(out), &list); code != 0 || err != nil || len(list) != len(ref.Methods()) {
		t.Errorf("exit code %d, %v: %d methods", code, err, len(list))
	}
	if i := slices.IndexFunc(list, func(m methodInfo) bool { return m.Name == ref.KVCompress }); i < 0 || len(list[i].Options) != len(kvCompressFlags) {
		t.Errorf("the options of %s are not there", ref.KVCompress)
	}
	if code, _, err := kvc("methods", "foo"); code != 2 || !strings.Contains(err, "there are kv-compress") {
		t.Errorf("methods foo: exit code %d, %s", code, err)
	}
}

// TestMethodWithoutBudget runs a trace, whose options have a rate, with methods that keep every token: the trace's
// rate is dropped with its method, and a rate flag is refused.
func TestMethodWithoutBudget(t *testing.T) {
	for _, args := range [][]string{{"minicache", "--set", "from=0"}, {"kivi", "--set", "group=8", "--set", "residual=16", "--block-size", "16"}} {
		args = append([]string{"run", "gqa", "--method"}, args...)
		if code, out, err := kvc(args...); code != 0 || !strings.Contains(out, "No KV was evicted: every token is kept") {
			t.Errorf("%v: exit %d, %s", args, code, err)
		}
		if code, _, err := kvc(append(args, "--rate", "0.5")...); code != 2 || !strings.Contains(err, "neither max_cache_tokens nor rate") {
			t.Errorf("%v with a rate: exit %d, %s", args, code, err)
		}
	}
}
