package built

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"

	"kvcompress/dtype"
	"kvcompress/heads"
	"kvcompress/internal/output"
	"kvcompress/safetensors"
)

// Model is a built model: the files of its Hugging Face folder.
type Model struct {
	Config  []byte     // config.json
	Weights []byte     // model.safetensors, in f32
	Truth   *heads.Map // the retrieval heads are full
}

// Build constructs a model. Each token has a random code of 64 signs. Induction and echo heads
// match codes in the RoPE pairs of the lowest frequencies, which hardly turn; previous-token and
// local heads compare positions in the pairs of the highest. The feed-forward layers are 0.
//
// The same options give the same bytes on every platform.
func (o Options) Build() (*Model, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	codes, err := o.codes()
	if err != nil {
		return nil, err
	}
	f := &file{}
	f.embeddings(codes)
	noise := rand.New(rand.NewPCG(o.Seed, 2))
	for l := range o.Heads {
		f.layer(o, l, noise)
	}
	f.vector("model.norm.weight", o.rootMeanSquare(len(o.Heads)))
	weights, err := f.bytes()
	if err != nil {
		return nil, fmt.Errorf("built: %w", err)
	}
	config, err := o.config()
	if err != nil {
		return nil, fmt.Errorf("built: %w", err)
	}
	return &Model{Config: config, Weights: weights, Truth: o.truth()}, nil
}

// truth returns the map of heads in which induction and echo heads are full.
func (o Options) truth() *heads.Map {
	m := &heads.Map{FormatVersion: heads.FormatVersion, Method: "built", Layers: len(o.Heads), KVHeads: len(o.Heads[0]),
		QueryHeads: len(o.Heads[0]) * o.Group}
	m.Source = fmt.Sprintf("noise %v, seed %d", o.Noise, o.Seed)
	for _, row := range o.Heads {
		var classes []heads.Class
		for _, k := range row {
			class := heads.Streaming
			if k.Retrieval() {
				class = heads.Full
			}
			classes = append(classes, class)
		}
		m.Classes = append(m.Classes, classes)
	}
	return m
}

// config returns the config.json.
func (o Options) config() ([]byte, error) {
	kvHeads := len(o.Heads[0])
	text, err := json.MarshalIndent(map[string]any{
		"architectures":           []string{"LlamaForCausalLM"},
		"model_type":              "llama",
		"vocab_size":              o.Vocab,
		"hidden_size":             dim,
		"intermediate_size":       1,
		"num_hidden_layers":       len(o.Heads),
		"num_attention_heads":     kvHeads * o.Group,
		"num_key_value_heads":     kvHeads,
		"head_dim":                headSize,
		"hidden_act":              "silu",
		"max_position_embeddings": o.MaxPositions,
		"rms_norm_eps":            1e-5,
		"rope_theta":              ropeBase,
		"attention_bias":          false,
		"mlp_bias":                false,
		"tie_word_embeddings":     false,
		"bos_token_id":            0,
		"eos_token_id":            nil,
		"torch_dtype":             "float32",
	}, "", " ")
	return append(text, '\n'), err
}

// file gathers the tensors of a safetensors file.
type file struct {
	infos []safetensors.Info
	data  [][]float32 // of each tensor
}

func (f *file) add(name string, values []float32, shape ...int64) {
	f.infos = append(f.infos, safetensors.Info{Name: name, DType: safetensors.F32, Shape: shape})
	f.data = append(f.data, values)
}

func (f *file) matrix(name string, m *matrix) { f.add(name, m.data, int64(m.rows), int64(m.cols)) }

// vector adds the weight of a norm, with all elements equal.
func (f *file) vector(name string, x float64) {
	m := newMatrix(1, dim)
	for j := range dim {
		m.set(0, j, x)
	}
	f.add(name, m.data, dim)
}

func (f *file) bytes() ([]byte, error) {
	all, err := safetensors.AppendHeader(nil, f.infos, 0)
	if err != nil {
		return nil, err
	}
	size := 0
	for _, values := range f.data {
		size += 4 * len(values)
	}
	all = slices.Grow(all, size)
	for _, values := range f.data {
		at := len(all)
		all = all[:at+4*len(values)]
		dtype.F32.Encode(all[at:], values)
	}
	return all, nil
}

// embeddings adds the embeddings, which write a token's code, and the output projection, which
// compares the predicted code with each token's.
func (f *file) embeddings(codes []uint64) {
	embed, head := newMatrix(len(codes), dim), newMatrix(len(codes), dim)
	for token, code := range codes {
		embed.set(token, atConst, constant)
		if token == 0 {
			embed.set(token, atBOS, constant)
			continue
		}
		for j := range codeSize {
			embed.set(token, atToken+j, sign(code, j))
			head.set(token, atNext+j, sign(code, j)*nextLogit/codeSize)
		}
	}
	f.matrix("model.embed_tokens.weight", embed)
	f.matrix("lm_head.weight", head)
}

// layer adds a layer's tensors.
func (f *file) layer(o Options, l int, noise *rand.Rand) {
	a, squares := o.attention(l), o.squares(l)
	if o.Noise > 0 {
		for _, m := range []*matrix{a.q, a.k, a.v} {
			for row := 0; row < m.rows; row += headSize {
				o.addNoise(m, row, squares, noise)
			}
		}
	}
	prefix := fmt.Sprintf("model.layers.%d.", l)
	f.vector(prefix+"input_layernorm.weight", o.rootMeanSquare(l))
	f.matrix(prefix+"self_attn.q_proj.weight", a.q)
	f.matrix(prefix+"self_attn.k_proj.weight", a.k)
	f.matrix(prefix+"self_attn.v_proj.weight", a.v)
	f.matrix(prefix+"self_attn.o_proj.weight", a.o)
	f.vector(prefix+"post_attention_layernorm.weight", 1)
	f.matrix(prefix+"mlp.gate_proj.weight", newMatrix(1, dim))
	f.matrix(prefix+"mlp.up_proj.weight", newMatrix(1, dim))
	f.matrix(prefix+"mlp.down_proj.weight", newMatrix(dim, 1))
}

// Write writes the model's Hugging Face folder, whole or not at all, with the truth in
// heads.json. The folder must be new or empty.
func (m *Model) Write(dir string) error {
	folder, err := output.CreateFolder(dir)
	if err != nil {
		return fmt.Errorf("built: %w", err)
	}
	defer folder.Discard()
	var truth bytes.Buffer
	if err := m.Truth.Write(&truth); err != nil {
		return fmt.Errorf("built: %w", err)
	}
	for name, data := range map[string][]byte{"config.json": m.Config, "model.safetensors": m.Weights, "heads.json": truth.Bytes()} {
		if err := output.WriteBytes(filepath.Join(folder.Temp, name), data); err != nil {
			return fmt.Errorf("built: %w", err)
		}
	}
	if err := folder.Commit(); err != nil {
		return fmt.Errorf("built: %w", err)
	}
	return nil
}
