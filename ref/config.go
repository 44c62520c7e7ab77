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

// Config is a complete configuration of the pipeline: the cache, the method and the method's options.
type Config struct {
	kv.Config
	Rope        *trace.Rope `json:"-"`                // rotary embedding of queries and keys, from trace.json; nil if it states none
	Method      string      `json:"method,omitempty"` // name; "" is KVCompress
	Set         Settings    `json:"set,omitempty"`    // the method's own options; empty for KVCompress
	Metric      Metric      `json:"metric,omitzero"`  // of KVCompress
	Compression Compression `json:"compression"`
}

// Norm says what an attention weight P adds to a KV's metric.
type Norm string

// The norms of the paper, §4.
const (
	L2 Norm = "L2" // P², the squared attention
	L1 Norm = "L1" // P, the attention itself
)

// Reduction says how a KV's metric combines many queries.
type Reduction string

// The reductions of the metric over queries.
const (
	Sum Reduction = "sum" // the sum over all queries so far
	Avg Reduction = "avg" // the sum divided by the number of queries after the KV
)

// Metric says how the attention that a KV receives is measured.
type Metric struct {
	Norm      Norm      `json:"norm"`
	Reduction Reduction `json:"reduction"`
	MaxPool   int       `json:"max_pool"` // width of the max-pool over the prompt's metrics; 0 for none
	Window    int       `json:"window"`   // number of the prompt's last queries that are observed
	Buffer    int       `json:"buffer"`   // a query counts only for keys at least this many positions before it

	// Chunk is the number of the window's queries that are max-pooled together, and with Avg scaled together,
	// before the chunks are summed; 0 is the whole window (prefill_metric_collection_block_size of
	// IsaacRe/vllm-kvcompress, 4,096 there).
	Chunk int `json:"chunk,omitempty"`

	// PrefillOnly means that decode steps add nothing: a prompt's KVs keep their first metric, and those of
	// generated tokens stay at 0 (record_decoding_metrics of IsaacRe/vllm-kvcompress, turned off).
	PrefillOnly bool `json:"prefill_only,omitempty"`
}

// Compression says how much is evicted, and from where. The zero value compresses
// nothing. All but MaxCacheTokens and Rate are KV-Compress's.
type Compression struct {
	// How much: at most one of the two.
	MaxCacheTokens int     `json:"max_cache_tokens,omitempty"` // C: keep about C KVs per head on average
	Rate           float64 `json:"rate,omitempty"`             // r in (0,1]: keep this fraction of the KVs before the protected window

	// Never evicted:
	ProtectedWindow int `json:"protected_window"` // the newest tokens
	Sinks           int `json:"sinks"`            // the oldest tokens

	// From which heads:
	EvenLayers    bool      `json:"even_layers,omitempty"`    // the same number of blocks from every layer
	ControlLayers []int     `json:"control_layers,omitempty"` // with EvenLayers: layers that are not compressed
	Uniform       bool      `json:"uniform,omitempty"`        // the same number of blocks from every head
	Random        bool      `json:"random,omitempty"`         // costs are a seeded hash: the baseline
	Seed          uint64    `json:"seed,omitempty"`           // of Random
	HeadBias      *HeadBias `json:"head_bias,omitempty"`
	BiasWeight    float32   `json:"bias_weight,omitempty"`
}

// HeadBias is added to the cost of every KV, by layer, head and position. A position belongs to the last bin
// that starts at or before it.
type HeadBias struct {
	Bins []int32       `json:"bins"` // ascending starts of the bins, the first 0
	Bias [][][]float32 `json:"bias"` // [L][H][len(Bins)]
}

// Default returns the options of the published experiments: block size 16, f16, squared attention of the last
// 32 queries, max-pooling over 7 tokens, and a protected window of 32 tokens. There is no compression until
// MaxCacheTokens or Rate is set.
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

// Compresses reports whether the configuration compresses at all. Every method does, but KV-Compress only
// with MaxCacheTokens or Rate.
func (c *Config) Compresses() bool {
	return c.methodName() != KVCompress || c.Compression.Enabled()
}

// CountsBlocks reports whether the method counts evictions in blocks. Only KV-Compress does; the others count
// KVs.
func (c *Config) CountsBlocks() bool { return c.methodName() == KVCompress }

// UseMethod changes the method. It keeps MaxCacheTokens and Rate, and resets all other options to the
// defaults of the new method.
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

// foreign returns an error if options of KV-Compress are set for another method, or the reverse.
func (c *Config) foreign() error {
	if c.methodName() == KVCompress {
		if len(c.Set) > 0 {
			return fmt.Errorf("config: set: %s takes no options here: its options are metric and compression", KVCompress)
		}
		return nil
	}
	own := c.Compression
	own.MaxCacheTokens, own.Rate = 0, 0
	if c.Metric != (Metric{}) || !reflect.DeepEqual(own, Compression{}) {
		return fmt.Errorf("config: metric and compression (except max_cache_tokens and rate) are options of %s: give those of %s in set", KVCompress, c.Method)
	}
	return nil
}

// NewMethod returns the configuration's method. The error lists the known names, or says what is wrong with
// the method's options, or why it cannot run with the model's shape.
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

// CacheShape returns the shape of the cache for a model. It is the model's shape, except for a method that
// repeats K and V for every query head: its cache has H·G KV heads of group 1, where query head g of KV head
// h is head h·G + g. [trace.Repeat] repeats the keys and values.
func (c *Config) CacheShape(model kv.Shape) kv.Shape {
	if e, err := FindMethod(c.methodName()); err == nil && e.Repeats {
		model.KVHeads, model.Group = model.QueryHeads(), 1
	}
	return model
}

// Columns returns the columns that the method stores for every KV; nil if it stores none, or if the
// configuration is invalid: see [Config.Validate].
func (c *Config) Columns() []kv.Column {
	m, err := c.NewMethod()
	if err != nil {
		return nil
	}
	return m.Columns()
}

// Window returns how many of a prompt's last queries the method observes.
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

// BlockBytes returns the bytes of one block: K, V, position and columns of each slot, and the block's owner.
func (c *Config) BlockBytes() int { return c.Config.BlockBytes(c.Columns()) }

// MoveBytes returns the bytes read, and also written, when one KV moves: K, V, position and columns.
func (c *Config) MoveBytes() int { return c.SlotBytes(c.Columns()) }

// MetadataBytes returns the bytes stored beside K and V for the given number of blocks. For KV-Compress these
// are the published implementation's: 21 bytes for each block and 12 + 8·G for each slot
// (IsaacRe/vllm-kvcompress). For other methods they are each block's owner and each slot's position and
// columns.
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
		bad("control_layers needs even_layers")
	}
	for i, l := range c.ControlLayers {
		if l < 0 || l >= s.Layers || slices.Contains(c.ControlLayers[:i], l) {
			bad("control_layers: %d is out of range 0 to %d, or listed twice", l, s.Layers-1)
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
