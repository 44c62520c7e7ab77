package linear_test

import (
	"encoding/json"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"kvcompress/bench/linear"
	"kvcompress/bench/models"
)

func load(t testing.TB, name string) *linear.Model {
	t.Helper()
	m, err := models.LoadLinear(name)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The logits agree with NumPy's in float64, computed from the same files token by token. The
// tolerance: a state is multiplied by a decay in each of 128 steps, with a relative error of
// 2⁻²⁴ each, so the output of a head is off by up to 128·2⁻²⁴. A logit is a dot product of 96
// terms with magnitudes that add up to at most 20, and its own rounding adds 97·2⁻²⁴ of that.
// With keys and values of full attention in binary16 the relative difference is at most 2⁻¹¹.
func TestGoldenLogits(t *testing.T) {
	for _, name := range models.LinearNames() {
		m := load(t, name)
		text, err := os.ReadFile("../models/" + name + "/golden.json")
		if err != nil {
			t.Fatal(err)
		}
		var golden struct {
			Cases []struct {
				Category string
				Tokens   []int
				Logits   []float64
			}
		}
		if err := json.Unmarshal(text, &golden); err != nil {
			t.Fatal(err)
		}
		if len(golden.Cases) != 7 {
			t.Fatalf("%s: %d cases, want one of each category", name, len(golden.Cases))
		}
		exact, cached := 0.0, 0.0
		for _, c := range golden.Cases {
			for worst, s := range map[*float64]*linear.Session{&exact: linear.Exact(m), &cached: m.NewSession()} {
				var logits []float32
				for _, token := range c.Tokens {
					if logits, err = s.Feed(token); err != nil {
						t.Fatal(err)
					}
				}
				for i, want := range c.Logits {
					*worst = max(*worst, math.Abs(float64(logits[i])-want))
				}
			}
		}
		t.Logf("%s: the largest difference of a logit is %.2g, with a cache in binary16 %.2g", name, exact, cached)
		if !(exact < (128+97)*20*0x1p-24) {
			t.Errorf("%s: a logit is %g from float64", name, exact)
		}
		if limit := 20 * 0x1p-11; !(cached < limit) {
			t.Errorf("%s: with a cache in binary16 a logit is %g from float64, want %g at most", name, cached, limit)
		}
	}
}

// A fork and the original are independent, and StateBytes does not depend on the tokens read.
func TestFork(t *testing.T) {
	for _, name := range models.LinearNames() {
		m := load(t, name)
		feed := func(s *linear.Session, tokens ...int) []float32 {
			t.Helper()
			for _, token := range tokens {
				if _, err := s.Feed(token); err != nil {
					t.Fatal(err)
				}
			}
			return slices.Clone(s.Logits())
		}
		one := m.NewSession()
		feed(one, 0, 160, 20, 70, 71, 180)
		other := one.Fork()
		a, b := feed(one, 1, 20), feed(other, 200, 8)
		if want := feed(m.NewSession(), 0, 160, 20, 70, 71, 180, 1, 20); !slices.Equal(a, want) {
			t.Errorf("%s: a fork changes what it came from", name)
		}
		if want := feed(m.NewSession(), 0, 160, 20, 70, 71, 180, 200, 8); !slices.Equal(b, want) {
			t.Errorf("%s: a fork is not what it came from", name)
		}
		if one.Len() != 8 || other.Len() != 8 {
			t.Errorf("%s: %d and %d tokens", name, one.Len(), other.Len())
		}
		if _, err := one.Feed(256); err == nil || !strings.Contains(err.Error(), "not in the vocabulary") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// 4 heads · (64·32 + 3·(64+64+32)) numbers of a layer, 4 bytes each.
	if c := load(t, "linear-0").Config(); c.StateBytes() != 3*4*(64*32+3*160)*4 || c.FullLayers() != 0 {
		t.Errorf("the linear model has %d bytes of state and %d full layers", c.StateBytes(), c.FullLayers())
	}
	if c := load(t, "hybrid-0").Config(); c.StateBytes() != 2*4*(64*32+3*160)*4 || c.FullLayers() != 1 {
		t.Errorf("the hybrid model has %d bytes of state and %d full layers", c.StateBytes(), c.FullLayers())
	}
}

// folder is a model's files.
func folder(t testing.TB, name string) fstest.MapFS {
	t.Helper()
	dir := fstest.MapFS{}
	for _, file := range []string{"config.json", "model.safetensors"} {
		data, err := os.ReadFile("../models/" + name + "/" + file)
		if err != nil {
			t.Fatal(err)
		}
		dir[file] = &fstest.MapFile{Data: data}
	}
	return dir
}

func TestLoadRefuses(t *testing.T) {
	whole := folder(t, "hybrid-0")
	for _, c := range []struct{ old, new, want string }{
		{`"hidden_size": 96`, `"hidden_size": 0`, "linear: config.json: hidden_size: 0: want 1 to"},
		{`"hidden_size": 96`, `"hidden_size": 92`, "hidden_size: 92: want a multiple of 8"},
		{`"hidden_size": 96`, `"hidden_size": 104`, `tensor "model.embed_tokens.weight" is F16 [256 96]: want F16 [256 104]`},
		{`"head_dim": 32`, `"head_dim": 99999999`, "head_dim: 99999999: want 1 to 65536"},
		{`"num_key_value_heads": 2`, `"num_key_value_heads": 3`, "is not a multiple of the 3 KV heads"},
		{`"full_attention"`, `"mamba"`, `layer_types[1]: "mamba": want linear_attention or full_attention`},
		{`"full_attention"`, `"linear_attention"`, `there is no tensor "model.layers.1.linear_attn.q_proj.weight"`},
		{`"linear_conv_kernel_dim": 4`, `"linear_conv_kernel_dim": 5`, "want F16 [5 256]"},
		{`"rms_norm_eps": 1e-05`, `"rms_norm_eps": 2`, "rms_norm_eps: 2 is not between"},
		{`"rope_theta": 1000000.0`, `"rope_theta": 0`, "rope_theta: 0 is not between"},
		{`{`, ``, "linear: config.json: "},
	} {
		dir := maps.Clone(whole)
		text := strings.Replace(string(whole["config.json"].Data), c.old, c.new, 1)
		if text == string(whole["config.json"].Data) {
			t.Fatalf("config.json has no %s", c.old)
		}
		dir["config.json"] = &fstest.MapFile{Data: []byte(text)}
		if _, err := linear.LoadFS(dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("with %s: %v, want %q", c.new, err, c.want)
		}
	}
	for file, want := range map[string]string{"config.json": "linear: config.json: ", "model.safetensors": "linear: model.safetensors: "} {
		dir := maps.Clone(whole)
		delete(dir, file)
		if _, err := linear.LoadFS(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("without %s: %v", file, err)
		}
	}
	dir := maps.Clone(whole)
	dir["model.safetensors"] = &fstest.MapFile{Data: whole["model.safetensors"].Data[:1000]}
	if _, err := linear.LoadFS(dir); err == nil {
		t.Error("a file that is cut off is read")
	}
	if _, err := models.LoadLinear("recall-0"); err == nil || !strings.Contains(err.Error(), "linear-0") {
		t.Errorf("%v, want the names that there are", err)
	}
}

// Any folder gives a model that reads a token, or an error.
func FuzzLoadFS(f *testing.F) {
	whole := folder(f, "hybrid-0")
	weights := whole["model.safetensors"].Data
	f.Add(whole["config.json"].Data, weights)
	f.Add([]byte(`{"hidden_size": 8}`), []byte{})
	f.Add(whole["config.json"].Data, weights[:4096])
	f.Fuzz(func(t *testing.T, config, weights []byte) {
		m, err := linear.LoadFS(fstest.MapFS{"config.json": &fstest.MapFile{Data: config}, "model.safetensors": &fstest.MapFile{Data: weights}})
		if err != nil {
			if !strings.HasPrefix(err.Error(), "linear: ") {
				t.Errorf("error %q does not say whose it is", err)
			}
			return
		}
		if _, err := m.NewSession().Feed(0); err != nil {
			t.Error(err)
		}
	})
}
