package llama

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"kvcompress/dtype"
	"kvcompress/safetensors"
	"kvcompress/strictjson"
	"kvcompress/trace/regular"
)

// maxJSON is the largest size in bytes of a JSON file in a folder. The index of a
// model with a thousand tensors has about a hundred thousand bytes.
const maxJSON = 16 << 20

// LoadFS reads a model from a Hugging Face folder: config.json, the weights in
// model.safetensors or in the files that model.safetensors.index.json lists, and
// the end-of-text tokens from generation_config.json, if it exists. The weight files must
// implement io.ReaderAt, as those of package embed and of [os.DirFS] do.
func LoadFS(dir fs.FS) (*Model, error) {
	m, err := loadFolder(dir)
	if err != nil {
		return nil, fmt.Errorf("llama: %w", err)
	}
	return m, nil
}

func loadFolder(dir fs.FS) (*Model, error) {
	data, err := readJSON(dir, "config.json")
	if err != nil {
		return nil, err
	}
	cfg, err := parseConfig(data)
	if err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	if err := readGenerationConfig(dir, &cfg.Config); err != nil {
		return nil, err
	}
	weights, err := openShards(dir)
	if err != nil {
		return nil, err
	}
	m, err := weights.model(cfg)
	return m, errors.Join(err, weights.close())
}

// readJSON reads a file of bounded size.
func readJSON(dir fs.FS, name string) ([]byte, error) {
	data, err := regular.Read(dir, name, maxJSON)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return data, nil
}

// readGenerationConfig reads the end-of-text tokens from generation_config.json, where
// chat models list all of them.
func readGenerationConfig(dir fs.FS, cfg *Config) error {
	const name = "generation_config.json"
	data, err := readJSON(dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var f struct {
		EOS tokenIDs `json:"eos_token_id"`
	}
	if err := strictjson.Known(data, &f); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if len(f.EOS) > 0 {
		cfg.EOS = f.EOS
	}
	return nil
}

// shards are the weights of a folder, in one file or several.
type shards struct {
	files   []fs.File
	tensors map[string]shard // by the name of the tensor
	used    map[string]bool
}

// shard is a file of weights.
type shard struct {
	*safetensors.File
	name string
}

// openShards opens the weights of a folder.
func openShards(dir fs.FS) (*shards, error) {
	s := &shards{tensors: map[string]shard{}, used: map[string]bool{}}
	if err := s.open(dir); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *shards) close() error {
	var errs []error
	for _, f := range s.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

func (s *shards) open(dir fs.FS) error {
	const single, indexName = "model.safetensors", "model.safetensors.index.json"
	file, err := s.openFile(dir, single)
	if err == nil { // it takes precedence over an index
		for _, name := range file.Names() {
			s.tensors[name] = file
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	data, err := readJSON(dir, indexName)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is neither a %s nor a %s", single, indexName)
	}
	if err != nil {
		return err
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := strictjson.Known(data, &index); err != nil {
		return fmt.Errorf("%s: %w", indexName, err)
	}
	opened := map[string]shard{}
	for tensor, name := range index.WeightMap {
		file, ok := opened[name]
		if !ok {
			if name != filepath.Base(name) || !filepath.IsLocal(name) {
				return fmt.Errorf("%s: %s: %q is not the name of a file in the same folder", indexName, tensor, name)
			}
			if file, err = s.openFile(dir, name); err != nil {
				return err
			}
			opened[name] = file
		}
		if _, ok := file.Tensor(tensor); !ok {
			return fmt.Errorf("%s: %s: %s has no such tensor", indexName, tensor, name)
		}
		s.tensors[tensor] = file
	}
	return nil
}

func (s *shards) openFile(dir fs.FS, name string) (shard, error) {
	f, err := regular.Open(dir, name)
	if err != nil {
		return shard{}, fmt.Errorf("%s: %w", name, err)
	}
	s.files = append(s.files, f)
	at, ok := f.(io.ReaderAt)
	if !ok {
		return shard{}, fmt.Errorf("%s: the file cannot be read at any place", name)
	}
	info, err := f.Stat()
	if err != nil {
		return shard{}, err
	}
	file, err := safetensors.Open(at, info.Size(), name)
	return shard{File: file, name: name}, err
}

// model reads the weights.
func (s *shards) model(cfg hfModel) (*Model, error) {
	m := &Model{cfg: cfg.Config, invFreq: cfg.Rope.InverseFrequencies()}
	r := reader{shards: s}
	m.embed = r.matrix("model.embed_tokens.weight", cfg.Vocab, cfg.Dim)
	for l := 0; l < cfg.Layers && r.err == nil; l++ {
		m.layers = append(m.layers, r.layer(cfg, fmt.Sprintf("model.layers.%d.", l)))
	}
	m.norm = r.vector("model.norm.weight", cfg.Dim)
	m.head = m.embed
	if !cfg.tied {
		m.head = r.matrix("lm_head.weight", cfg.Vocab, cfg.Dim)
	}
	m.unused = s.unused(cfg.tied)
	return m, r.err
}

// unused returns the tensors that the model does not use, except those that can be derived from
// others.
func (s *shards) unused(tied bool) []string {
	var unused []string
	for name := range s.tensors {
		derived := strings.HasSuffix(name, ".rotary_emb.inv_freq") || tied && name == "lm_head.weight"
		if !s.used[name] && !derived {
			unused = append(unused, name)
		}
	}
	slices.Sort(unused)
	return unused
}

// reader reads tensors until the first error, which it keeps.
type reader struct {
	shards *shards
	err    error
}

func (r *reader) layer(cfg hfModel, prefix string) layer {
	qDim, kvDim := cfg.QueryHeads*cfg.HeadSize, cfg.KVHeads*cfg.HeadSize
	w := layer{
		attnNorm: r.vector(prefix+"input_layernorm.weight", cfg.Dim),
		wq:       r.matrix(prefix+"self_attn.q_proj.weight", qDim, cfg.Dim),
		wk:       r.matrix(prefix+"self_attn.k_proj.weight", kvDim, cfg.Dim),
		wv:       r.matrix(prefix+"self_attn.v_proj.weight", kvDim, cfg.Dim),
		wo:       r.matrix(prefix+"self_attn.o_proj.weight", cfg.Dim, qDim),
		ffnNorm:  r.vector(prefix+"post_attention_layernorm.weight", cfg.Dim),
		gate:     r.matrix(prefix+"mlp.gate_proj.weight", cfg.HiddenDim, cfg.Dim),
		up:       r.matrix(prefix+"mlp.up_proj.weight", cfg.HiddenDim, cfg.Dim),
		down:     r.matrix(prefix+"mlp.down_proj.weight", cfg.Dim, cfg.HiddenDim),
	}
	if cfg.biasQKV {
		w.bq = r.vector(prefix+"self_attn.q_proj.bias", qDim)
		w.bk = r.vector(prefix+"self_attn.k_proj.bias", kvDim)
		w.bv = r.vector(prefix+"self_attn.v_proj.bias", kvDim)
	}
	if cfg.biasO {
		w.bo = r.vector(prefix+"self_attn.o_proj.bias", cfg.Dim)
	}
	if cfg.biasMLP {
		w.gateBias = r.vector(prefix+"mlp.gate_proj.bias", cfg.HiddenDim)
		w.upBias = r.vector(prefix+"mlp.up_proj.bias", cfg.HiddenDim)
		w.downBias = r.vector(prefix+"mlp.down_proj.bias", cfg.Dim)
	}
	if cfg.qkNorm {
		w.qNorm = r.vector(prefix+"self_attn.q_norm.weight", cfg.HeadSize)
		w.kNorm = r.vector(prefix+"self_attn.k_norm.weight", cfg.HeadSize)
	}
	return w
}

// matrix reads a tensor of shape [rows, cols].
func (r *reader) matrix(name string, rows, cols int) matrix {
	return r.tensor(name, rows, cols, []int64{int64(rows), int64(cols)})
}

// vector reads a tensor of shape [n].
func (r *reader) vector(name string, n int) []float32 {
	m := r.tensor(name, 1, n, []int64{int64(n)})
	if r.err != nil {
		return nil
	}
	return slices.Clone(m.row(0, make([]float32, n)))
}

func (r *reader) tensor(name string, rows, cols int, shape []int64) matrix {
	if r.err != nil {
		return matrix{}
	}
	file, ok := r.shards.tensors[name]
	if !ok {
		r.err = fmt.Errorf("tensor %s: missing from the folder's weights", name)
		return matrix{}
	}
	m, err := file.matrix(name, rows, cols, shape)
	if err != nil {
		r.err = fmt.Errorf("%s: tensor %s: %w", file.name, name, err)
		return matrix{}
	}
	r.shards.used[name] = true
	return m
}

// matrix reads a tensor of the given shape. The file is known to have all the bytes that
// its header lists, so no allocation exceeds the file's size.
func (s shard) matrix(name string, rows, cols int, shape []int64) (matrix, error) {
	info, _ := s.Tensor(name)
	if !slices.Equal(info.Shape, shape) {
		return matrix{}, fmt.Errorf("shape: %v, config.json calls for %v", info.Shape, shape)
	}
	format, ok := info.DType.Float()
	if !ok || format != dtype.F32 && format != dtype.F16 && format != dtype.BF16 {
		return matrix{}, fmt.Errorf("dtype: %s is not supported, only F32, F16 and BF16", info.DType)
	}
	raw := make([]byte, info.Bytes())
	if err := s.ReadBytes(raw, name, 0); err != nil {
		return matrix{}, err
	}
	return newMatrix(rows, cols, format, raw)
}
