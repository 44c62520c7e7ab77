package main

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kvcompress/safetensors"
)

// bloomFolder writes a BLOOM model of a layer of two heads of size 1. γ is 1, so that N is 2
// and no bound differs; β and the biases are 0. Head 0 has queries and keys of (1, 0), head 1
// of (3, 0).
func bloomFolder(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "small")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"model_type": "bloom", "n_head": 2}`), 0o666); err != nil {
		t.Fatal(err)
	}
	var infos []safetensors.Info
	var values []float32
	for _, tensor := range []struct {
		name   string
		shape  []int64
		values []float32
	}{
		{"h.0.input_layernorm.weight", []int64{2}, []float32{1, 1}},
		{"h.0.input_layernorm.bias", []int64{2}, []float32{0, 0}},
		{"h.0.self_attention.query_key_value.weight", []int64{6, 2}, []float32{1, 0, 1, 0, 9, 9, 3, 0, 3, 0, 9, 9}},
		{"h.0.self_attention.query_key_value.bias", []int64{6}, []float32{0, 0, 9, 0, 0, 9}},
	} {
		infos = append(infos, safetensors.Info{Name: tensor.name, DType: safetensors.F32, Shape: tensor.shape})
		values = append(values, tensor.values...)
	}
	text, err := safetensors.AppendHeader(nil, infos, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range values {
		text = binary.LittleEndian.AppendUint32(text, math.Float32bits(v))
	}
	if err := os.WriteFile(filepath.Join(dir, "model.safetensors"), text, 0o666); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestHeadsScope: slopes are 2^-4 and 2^-8, bounds 2·1 and 2·9, and −ln 1e-5 is 11.513. So
// scopes are (4 + 11.513)·16 = 248.2 and (36 + 11.513)·256 = 12,163.3.
func TestHeadsScope(t *testing.T) {
	dir := bloomFolder(t)
	code, out, stderr := kvc("heads", "scope", dir, "--tokens", "100,1000")
	want := `small: 1 layers × 2 heads, weights below 1e-05 neglected, proven bound

Scope: how many tokens back a layer's heads can attend
  layer  least  median    most
      0    248  12,163  12,163

KVs in scope of the newest token, of all heads
  tokens  in scope
     100   100.0 %
    1000    62.5 %
`
	if code != exitDone || out != want || stderr != "" {
		t.Errorf("%d\n%s\n%s", code, out, stderr)
	}
	code, out, stderr = kvc("heads", "scope", dir, "--published", "--json")
	var got headScopesJSON
	if err := json.Unmarshal([]byte(out), &got); code != exitDone || err != nil {
		t.Fatal(code, err, stderr)
	}
	if got.Bound != "published" || len(got.Scopes) != 2 || math.Abs(got.Scopes[1].Bound-18) > 1e-9 || got.Scopes[1].Slope != 1.0/256 || math.Abs(got.Scopes[1].Scope-12163.3) > 0.1 || len(got.Held) != 4 {
		t.Errorf("%+v", got)
	}
	for args, want := range map[string]string{
		"--epsilon 0": "--epsilon 0", "--epsilon NaN": "--epsilon NaN", "--tokens 0": "--tokens 0",
	} {
		code, _, stderr := kvc(append([]string{"heads", "scope", dir}, strings.Fields(args)...)...)
		if code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%s: %d, %s", args, code, stderr)
		}
	}
	if code, _, stderr := kvc("heads", "scope", t.TempDir()); code != exitUsage || !strings.Contains(stderr, "config.json: no such file") {
		t.Error(code, stderr)
	}
}
