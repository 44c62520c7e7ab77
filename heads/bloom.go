package heads

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kvcompress/safetensors"
	"kvcompress/strictjson"
	"kvcompress/trace/regular"
)

// Bloom is a BLOOM model in a Hugging Face folder, the only supported architecture with ALiBi. Only the
// weights of queries and keys are read, one head at a time.
//
// A layer's query_key_value.weight is [3·N, N]: for each head the rows of its queries, keys and values. The
// layer's input_layernorm precedes it.
type Bloom struct {
	Layers, Heads int
	HeadSize      int // D; N is Heads·D

	prefix  string // of tensor names: "" or "transformer."
	files   []*os.File
	tensors map[string]*safetensors.File
}

// maxConfig bounds the size of a config.json.
const maxConfig = 1 << 20

// OpenBloom opens the model in a folder: its config.json and the tensors of all .safetensors files. The
// caller closes it. The error names the file and what is wrong in it.
func OpenBloom(dir string) (*Bloom, error) {
	b := &Bloom{tensors: map[string]*safetensors.File{}}
	if err := b.open(dir); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// Close closes the files.
func (b *Bloom) Close() error {
	var errs []error
	for _, f := range b.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

func (b *Bloom) open(dir string) error {
	const name = "config.json"
	text, err := regular.ReadFile(filepath.Join(dir, name), maxConfig)
	if err != nil {
		return fmt.Errorf("%s: %w", name, regular.Short(err))
	}
	if b.Heads, err = bloomHeads(text); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	names, err := filepath.Glob(filepath.Join(escaped(dir), "*.safetensors"))
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return fmt.Errorf("%s has no file that ends in .safetensors", dir)
	}
	for _, path := range names {
		if err := b.openFile(path); err != nil {
			return err
		}
	}
	return b.shape()
}

// escaped returns a pattern for filepath.Glob that matches only the path.
func escaped(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// bloomHeads returns the number of heads in a config.json.
func bloomHeads(text []byte) (int, error) {
	var c struct {
		ModelType  string `json:"model_type"`
		Heads      int    `json:"n_head"`
		OtherHeads int    `json:"num_attention_heads"` // the name in some published files
	}
	if err := strictjson.Known(text, &c); err != nil {
		return 0, err
	}
	if c.ModelType != "bloom" {
		return 0, fmt.Errorf("model_type is %q: want bloom, the only supported model with ALiBi", strictjson.Excerpt(c.ModelType))
	}
	heads := max(c.Heads, c.OtherHeads)
	if heads < 1 || heads > maxHeads {
		return 0, fmt.Errorf("n_head is %d, want 1 to %d", heads, maxHeads)
	}
	return heads, nil
}

func (b *Bloom) openFile(path string) error {
	name := filepath.Base(path)
	f, err := regular.OpenFile(path)
	if err != nil {
		return fmt.Errorf("%s: %w", name, regular.Short(err))
	}
	b.files = append(b.files, f)
	info, err := f.Stat()
	if err != nil {
		return err
	}
	file, err := safetensors.Open(f, info.Size(), name)
	if err != nil {
		return err
	}
	for _, tensor := range file.Names() {
		if b.tensors[tensor] != nil {
			return fmt.Errorf("%s: another file also has the tensor %q", name, tensor)
		}
		b.tensors[tensor] = file
	}
	return nil
}

// tensor returns the name of a tensor of a layer.
func (b *Bloom) tensor(layer int, name string) string {
	return fmt.Sprintf("%sh.%d.%s", b.prefix, layer, name)
}

// The tensors of a layer.
const (
	bloomNorm   = "input_layernorm.weight"
	bloomNormB  = "input_layernorm.bias"
	bloomWeight = "self_attention.query_key_value.weight"
	bloomBias   = "self_attention.query_key_value.bias"
)

// shape counts the layers and checks the shapes of their tensors.
func (b *Bloom) shape() error {
	if b.tensors[b.tensor(0, bloomNorm)] == nil {
		b.prefix = "transformer."
	}
	for ; b.tensors[b.tensor(b.Layers, bloomNorm)] != nil; b.Layers++ {
		size := int64(b.Heads * b.HeadSize)
		if b.Layers == 0 {
			info, _ := b.tensors[b.tensor(0, bloomNorm)].Tensor(b.tensor(0, bloomNorm))
			if len(info.Shape) == 1 {
				size = info.Shape[0]
			}
			if size < 1 || size%int64(b.Heads) != 0 {
				return fmt.Errorf("tensor %q: %d elements are not a multiple of %d heads", info.Name, size, b.Heads)
			}
			b.HeadSize = int(size) / b.Heads
		}
		for _, t := range []struct {
			name string
			want []int64
		}{
			{bloomNorm, []int64{size}}, {bloomNormB, []int64{size}},
			{bloomWeight, []int64{3 * size, size}}, {bloomBias, []int64{3 * size}},
		} {
			name := b.tensor(b.Layers, t.name)
			file := b.tensors[name]
			if file == nil {
				return fmt.Errorf("there is no tensor %q", name)
			}
			if info, _ := file.Tensor(name); !slices.Equal(info.Shape, t.want) {
				return fmt.Errorf("tensor %q is %v, want %v", name, info.Shape, t.want)
			}
		}
		if b.Layers*b.Heads > maxHeads {
			return fmt.Errorf("more than %d heads", maxHeads)
		}
	}
	if b.Layers == 0 {
		return fmt.Errorf("there is no tensor %q or h.0.%s", b.tensor(0, bloomNorm), bloomNorm)
	}
	return nil
}

// Head reads the projections of a head's queries and keys.
func (b *Bloom) Head(layer, head int) (q, k Projection, n Norm, err error) {
	size, d := b.Heads*b.HeadSize, b.HeadSize
	first := 3 * head * d // row
	for _, part := range []struct {
		to    *[]float32
		name  string
		begin int // elements
		count int
	}{
		{&n.Gamma, bloomNorm, 0, size}, {&n.Beta, bloomNormB, 0, size},
		{&q.Weight, bloomWeight, first * size, d * size}, {&k.Weight, bloomWeight, (first + d) * size, d * size},
		{&q.Bias, bloomBias, first, d}, {&k.Bias, bloomBias, first + d, d},
	} {
		if *part.to, err = b.read(b.tensor(layer, part.name), part.begin, part.count); err != nil {
			return q, k, n, err
		}
	}
	return q, k, n, nil
}

// read reads elements of a tensor, which must be finite.
func (b *Bloom) read(name string, begin, count int) ([]float32, error) {
	file := b.tensors[name]
	info, _ := file.Tensor(name)
	format, ok := info.DType.Float()
	if !ok {
		return nil, fmt.Errorf("tensor %q is of %v, want a float type", name, info.DType)
	}
	raw := make([]byte, count*format.Size())
	if err := file.ReadBytes(raw, name, int64(begin)*int64(format.Size())); err != nil {
		return nil, err
	}
	x := make([]float32, count)
	format.Decode(x, raw)
	for i, v := range x {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return nil, fmt.Errorf("tensor %q: element %d is %v", name, begin+i, v)
		}
	}
	return x, nil
}
