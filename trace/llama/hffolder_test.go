package llama_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kvcompress/dtype"
	"kvcompress/safetensors"
	"kvcompress/trace/llama"
	"kvcompress/trace/tokenizer"
)

// tensor is a tensor of a Hugging Face folder.
type tensor struct {
	shape  []int64
	values []float32
}

// folder is a Hugging Face folder that a test writes.
type folder struct {
	config  map[string]any
	windows []int // of each layer, as forward takes them
	tensors map[string]tensor
}

// halves reorders the rows of wq or wk from adjacent pairs, which llama2.c rotates, to
// pairs half a head apart.
func halves(w []float32, headSize, cols int) []float32 {
	out := make([]float32, 0, len(w))
	for head := range slices.Chunk(w, headSize*cols) {
		for first := range 2 {
			for i := first; i < headSize; i += 2 {
				out = append(out, head[i*cols:(i+1)*cols]...)
			}
		}
	}
	return out
}

// folder converts a checkpoint to a Hugging Face folder.
func (c *checkpoint) folder() *folder {
	f := &folder{
		config: map[string]any{
			"architectures":           []string{"LlamaForCausalLM"},
			"hidden_size":             c.dim,
			"intermediate_size":       c.hidden,
			"num_hidden_layers":       c.layers,
			"num_attention_heads":     c.heads,
			"num_key_value_heads":     c.kvHeads,
			"vocab_size":              c.vocab,
			"max_position_embeddings": c.positions,
			"rms_norm_eps":            1e-5,
			"hidden_act":              "silu",
			"rope_theta":              10000.0,
			"tie_word_embeddings":     true,
			"bos_token_id":            1,
			"eos_token_id":            2,
		},
		tensors: map[string]tensor{},
	}
	vector := func(name string, w []float32, i, n int) {
		f.tensors[name] = tensor{[]int64{int64(n)}, w[i*n : (i+1)*n]}
	}
	matrix := func(name string, w []float32, i, rows, cols int) {
		f.tensors[name] = tensor{[]int64{int64(rows), int64(cols)}, w[i*rows*cols : (i+1)*rows*cols]}
	}
	matrix("model.embed_tokens.weight", c.embed, 0, c.vocab, c.dim)
	wq, wk := halves(c.wq, c.headSize(), c.dim), halves(c.wk, c.headSize(), c.dim)
	for l := range c.layers {
		p := fmt.Sprintf("model.layers.%d.", l)
		vector(p+"input_layernorm.weight", c.attnNorm, l, c.dim)
		matrix(p+"self_attn.q_proj.weight", wq, l, c.dim, c.dim)
		matrix(p+"self_attn.k_proj.weight", wk, l, c.kvDim(), c.dim)
		matrix(p+"self_attn.v_proj.weight", c.wv, l, c.kvDim(), c.dim)
		matrix(p+"self_attn.o_proj.weight", c.wo, l, c.dim, c.dim)
		vector(p+"post_attention_layernorm.weight", c.ffnNorm, l, c.dim)
		matrix(p+"mlp.gate_proj.weight", c.w1, l, c.hidden, c.dim)
		matrix(p+"mlp.down_proj.weight", c.w2, l, c.dim, c.hidden)
		matrix(p+"mlp.up_proj.weight", c.w3, l, c.hidden, c.dim)
	}
	vector("model.norm.weight", c.norm, 0, c.dim)
	return f
}

func writeFile(t testing.TB, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// safetensorsFile puts the named tensors into a file.
func (f *folder) safetensorsFile(t testing.TB, format dtype.DType, names []string) []byte {
	t.Helper()
	var infos []safetensors.Info
	for _, name := range names {
		infos = append(infos, safetensors.Info{Name: name, DType: safetensors.FromFloat(format), Shape: f.tensors[name].shape})
	}
	data, err := safetensors.AppendHeader(nil, infos, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		values := f.tensors[name].values
		raw := make([]byte, len(values)*format.Size())
		format.Encode(raw, values)
		data = append(data, raw...)
	}
	return data
}

// write writes the folder with the weights in the given number of files.
func (f *folder) write(t testing.TB, format dtype.DType, files int) string {
	t.Helper()
	dir := t.TempDir()
	config, err := json.Marshal(f.config)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir, "config.json", config)
	names := slices.Sorted(maps.Keys(f.tensors))
	if files == 1 {
		writeFile(t, dir, "model.safetensors", f.safetensorsFile(t, format, names))
		return dir
	}
	where := map[string]string{}
	for i := range files {
		name := fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, files)
		part := names[i*len(names)/files : (i+1)*len(names)/files]
		writeFile(t, dir, name, f.safetensorsFile(t, format, part))
		for _, tensor := range part {
			where[tensor] = name
		}
	}
	index, err := json.Marshal(map[string]any{"metadata": map[string]any{}, "weight_map": where})
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir, "model.safetensors.index.json", index)
	return dir
}

// The same model from a checkpoint and from a folder generates the same tokens, in every
// number format and from one file or two.
func TestStories260KAsHuggingFace(t *testing.T) {
	path := sharedModel(t, "stories260K.bin")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.Load(sharedModel(t, "tok512.bin"))
	if err != nil {
		t.Fatal(err)
	}
	prompt, err := tok.Encode("Once upon a time")
	if err != nil {
		t.Fatal(err)
	}
	want := greedy(t, load(t, path), prompt, 300)
	source := parseCheckpoint(t, data).folder()
	for _, c := range []struct {
		name   string
		format dtype.DType
		files  int
		tokens int // of 300 that must agree: with rounded weights the texts diverge somewhere
	}{
		{"f32", dtype.F32, 1, 300},
		{"f32 in two files", dtype.F32, 2, 300},
		{"f16", dtype.F16, 1, 60},
		{"bf16 in three files", dtype.BF16, 3, 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := greedy(t, load(t, source.write(t, c.format, c.files)), prompt, 300)
			text, err := tok.Decode(append(slices.Clone(prompt), got...))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got[:c.tokens], want[:c.tokens]) {
				t.Errorf("it says %q", text)
			}
		})
	}
}

// The layouts differ in the order of a head's elements only.
func TestFolderGivesTheCheckpointsTensors(t *testing.T) {
	c := randomCheckpoint(4)
	tokens := someTokens(50)
	want, wantLogits := rows(t, randomModel(t, 4), tokens, 50)
	got, gotLogits := rows(t, load(t, c.folder().write(t, dtype.F32, 2)), tokens, 50)
	for i := range want {
		x := want[i]
		if i%3 < 2 { // q and k
			x = halves(x, c.headSize(), 1)
		}
		closeTo(t, "row", i, got[i], widen(x))
	}
	closeTo(t, "logits", 49, gotLogits, widen(wantLogits))
}

// A zero bias does not change the results. Another bias has the effect of adding it to the
// product.
func TestBias(t *testing.T) {
	c := randomCheckpoint(5)
	tokens := someTokens(10)
	f := c.folder()
	plain, _ := rows(t, load(t, f.write(t, dtype.F32, 1)), tokens, 10)
	bias := func(value float32) {
		for l := range c.layers {
			for name, n := range map[string]int{"q": c.dim, "k": c.kvDim(), "v": c.kvDim(), "o": c.dim} {
				f.tensors[fmt.Sprintf("model.layers.%d.self_attn.%s_proj.bias", l, name)] =
					tensor{[]int64{int64(n)}, slices.Repeat([]float32{value}, n)}
			}
		}
	}
	f.config["attention_bias"] = true
	bias(0)
	if got, _ := rows(t, load(t, f.write(t, dtype.F32, 1)), tokens, 10); !slices.EqualFunc(plain, got, slices.Equal) {
		t.Error("a bias of zero changes the numbers")
	}
	bias(0.5)
	got, _ := rows(t, load(t, f.write(t, dtype.F32, 1)), tokens, 10)
	kvDim := c.kvDim()
	for i := range kvDim { // v of the first layer
		if d := got[2][i] - plain[2][i]; math.Abs(float64(d)-0.5) > 1e-5 {
			t.Errorf("a bias of 0.5 moves element %d by %g", i, d)
		}
	}
	// Qwen2 always has the first three of these, without a field in config.json.
	f.config["architectures"] = []string{"Qwen2ForCausalLM"}
	delete(f.config, "attention_bias")
	for l := range c.layers {
		delete(f.tensors, fmt.Sprintf("model.layers.%d.self_attn.o_proj.bias", l))
	}
	load(t, f.write(t, dtype.F32, 1))
}

func TestFolderDetails(t *testing.T) {
	f := randomCheckpoint(6).folder()
	f.tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = tensor{[]int64{4}, make([]float32, 4)}
	f.tensors["lm_head.weight"] = f.tensors["model.embed_tokens.weight"]
	dir := f.write(t, dtype.F32, 1)
	writeFile(t, dir, "generation_config.json", []byte(`{"eos_token_id": [7, 8]}`))
	m := load(t, dir)
	cfg := m.Config()
	if unused := m.Unused(); len(unused) > 0 {
		t.Errorf("%q are said to have no use", unused)
	}
	if !slices.Equal(cfg.EOS, []int{7, 8}) || cfg.BOS != 1 {
		t.Errorf("BOS %d, EOS %v; want 1, [7 8]", cfg.BOS, cfg.EOS)
	}
	if s := cfg.Shape(); s.Layers != 3 || s.KVHeads != 2 || s.Group != 2 || s.HeadSize != 8 {
		t.Errorf("shape %+v", s)
	}
}

// Other tensors of a folder have no effect, whatever they are, and Unused names them.
func TestFolderUnused(t *testing.T) {
	f := randomCheckpoint(6).folder()
	want, _ := rows(t, load(t, f.write(t, dtype.F32, 1)), someTokens(5), 5)
	const name = "model.layers.0.self_attn.q_norm.weight"
	f.tensors[name] = f.tensors["model.norm.weight"]
	dir := f.write(t, dtype.F32, 1)
	path := filepath.Join(dir, "model.safetensors")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// An unknown number format of 32 bits in place of the tensor's own.
	at := bytes.Index(data, []byte(name))
	data = slices.Concat(data[:at], bytes.Replace(data[at:], []byte(`"F32"`), []byte(`"Q32"`), 1))
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	m := load(t, dir)
	if got := m.Unused(); !slices.Equal(got, []string{name}) {
		t.Errorf("unused: %q, want %s", got, name)
	}
	if got, _ := rows(t, m, someTokens(5), 5); !slices.EqualFunc(want, got, slices.Equal) {
		t.Error("an unused tensor changes the numbers")
	}
	// A single file takes precedence over an index.
	writeFile(t, dir, "model.safetensors.index.json", []byte(`{"weight_map": {"x": "none.safetensors"}}`))
	load(t, dir)
}

func TestFolderErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(f *folder)
		want   string
	}{
		{"missing tensor", func(f *folder) { delete(f.tensors, "model.layers.1.mlp.up_proj.weight") }, "tensor model.layers.1.mlp.up_proj.weight: missing"},
		{"other shape", func(f *folder) { f.tensors["model.norm.weight"] = tensor{[]int64{4}, make([]float32, 4)} }, "model.safetensors: tensor model.norm.weight: shape: [4], config.json calls for [32]"},
		{"NaN", func(f *folder) {
			f.tensors["model.norm.weight"] = tensor{[]int64{32}, slices.Repeat([]float32{float32(math.NaN())}, 32)}
		}, "model.safetensors: tensor model.norm.weight: row 0, column 0 is not a finite number"},
		{"untied without head", func(f *folder) { f.config["tie_word_embeddings"] = false }, "tensor lm_head.weight: missing"},
		{"many layers", func(f *folder) { f.config["num_hidden_layers"] = 4000 }, "tensor model.layers.3.input_layernorm.weight: missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := randomCheckpoint(6).folder()
			c.change(f)
			_, err := llama.Load(f.write(t, dtype.F32, 1))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want something with %q", err, c.want)
			}
		})
	}
}

func TestFolderFileErrors(t *testing.T) {
	const index = "model.safetensors.index.json"
	for _, c := range []struct {
		name  string
		files map[string]string // replaced; removed if empty
		want  string
	}{
		{"no config", map[string]string{"config.json": ""}, "config.json"},
		{"config is no JSON", map[string]string{"config.json": "{"}, "config.json: it ends in the middle"},
		{"no index", map[string]string{index: ""}, "model.safetensors"},
		{"index is no JSON", map[string]string{index: "[]"}, index + ": want an object, got []"},
		{"index leads elsewhere", map[string]string{index: `{"weight_map": {"x": "../x.safetensors"}}`}, index + `: x: "../x.safetensors" is not the name of a file`},
		{"index of a missing file", map[string]string{index: `{"weight_map": {"x": "x.safetensors"}}`}, "x.safetensors"},
		{"index of a missing tensor", map[string]string{index: `{"weight_map": {"x": "model-00001-of-00002.safetensors"}}`}, index + ": x: model-00001-of-00002.safetensors has no such tensor"},
		{"a file is none", map[string]string{"model-00002-of-00002.safetensors": "nothing"}, "model-00002-of-00002.safetensors"},
		{"generation config is no JSON", map[string]string{"generation_config.json": "7"}, "generation_config.json: want an object, got 7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := randomCheckpoint(6).folder().write(t, dtype.F32, 2)
			for name, data := range c.files {
				writeFile(t, dir, name, []byte(data))
				if data == "" {
					if err := os.Remove(filepath.Join(dir, name)); err != nil {
						t.Fatal(err)
					}
				}
			}
			_, err := llama.Load(dir)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want something with %q", err, c.want)
			}
		})
	}
	if _, err := llama.Load(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a missing model is loaded")
	}
	big := t.TempDir()
	writeFile(t, big, "config.json", bytes.Repeat([]byte(" "), 17<<20))
	for name, want := range map[string]string{
		"config.json":                  ": config.json: not a regular file",
		"generation_config.json":       ": generation_config.json: not a regular file",
		"model.safetensors":            ": model.safetensors: not a regular file",
		"model.safetensors.index.json": ": model.safetensors.index.json: not a regular file",
	} {
		files := 1
		if strings.HasSuffix(name, "index.json") {
			files = 2
		}
		dir := randomCheckpoint(6).folder().write(t, dtype.F32, files)
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if err := os.Symlink(os.DevNull, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if _, err := llama.Load(dir); err == nil || err.Error() != "llama: "+dir+want {
			t.Errorf("%s is a device: %v, want %q", name, err, want)
		}
	}
	if _, err := llama.Load(os.DevNull); err == nil || err.Error() != "llama: "+os.DevNull+": not a regular file" {
		t.Errorf("a device: %v", err)
	}
	if _, err := llama.Load(big); err == nil || !strings.Contains(err.Error(), "the file is longer than 16 MiB") {
		t.Errorf("a config.json that is too large: %v", err)
	}
}
