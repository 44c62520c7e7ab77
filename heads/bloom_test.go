package heads

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kvcompress/safetensors"
)

// bloomTensors are those of a model of two layers and two heads of size 1 (N is 2), whose
// elements count up from 1 in each tensor.
func bloomTensors(prefix string) (tensors []safetensors.Info) {
	for layer := range 2 {
		for _, t := range []struct {
			name  string
			shape []int64
		}{{bloomNorm, []int64{2}}, {bloomNormB, []int64{2}}, {bloomWeight, []int64{6, 2}}, {bloomBias, []int64{6}}} {
			tensors = append(tensors, safetensors.Info{Name: fmt.Sprintf("%sh.%d.%s", prefix, layer, t.name), DType: safetensors.F32, Shape: t.shape})
		}
	}
	return tensors
}

// writeTensors writes a safetensors file of elements that count up from 1.
func writeTensors(t testing.TB, path string, tensors []safetensors.Info) {
	t.Helper()
	text, err := safetensors.AppendHeader(nil, tensors, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range tensors {
		n := int64(1)
		for _, d := range info.Shape {
			n *= d
		}
		for i := range n {
			text = binary.LittleEndian.AppendUint32(text, math.Float32bits(float32(i+1)))
		}
	}
	if err := os.WriteFile(path, text, 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestBloom(t *testing.T) {
	for _, prefix := range []string{"", "transformer."} {
		dir := filepath.Join(t.TempDir(), "a [model]")
		if err := os.Mkdir(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"model_type": "bloom", "num_attention_heads": 2, "n_layer": 2}`), 0o666); err != nil {
			t.Fatal(err)
		}
		all := bloomTensors(prefix)
		writeTensors(t, filepath.Join(dir, "model-1.safetensors"), all[:3])
		writeTensors(t, filepath.Join(dir, "model-2.safetensors"), all[3:])
		b, err := OpenBloom(dir)
		if err != nil {
			t.Fatal(err)
		}
		if b.Layers != 2 || b.Heads != 2 || b.HeadSize != 1 {
			t.Errorf("%d layers, %d heads of size %d", b.Layers, b.Heads, b.HeadSize)
		}
		// Head 1's rows of [heads, 3, D] are 3, 4 and 5, of two elements each.
		q, k, n, err := b.Head(1, 1)
		if got, want := fmt.Sprint(q, k, n, err), "{[7 8] [4]} {[9 10] [5]} {[1 2] [1 2]} <nil>"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestBloomRefused(t *testing.T) {
	const config = `{"model_type": "bloom", "n_head": 2}`
	change := func(f func([]safetensors.Info) []safetensors.Info) []safetensors.Info { return f(bloomTensors("")) }
	for _, tt := range []struct {
		name, config string
		tensors      []safetensors.Info
		want         string
	}{
		{"another model", `{"model_type": "mpt"}`, nil, `model_type is "mpt"`},
		{"no heads", `{"model_type": "bloom"}`, nil, "n_head is 0"},
		{"too many heads", `{"model_type": "bloom", "n_head": 1000000000}`, nil, "n_head is 1000000000, want 1 to 65536"},
		{"no JSON", `{`, nil, "config.json: "},
		{"no tensors", config, nil, "no file that ends in .safetensors"},
		{"other tensors", config, []safetensors.Info{{Name: "x", DType: safetensors.F32, Shape: []int64{1}}}, `no tensor "transformer.h.0.input_layernorm.weight"`},
		{"three elements", config, change(func(all []safetensors.Info) []safetensors.Info { all[0].Shape = []int64{3}; return all }), "3 elements are not a multiple of 2 heads"},
		{"another shape", config, change(func(all []safetensors.Info) []safetensors.Info { all[6].Shape = []int64{2, 6}; return all }), `tensor "h.1.self_attention.query_key_value.weight" is [2 6], want [6 2]`},
		{"no bias", config, change(func(all []safetensors.Info) []safetensors.Info { return all[:7] }), `no tensor "h.1.self_attention.query_key_value.bias"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(tt.config), 0o666); err != nil {
				t.Fatal(err)
			}
			if tt.tensors != nil {
				writeTensors(t, filepath.Join(dir, "model.safetensors"), tt.tensors)
			}
			b, err := OpenBloom(dir)
			if err == nil {
				b.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
	dir := t.TempDir()
	if _, err := OpenBloom(dir); err == nil || !strings.Contains(err.Error(), "config.json: no such file") {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o666); err != nil {
		t.Fatal(err)
	}
	writeTensors(t, filepath.Join(dir, "a.safetensors"), bloomTensors(""))
	writeTensors(t, filepath.Join(dir, "b.safetensors"), bloomTensors("")[:1])
	if _, err := OpenBloom(dir); err == nil || !strings.Contains(err.Error(), "b.safetensors: another file also has the tensor") {
		t.Error(err)
	}
}

// FuzzBloom reads folders with whatever config and tensors.
func FuzzBloom(f *testing.F) {
	dir := f.TempDir()
	path := filepath.Join(dir, "model.safetensors")
	writeTensors(f, path, bloomTensors(""))
	tensors, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"model_type": "bloom", "n_head": 2}`), tensors)
	f.Add([]byte(`{"model_type": "bloom", "n_head": 1, "num_attention_heads": 2}`), tensors[:len(tensors)-1])
	f.Fuzz(func(t *testing.T, config, tensors []byte) {
		dir := t.TempDir()
		if os.WriteFile(filepath.Join(dir, "config.json"), config, 0o666) != nil || os.WriteFile(filepath.Join(dir, "model.safetensors"), tensors, 0o666) != nil {
			t.Skip()
		}
		b, err := OpenBloom(dir)
		if err != nil {
			return
		}
		defer b.Close()
		for layer := range b.Layers {
			for head := range b.Heads {
				q, k, n, err := b.Head(layer, head)
				if err != nil {
					continue
				}
				if bound := ProvenBound(q, k, n); !(bound >= 0) {
					t.Errorf("layer %d, head %d: a bound of %g", layer, head, bound)
				}
				if bound := PublishedBound(q, k, n); !(bound >= 0) {
					t.Errorf("layer %d, head %d: a published bound of %g", layer, head, bound)
				}
			}
		}
	})
}
