package linear

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"

	"kvcompress/dtype"
	"kvcompress/ref/vec"
	"kvcompress/safetensors"
	"kvcompress/strictjson"
	"kvcompress/trace/regular"
)

// maxFile bounds the files of a model, in bytes.
const maxFile = 64 << 20

// LoadFS reads a model that ../models/training/export.py wrote: config.json, and
// model.safetensors in f16.
func LoadFS(dir fs.FS) (*Model, error) {
	m, err := load(dir)
	if err != nil {
		return nil, fmt.Errorf("linear: %w", err)
	}
	return m, nil
}

func load(dir fs.FS) (*Model, error) {
	text, err := regular.Read(dir, "config.json", maxFile)
	if err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	cfg, err := parseConfig(text)
	if err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	raw, err := regular.Read(dir, "model.safetensors", maxFile)
	if err != nil {
		return nil, fmt.Errorf("model.safetensors: %w", err)
	}
	file, err := safetensors.Open(bytes.NewReader(raw), int64(len(raw)), "model.safetensors")
	if err != nil {
		return nil, err
	}
	return (&weights{file: file, cfg: cfg}).model()
}

// The kinds of layers, as Hugging Face names them.
const (
	linearAttention = "linear_attention"
	fullAttention   = "full_attention"
)

// most bounds each number of a config, so that no product of three overflows; maxState bounds
// the numbers in a layer's state.
const (
	most     = 1 << 16
	maxState = 1 << 22
)

// parseConfig reads a config.json.
func parseConfig(text []byte) (*Config, error) {
	var f struct {
		Vocab        int      `json:"vocab_size"`
		Dim          int      `json:"hidden_size"`
		HiddenDim    int      `json:"intermediate_size"`
		MaxPositions int      `json:"max_position_embeddings"`
		Eps          float64  `json:"rms_norm_eps"`
		Layers       []string `json:"layer_types"`
		Heads        int      `json:"linear_num_heads"`
		KeyDim       int      `json:"linear_key_head_dim"`
		ValueDim     int      `json:"linear_value_head_dim"`
		Taps         int      `json:"linear_conv_kernel_dim"`
		QueryHeads   int      `json:"num_attention_heads"`
		KVHeads      int      `json:"num_key_value_heads"`
		HeadSize     int      `json:"head_dim"`
		RopeBase     float64  `json:"rope_theta"`
	}
	if err := strictjson.Known(text, &f); err != nil {
		return nil, err
	}
	for _, n := range []struct {
		name  string
		value int
	}{
		{"vocab_size", f.Vocab}, {"hidden_size", f.Dim}, {"intermediate_size", f.HiddenDim}, {"max_position_embeddings", f.MaxPositions},
		{"linear_num_heads", f.Heads}, {"linear_key_head_dim", f.KeyDim}, {"linear_value_head_dim", f.ValueDim}, {"linear_conv_kernel_dim", f.Taps},
		{"num_attention_heads", f.QueryHeads}, {"num_key_value_heads", f.KVHeads}, {"head_dim", f.HeadSize}, {"layer_types", len(f.Layers)},
	} {
		if n.value < 1 || n.value > most {
			return nil, fmt.Errorf("%s: %d: want 1 to %d", n.name, n.value, most)
		}
	}
	switch {
	case f.QueryHeads%f.KVHeads != 0:
		return nil, fmt.Errorf("num_attention_heads: %d is not a multiple of the %d KV heads", f.QueryHeads, f.KVHeads)
	case f.Heads*f.KeyDim*f.ValueDim > maxState:
		return nil, fmt.Errorf("a state of %d × %d × %d numbers: want %d at most", f.Heads, f.KeyDim, f.ValueDim, maxState)
	case !(f.Eps > 0 && f.Eps < 1):
		return nil, fmt.Errorf("rms_norm_eps: %g is not between 0 and 1", f.Eps)
	case !(f.RopeBase >= 1 && f.RopeBase < 1e12):
		return nil, fmt.Errorf("rope_theta: %g is not between 1 and 1e12", f.RopeBase)
	}
	for _, n := range []struct {
		name  string
		value int
	}{
		{"hidden_size", f.Dim}, {"intermediate_size", f.HiddenDim}, {"linear_num_heads · linear_value_head_dim", f.Heads * f.ValueDim},
		{"head_dim", f.HeadSize}, {"num_attention_heads · head_dim", f.QueryHeads * f.HeadSize},
	} {
		if n.value%8 != 0 || n.value > vec.MaxD {
			return nil, fmt.Errorf("%s: %d: want a multiple of 8 up to %d", n.name, n.value, vec.MaxD)
		}
	}
	cfg := &Config{
		Dim: f.Dim, HiddenDim: f.HiddenDim, Vocab: f.Vocab, MaxPositions: f.MaxPositions, NormEps: float32(f.Eps),
		Heads: f.Heads, KeyDim: f.KeyDim, ValueDim: f.ValueDim, Taps: f.Taps,
		QueryHeads: f.QueryHeads, KVHeads: f.KVHeads, HeadSize: f.HeadSize, RopeBase: f.RopeBase,
	}
	for i, kind := range f.Layers {
		if kind != linearAttention && kind != fullAttention {
			return nil, fmt.Errorf("layer_types[%d]: %q: want %s or %s", i, strictjson.Excerpt(kind), linearAttention, fullAttention)
		}
		cfg.Full = append(cfg.Full, kind == fullAttention)
	}
	return cfg, nil
}

// weights are the tensors of a file.
type weights struct {
	file *safetensors.File
	cfg  *Config
	err  error // the first error; later calls return nil
}

func (w *weights) model() (*Model, error) {
	c := w.cfg
	m := &Model{
		cfg:   *c,
		embed: w.tensor("model.embed_tokens.weight", c.Vocab, c.Dim),
		norm:  w.tensor("model.norm.weight", c.Dim),
		head:  w.tensor("lm_head.weight", c.Vocab, c.Dim),
	}
	for l, full := range c.Full {
		at := fmt.Sprintf("model.layers.%d.", l)
		this := layer{
			attnNorm: w.tensor(at+"input_layernorm.weight", c.Dim),
			ffnNorm:  w.tensor(at+"post_attention_layernorm.weight", c.Dim),
			gate:     w.tensor(at+"mlp.gate_proj.weight", c.HiddenDim, c.Dim),
			up:       w.tensor(at+"mlp.up_proj.weight", c.HiddenDim, c.Dim),
			down:     w.tensor(at+"mlp.down_proj.weight", c.Dim, c.HiddenDim),
		}
		q, k, v, o := c.Heads*c.KeyDim, c.Heads*c.KeyDim, c.Heads*c.ValueDim, c.Heads*c.ValueDim
		if at += "linear_attn."; full {
			at = fmt.Sprintf("model.layers.%d.self_attn.", l)
			q, k, v, o = c.QueryHeads*c.HeadSize, c.KVHeads*c.HeadSize, c.KVHeads*c.HeadSize, c.QueryHeads*c.HeadSize
		}
		this.wq, this.wk = w.tensor(at+"q_proj.weight", q, c.Dim), w.tensor(at+"k_proj.weight", k, c.Dim)
		this.wv, this.wo = w.tensor(at+"v_proj.weight", v, c.Dim), w.tensor(at+"o_proj.weight", c.Dim, o)
		if !full {
			this.write, this.decay = w.tensor(at+"write_proj.weight", c.Heads, c.Dim), w.tensor(at+"decay", c.Heads)
			for i, x := range this.decay {
				this.decay[i] = sigmoid(x)
			}
			this.convQ, this.convK, this.convV = w.tensor(at+"q_conv", c.Taps, q), w.tensor(at+"k_conv", c.Taps, k), w.tensor(at+"v_conv", c.Taps, v)
		}
		m.layers = append(m.layers, this)
	}
	return m, w.err
}

// tensor returns a tensor of f16 of the given shape, or nil after an error.
func (w *weights) tensor(name string, shape ...int) []float32 {
	if w.err != nil {
		return nil
	}
	info, ok := w.file.Tensor(name)
	if !ok {
		w.err = fmt.Errorf("there is no tensor %q", name)
		return nil
	}
	n, same := 1, info.DType == safetensors.F16 && len(info.Shape) == len(shape)
	for i, want := range shape {
		n *= want
		same = same && info.Shape[i] == int64(want)
	}
	if !same {
		w.err = fmt.Errorf("tensor %q is %s %v: want F16 %v", name, info.DType, info.Shape, shape)
		return nil
	}
	raw := make([]byte, 2*n) // as many bytes as the file has of it
	if err := w.file.ReadBytes(raw, name, 0); err != nil {
		w.err = err
		return nil
	}
	out := make([]float32, n)
	for i := range out {
		h := binary.LittleEndian.Uint16(raw[2*i:])
		if h&0x7c00 == 0x7c00 {
			w.err = fmt.Errorf("tensor %q: number %d is not finite", name, i)
			return nil
		}
		out[i] = dtype.F16ToF32(h)
	}
	return out
}
