package ref

import (
	"fmt"

	"kvcompress/dtype"
	"kvcompress/kv"
	"kvcompress/trace"
)

// ValueError reports a key or value that the cache's format cannot hold: it would
// round to infinity. The fp8 formats saturate instead.
type ValueError struct {
	Seq                         kv.SeqID
	Tensor                      trace.Tensor // K or V
	Token, Layer, Head, Element int
	Value                       float32
	Format                      dtype.DType
	Limit                       float32 // if codes of 1 bit lower the limit below the largest Format: that limit; else 0
}

func (e *ValueError) Error() string {
	if e.Limit != 0 {
		return fmt.Sprintf("%c: %g at token %d, layer %d, head %d, element %d is beyond %g, and the scale of a group of 1 bit beyond the largest %v: choose 2 bits, or another kv_dtype",
			"qkv"[e.Tensor], e.Value, e.Token, e.Layer, e.Head, e.Element, e.Limit, e.Format)
	}
	return fmt.Sprintf("%c: %g at token %d, layer %d, head %d, element %d is beyond the largest %v, %g: choose another kv_dtype",
		"qkv"[e.Tensor], e.Value, e.Token, e.Layer, e.Head, e.Element, e.Format, e.Format.Max())
}

// source is the tensors of one sequence.
type source struct {
	trace.Tensors
	seq    kv.SeqID
	format dtype.DType
	limit  func() float32 // [Config.largest], called only for values that may exceed it
	shape  kv.Shape
}

// readKV reads the keys and values of tokens from..from+n-1 in one layer, each
// [n, H, D].
func (s *source) readKV(k, v []float32, layer, from, n int) error {
	for _, x := range []struct {
		t   trace.Tensor
		dst []float32
	}{{trace.K, k}, {trace.V, v}} {
		if err := s.Read(x.dst, x.t, layer, from, n); err != nil {
			return err
		}
		if err := s.fits(x.dst, x.t, layer, from); err != nil {
			return err
		}
	}
	return nil
}

// fits returns a *ValueError for the first value that the cache cannot hold. Of values up to
// trace.MaxMagnitude, only f16 has any.
func (s *source) fits(values []float32, t trace.Tensor, layer, from int) error {
	if s.format != dtype.F16 {
		return nil
	}
	largest := s.format.Max() / 2 // lower bound of the limit
	for i, v := range values {
		if v > largest || v < -largest {
			if largest = s.limit(); v >= -largest && v <= largest {
				continue
			}
			d, row := s.shape.HeadSize, s.shape.KVHeads*s.shape.HeadSize
			err := &ValueError{Seq: s.seq, Tensor: t, Token: from + i/row, Layer: layer, Head: i % row / d, Element: i % d, Value: v, Format: s.format}
			if largest < s.format.Max() {
				err.Limit = largest
			}
			return err
		}
	}
	return nil
}

// CheckPrompt returns an error if one layer of a prompt of n tokens, computed by a model, cannot enter a
// cache of the configuration: the layer is out of range, an array has the wrong size, or a value exceeds
// trace.MaxMagnitude or the cache's format (*ValueError). queries is the number of the prompt's last queries
// that the method observes.
func (c *Config) CheckPrompt(id kv.SeqID, layer, n, queries int, q, k, v []float32) error {
	row := c.Shape.KVHeads * c.Shape.HeadSize
	queries *= row * c.Shape.Group
	switch {
	case layer >= c.Shape.Layers:
		return fmt.Errorf("ref: prompt of sequence %d: all of its %d layers have entered", id, c.Shape.Layers)
	case len(q) != queries || len(k) != n*row || len(v) != n*row:
		return fmt.Errorf("ref: prompt of sequence %d, layer %d: %d, %d and %d elements of q, k and v, want %d, %d and %d",
			id, layer, len(q), len(k), len(v), queries, n*row, n*row)
	}
	return c.checkValues(id, layer, 0, q, k, v)
}

// CheckTokens is [Config.CheckPrompt] for one layer of a decode step of a batch, with tokens at the given
// positions.
func (c *Config) CheckTokens(batch []kv.SeqID, positions []int, layer int, q, k, v, out []float32) error {
	row := c.Shape.KVHeads * c.Shape.HeadSize
	n := len(batch) * row
	switch {
	case layer >= c.Shape.Layers:
		return fmt.Errorf("ref: decode: all of the %d layers have been stepped through", c.Shape.Layers)
	case len(q) != n*c.Shape.Group || len(out) != len(q) || len(k) != n || len(v) != n:
		return fmt.Errorf("ref: decode: layer %d: %d, %d, %d and %d elements of q, k, v and out, want %d, %d, %d and %d",
			layer, len(q), len(k), len(v), len(out), n*c.Shape.Group, n, n, n*c.Shape.Group)
	}
	for i, id := range batch {
		if err := c.checkValues(id, layer, positions[i], q[i*row*c.Shape.Group:][:row*c.Shape.Group], k[i*row:][:row], v[i*row:][:row]); err != nil {
			return err
		}
	}
	return nil
}

// checkValues checks one sequence's values in one layer, starting at token from.
func (c *Config) checkValues(id kv.SeqID, layer, from int, q, k, v []float32) error {
	s := source{seq: id, format: c.DType, limit: c.largest, shape: c.Shape}
	for _, x := range []struct {
		t      trace.Tensor
		values []float32
	}{{trace.Q, q}, {trace.K, k}, {trace.V, v}} {
		for _, value := range x.values {
			if !(value >= -trace.MaxMagnitude && value <= trace.MaxMagnitude) {
				return fmt.Errorf("ref: sequence %d, layer %d, tokens from %d on: %v has a value of %g, want at most %g in magnitude",
					id, layer, from, x.t, value, float64(trace.MaxMagnitude))
			}
		}
		if x.t == trace.Q {
			continue
		}
		if err := s.fits(x.values, x.t, layer, from); err != nil {
			return err
		}
	}
	return nil
}

// maxLayerFloats bounds what a prefill holds at once: the queries of one layer, its keys, and the scores of
// one head, 1 GiB each.
const maxLayerFloats = 1 << 28

// PrefillFits returns an error if a prefill of n tokens needs too much memory for one layer. The
// configuration is otherwise valid.
func (c *Config) PrefillFits(n int) error { return c.prefillFits(n, min(c.Window(), n)) }

func (c *Config) prefillFits(n, queries int) error {
	perToken := c.Shape.KVHeads * c.Shape.HeadSize
	if n > maxLayerFloats/perToken {
		return fmt.Errorf("%d tokens of %d KV heads of size %d are more than a layer may have", n, c.Shape.KVHeads, c.Shape.HeadSize)
	}
	w := max(1, queries)
	if w > maxLayerFloats/(perToken*c.Shape.Group) || n > maxLayerFloats/(min(w, together)*c.Shape.Group) {
		return fmt.Errorf("the last %d queries of %d heads of size %d over %d tokens are more than can be held at once: choose a smaller window", w, c.Shape.QueryHeads(), c.Shape.HeadSize, n)
	}
	return nil
}
