package llama

import (
	"encoding/binary"
	"fmt"
	"io"

	"kvcompress/dtype"
	"kvcompress/trace"
)

// checkpointHeader is the header of a llama2.c checkpoint, in the legacy format
// that its published models have: seven int32, little endian, without a magic
// number or version.
type checkpointHeader struct {
	Dim, HiddenDim, Layers, Heads, KVHeads int32
	Vocab                                  int32 // negative if the classifier has weights of its own
	SeqLen                                 int32
}

const checkpointHeaderSize = 7 * 4

// versionedMagic is the magic number of llama2.c's later checkpoint formats: "ak42".
const versionedMagic = 0x616b3432

// checkpointField returns llama2.c's name for a field of Config.
func checkpointField(field string) string {
	names := map[string]string{
		"Dim": "dim", "HiddenDim": "hidden_dim", "Layers": "n_layers", "QueryHeads": "n_heads",
		"KVHeads": "n_kv_heads", "HeadSize": "dim/n_heads", "Vocab": "vocab_size", "MaxPositions": "seq_len",
	}
	return names[field]
}

// config checks the header and converts it to a Config.
func (h checkpointHeader) config() (Config, error) {
	if uint32(h.Dim) == versionedMagic {
		return Config{}, fmt.Errorf("the magic number ak42 of a later format; only the legacy format, version 0, is supported")
	}
	cfg := Config{
		Dim:          int(h.Dim),
		HiddenDim:    int(h.HiddenDim),
		Layers:       int(h.Layers),
		QueryHeads:   int(h.Heads),
		KVHeads:      int(h.KVHeads),
		HeadSize:     1,
		Vocab:        max(int(h.Vocab), -int(h.Vocab)),
		MaxPositions: int(h.SeqLen),
		NormEps:      1e-5,
		Rope:         trace.Rope{Base: 10000, Pairing: trace.Interleaved},
		BOS:          1,
		EOS:          []int{1, 2}, // its training data separates texts by BOS
		Format:       "llama2.c",
	}
	if h.Heads > 0 {
		if h.Dim%h.Heads != 0 {
			return Config{}, fmt.Errorf("dim: %d is not a multiple of n_heads, which is %d", h.Dim, h.Heads)
		}
		cfg.HeadSize = int(h.Dim / h.Heads)
	}
	cfg.Rope.RotarySize = cfg.HeadSize
	return cfg, cfg.validate(checkpointField)
}

// ReadCheckpoint reads a llama2.c checkpoint of the given size in the legacy
// format: the header, and then all weights in binary32. Errors mention name.
// Nothing is allocated before size is compared with the size that the header implies.
func ReadCheckpoint(r io.ReaderAt, size int64, name string) (*Model, error) {
	m, err := readCheckpoint(r, size)
	if err != nil {
		return nil, fmt.Errorf("llama: %s: %w", name, err)
	}
	return m, nil
}

func readCheckpoint(r io.ReaderAt, size int64) (*Model, error) {
	if size < checkpointHeaderSize {
		return nil, fmt.Errorf("header: the file has %d bytes, a llama2.c checkpoint begins with %d", size, checkpointHeaderSize)
	}
	var h checkpointHeader
	if err := binary.Read(io.NewSectionReader(r, 0, size), binary.LittleEndian, &h); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	cfg, err := h.config()
	if err != nil {
		return nil, fmt.Errorf("header: %w; is this a llama2.c checkpoint?", err)
	}

	m := &Model{cfg: cfg, invFreq: cfg.Rope.InverseFrequencies()}
	plan := m.checkpointPlan(h.Vocab < 0)
	want := int64(checkpointHeaderSize)
	for _, p := range plan {
		want += p.bytes()
	}
	if size != want {
		return nil, fmt.Errorf("size: the header calls for %d bytes, the file has %d", want, size)
	}
	m.layers = make([]layer, cfg.Layers)
	offset := int64(checkpointHeaderSize)
	for _, p := range plan {
		if err := p.read(r, offset); err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		offset += p.bytes()
	}
	if h.Vocab > 0 {
		m.head = m.embed
	}
	return m, nil
}

// stretch is a run of consecutive tensors in a checkpoint: count tensors of
// rows × cols, one per layer or a single one. set stores the i-th tensor; if set
// is nil, the tensors are skipped.
type stretch struct {
	name              string
	count, rows, cols int
	set               func(i int, m matrix)
}

func (s stretch) bytes() int64 { return 4 * int64(s.count) * int64(s.rows) * int64(s.cols) }

func (s stretch) read(r io.ReaderAt, offset int64) error {
	if s.set == nil {
		return nil
	}
	for i := range s.count {
		raw := make([]byte, s.bytes()/int64(s.count))
		section := io.NewSectionReader(r, offset+int64(i)*int64(len(raw)), int64(len(raw)))
		if _, err := io.ReadFull(section, raw); err != nil {
			return err
		}
		m, err := newMatrix(s.rows, s.cols, dtype.F32, raw)
		if err != nil && s.count > 1 {
			return fmt.Errorf("layer %d: %w", i, err)
		}
		if err != nil {
			return err
		}
		s.set(i, m)
	}
	return nil
}

// checkpointPlan lists the stretches of a checkpoint in file order.
func (m *Model) checkpointPlan(ownClassifier bool) []stretch {
	c := &m.cfg
	qDim, kvDim := c.QueryHeads*c.HeadSize, c.KVHeads*c.HeadSize
	plan := []stretch{
		{"token_embedding_table", 1, c.Vocab, c.Dim, func(_ int, w matrix) { m.embed = w }},
		{"rms_att_weight", c.Layers, 1, c.Dim, func(i int, w matrix) { m.layers[i].attnNorm = w.numbers }},
		{"wq", c.Layers, qDim, c.Dim, func(i int, w matrix) { m.layers[i].wq = w }},
		{"wk", c.Layers, kvDim, c.Dim, func(i int, w matrix) { m.layers[i].wk = w }},
		{"wv", c.Layers, kvDim, c.Dim, func(i int, w matrix) { m.layers[i].wv = w }},
		{"wo", c.Layers, c.Dim, qDim, func(i int, w matrix) { m.layers[i].wo = w }},
		{"rms_ffn_weight", c.Layers, 1, c.Dim, func(i int, w matrix) { m.layers[i].ffnNorm = w.numbers }},
		{"w1", c.Layers, c.HiddenDim, c.Dim, func(i int, w matrix) { m.layers[i].gate = w }},
		{"w2", c.Layers, c.Dim, c.HiddenDim, func(i int, w matrix) { m.layers[i].down = w }},
		{"w3", c.Layers, c.HiddenDim, c.Dim, func(i int, w matrix) { m.layers[i].up = w }},
		{"rms_final_weight", 1, 1, c.Dim, func(_ int, w matrix) { m.norm = w.numbers }},
		// The sines and cosines that older versions of llama2.c read from the file.
		{"freq_cis_real", 1, c.MaxPositions, c.HeadSize / 2, nil},
		{"freq_cis_imag", 1, c.MaxPositions, c.HeadSize / 2, nil},
	}
	if ownClassifier {
		plan = append(plan, stretch{"wcls", 1, c.Vocab, c.Dim, func(_ int, w matrix) { m.head = w }})
	}
	return plan
}
