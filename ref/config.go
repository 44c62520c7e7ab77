package ref

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"

	"kvcompress/dtype"
	"kvcompress/kv"
	"kvcompress/trace"
)

// Config is everything that decides what the pipeline does with a trace.
type Config struct {
	kv.Config
	Rope        *trace.Rope `json:"-"`                // that queries and keys carry, as the trace states it; nil if it does not
	Method      string      `json:"method,omitempty"` // its name; "" is KVCompress
	Set         Settings    `json:"set,omitempty"`    // its own options, where it is not KVCompress
	Metric      Metric      `json:"metric,omitzero"`  // of KVCompress
	Compression Compression `json:"compression"`
}

// Norm says what a KV gains from an attention weight P.
type Norm string

// The norms of the paper, §4.
const (
	L2 Norm = "L2" // P², the squared attention
	L1 Norm = "L1" // P, the attention itself
)

// Reduction says how a KV's gains over many queries become one number.
type Reduction string

// The reductions of the metric over queries.
const (
	Sum Reduction = "sum" // of all gains so far
	Avg Reduction = "avg" // the sum divided by the number of queries after the KV
)

// Metric says how the attention that a KV receives is measured.
type Metric struct {
	Norm      Norm      `json:"norm"`
	Reduction Reduction `json:"reduction"`
	MaxPool   int       `json:"max_pool"` // width of the max-pool over the prompt's metrics; 0 for none
	Window    int       `json:"window"`   // last queries of the prompt that are observed
	Buffer    int       `json:"buffer"`   // a query counts only for keys at least this many positions back

	// Chunk is how many of the window's queries are max-pooled together, and with Avg scaled
	// together, before the chunks are added up: 0 is all of them
	// (prefill_metric_collection_block_size of IsaacRe/vllm-kvcompress, there 4,096).
	Chunk int `json:"chunk,omitempty"`

	// PrefillOnly has decode steps add nothing: a prompt's KVs keep their first metric, and
	// those of generated tokens stay at 0 (record_decoding_metrics of
	// IsaacRe/vllm-kvcompress, turned off).
	PrefillOnly bool `json:"prefill_only,omitempty"`
}

// Compression says how much is evicted, and from where. The zero value compresses
// nothing. All but MaxCacheTokens and Rate are KV-Compress's.
type Compression struct {
	// How much: at most one of the two.
	MaxCacheTokens int     `json:"max_cache_tokens,omitempty"` // C: keep about C KVs per head on average
	Rate           float64 `json:"rate,omitempty"`             // r in (0,1]: keep this part of what is compressible

	// Never evicted.
	ProtectedWindow int `json:"protected_window"` // the newest tokens
	Sinks           int `json:"sinks"`            // the oldest tokens

	// From where.
	EvenLayers    bool      `json:"even_layers,omitempty"`    // as many blocks from every layer
	ControlLayers []int     `json:"control_layers,omitempty"` // with EvenLayers: layers that lose nothing
	Uniform       bool      `json:"uniform,omitempty"`        // as many blocks from every head
	Random        bool      `json:"random,omitempty"`         // costs are a seeded hash: the baseline
	Seed          uint64    `json:"seed,omitempty"`           // of Random
	HeadBias      *HeadBias `json:"head_bias,omitempty"`
	BiasWeight    float32   `json:"bias_weight,omitempty"`
}

// HeadBias is added to the cost of every KV, by layer, head and the bin that
// its position falls into: the last bin that starts at or before it.
type HeadBias struct {
	Bins []int32       `json:"bins"` // ascending starts of the bins, the first 0
	Bias [][][]float32 `json:"bias"` // [L][H][len(Bins)]
}

// Default returns the options of the published experiments: block size 16, f16,
// squared attention of the last 32 queries, max-pooled over 7 tokens, a
// protected window of 32, and no compression until a rate or limit is set.
func Default() Config {
	return Config{
		Config:      kv.Config{BlockSize: 16, DType: dtype.F16},
		Metric:      Metric{Norm: L2, Reduction: Sum, MaxPool: 7, Window: 32},
		Compression: Compression{ProtectedWindow: 32},
	}
}

// Enabled reports whether the options ask for any compression.
func (c *Compression) Enabled() bool { return c.MaxCacheTokens > 0 || c.Rate > 0 }

// Bounds on a Metric.
const (
	MaxWindow    = 1 << 20
	MaxPoolWidth = 31
)

// Validate returns every error of the configuration, joined; nil if it can run.
func (c *Config) Validate() error {
	method, err := c.NewMethod()
	if err != nil {
		return errors.Join(append(c.Problems(nil), fmt.Errorf("config: %w", err))...)
	}
	errs := c.Problems(method.Columns())
	if c.methodName() == KVCompress {
		errs = append(errs, c.Metric.Validate())
	}
	errs = append(errs, c.Compression.validate(c.Shape)...)
	errs = append(errs, c.foreign())
	return errors.Join(errs...)
}

func (c *Config) methodName() string { return cmp.Or(c.Method, KVCompress) }

// Compresses reports whether the configuration compresses at all: KV-Compress where it
// has something to compress to, any other method always.
func (c *Config) Compresses() bool {
	return c.methodName() != KVCompress || c.Compression.Enabled()
}

// CountsBlocks reports whether the configuration's method counts what it asks for in
// blocks; the others count KVs.
func (c *Config) CountsBlocks() bool { return c.methodName() == KVCompress }

// UseMethod makes a method the configuration's. The options of the one before are
// dropped, but for MaxCacheTokens and Rate, and those of KV-Compress are its defaults.
func (c *Config) UseMethod(name string) {
	if name == KVCompress {
		name = ""
	}
	if name == c.Method {
		return
	}
	kept := Compression{MaxCacheTokens: c.Compression.MaxCacheTokens, Rate: c.Compression.Rate}
	c.Method, c.Set, c.Metric, c.Compression = name, nil, Metric{}, kept
	if name == "" {
		d := Default()
		c.Metric = d.Metric
		c.Compression.ProtectedWindow = d.Compression.ProtectedWindow
	}
}

// foreign returns an error if options of KV-Compress are set, and the method is another.
func (c *Config) foreign() error {
	if c.methodName() == KVCompress {
		if len(c.Set) > 0 {
			return fmt.Errorf("config: set: %s has none of its own: its options are metric and compression", KVCompress)
		}
		return nil
	}
	own := c.Compression
	own.MaxCacheTokens, own.Rate = 0, 0
	if c.Metric != (Metric{}) || !reflect.DeepEqual(own, Compression{}) {
		return fmt.Errorf("config: metric, and compression but for max_cache_tokens and rate, are options of %s: those of %s stand in set", KVCompress, c.Method)
	}
	return nil
}

// NewMethod returns the configuration's method. The error says which names there are,
// what is wrong with the method's options, or why it cannot run on the shape.
func (c *Config) NewMethod() (Method, error) {
	e, err := FindMethod(c.methodName())
	if err != nil {
		return nil, err
	}
	if e.Defaults == nil {
		if err := c.Set.Into(&e, &struct{}{}); err != nil {
			return nil, err
		}
	}
	return e.New(c)
}

// CacheShape returns the shape of the configuration's cache of a model: the model's, or
// for a method that repeats K and V one of H·G KV heads and group 1. Query head g of KV
// head h is then head h·G + g, and [trace.Repeat] gives its keys and values.
func (c *Config) CacheShape(model kv.Shape) kv.Shape {
	if e, err := FindMethod(c.methodName()); err == nil && e.Repeats {
		model.KVHeads, model.Group = model.QueryHeads(), 1
	}
	return model
}

// Columns returns what the configuration's method keeps of every KV, nil if it has
// none: see [Config.Validate].
func (c *Config) Columns() []kv.Column {
	m, err := c.NewMethod()
	if err != nil {
		return nil
	}
	return m.Columns()
}

// Window returns how many of a prompt's last queries the configuration's method
// watches.
func (c *Config) Window() int {
	m, err := c.NewMethod()
	if err != nil {
		return 0
	}
	if o := m.Observe(); o != nil {
		return o.Window
	}
	return 0
}

// BlockBytes returns the bytes of a block's state: K, V, position and columns of each
// slot, and the owner.
func (c *Config) BlockBytes() int { return c.Config.BlockBytes(c.Columns()) }

// MoveBytes returns the bytes that one KV's move reads, and writes: K, V, position and
// columns.
func (c *Config) MoveBytes() int { return c.SlotBytes(c.Columns()) }

// MetadataBytes returns what is kept beside K and V for the given number of blocks: for
// KV-Compress what its published implementation keeps, 21 bytes for each block and
// 12 + 8·G for each of its slots (IsaacRe/vllm-kvcompress); for the other methods each
// block's owner and each slot's position and columns.
func (c *Config) MetadataBytes(blocks int) int64 {
	if c.methodName() != KVCompress {
		return int64(blocks) * int64(c.BlockBytes()-c.PageBytes())
	}
	return int64(blocks) * (21 + int64(c.BlockSize)*(12+8*int64(c.Shape.Group)))
}

// Validate returns every error of the metric's options, joined.
func (m *Metric) Validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("config: metric: "+format, args...))
	}
	if m.Norm != L1 && m.Norm != L2 {
		bad("norm %q is neither L1 nor L2", m.Norm)
	}
	if m.Reduction != Sum && m.Reduction != Avg {
		bad("reduction %q is neither sum nor avg", m.Reduction)
	}
	if m.MaxPool != 0 && (m.MaxPool < 3 || m.MaxPool > MaxPoolWidth || m.MaxPool%2 == 0) {
		bad("max_pool %d is neither 0 nor an odd width from 3 to %d", m.MaxPool, MaxPoolWidth)
	}
	if m.Window < 1 || m.Window > MaxWindow {
		bad("window %d is not from 1 to %d", m.Window, MaxWindow)
	}
	if m.Chunk < 0 || m.Chunk > MaxWindow {
		bad("chunk %d is not from 0 to %d", m.Chunk, MaxWindow)
	}
	if m.Buffer < 0 || m.Buffer > MaxWindow {
		bad("buffer %d is not from 0 to %d", m.Buffer, MaxWindow)
	}
	return errors.Join(errs...)
}

// Validate returns every error of the options for a model of a shape, joined.
func (c *Compression) Validate(s kv.Shape) error { return errors.Join(c.validate(s)...) }

func (c *Compression) validate(s kv.Shape) (errs []error) {
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("config: compression: "+format, args...))
	}
	if c.MaxCacheTokens != 0 && c.Rate != 0 {
		bad("max_cache_tokens and rate exclude each other")
	}
	if !(c.Rate >= 0 && c.Rate <= 1) {
		bad("rate %v is not in (0, 1]", c.Rate)
	}
	for _, f := range []struct {
		name  string
		value int
	}{
		{"max_cache_tokens", c.MaxCacheTokens}, {"protected_window", c.ProtectedWindow}, {"sinks", c.Sinks},
	} {
		if f.value < 0 || f.value > math.MaxInt32 {
			bad("%s %d is not from 0 to %d", f.name, f.value, math.MaxInt32)
		}
	}
	if c.EvenLayers && c.Uniform {
		bad("even_layers and uniform exclude each other")
	}
	if len(c.ControlLayers) > 0 && !c.EvenLayers {
		bad("control_layers are exempt from even_layers, which is off")
	}
	for i, l := range c.ControlLayers {
		if l < 0 || l >= s.Layers || slices.Contains(c.ControlLayers[:i], l) {
			bad("control_layers: %d is not one of the layers 0 to %d, named once", l, s.Layers-1)
			break
		}
	}
	if w := float64(c.BiasWeight); math.IsNaN(w) || math.IsInf(w, 0) {
		bad("bias_weight %v is not finite", w)
	} else if err := c.HeadBias.validate(s, c.BiasWeight); err != nil {
		errs = append(errs, err)
	}
	return errs
}

func (b *HeadBias) validate(s kv.Shape, weight float32) error {
	if b == nil {
		return nil
	}
	const where = "config: compression: head_bias"
	if len(b.Bins) == 0 || b.Bins[0] != 0 {
		return fmt.Errorf("%s: the first of the bins must start at position 0", where)
	}
	for i := 1; i < len(b.Bins); i++ {
		if b.Bins[i] <= b.Bins[i-1] {
			return fmt.Errorf("%s: bins[%d] = %d does not ascend", where, i, b.Bins[i])
		}
	}
	if len(b.Bias) != s.Layers {
		return fmt.Errorf("%s: %d layers, the model has %d", where, len(b.Bias), s.Layers)
	}
	for l, heads := range b.Bias {
		if len(heads) != s.KVHeads {
			return fmt.Errorf("%s: layer %d: %d heads, the model has %d", where, l, len(heads), s.KVHeads)
		}
		for h, bins := range heads {
			if len(bins) != len(b.Bins) {
				return fmt.Errorf("%s: layer %d, head %d: %d values for %d bins", where, l, h, len(bins), len(b.Bins))
			}
			for i, v := range bins {
				if w := float64(float32(v * weight)); math.IsNaN(w) || math.IsInf(w, 0) {
					return fmt.Errorf("%s: layer %d, head %d, bin %d: %v at weight %v is not finite", where, l, h, i, v, weight)
				}
			}
		}
	}
	return nil
}

// at returns the bias of a KV at the given position.
func (b *HeadBias) at(layer, head int, position int32) float32 {
	bin, starts := slices.BinarySearch(b.Bins, position)
	if !starts {
		bin--
	}
	return b.Bias[layer][head][bin]
}

// String returns the configuration as one line of JSON.
func (c Config) String() string {
	text, err := json.Marshal(c)
	if err != nil {
		return fmt.Sprintf("config: %v", err)
	}
	return string(text)
}
