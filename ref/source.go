package ref

import (
	"fmt"

	"kvcompress/dtype"
	"kvcompress/trace"
)

// ValueError reports a key or value that the cache's format cannot hold: it would
// round to infinity. The fp8 formats saturate instead.
type ValueError struct {
	Seq                         SeqID
	Tensor                      trace.Tensor // K or V
	Token, Layer, Head, Element int
	Value                       float32
	Format                      dtype.DType
}

func (e *ValueError) Error() string {
	return fmt.Sprintf("%c: %g at token %d, layer %d, head %d, element %d is beyond the largest %v, %g: choose another kv_dtype",
		"qkv"[e.Tensor], e.Value, e.Token, e.Layer, e.Head, e.Element, e.Format, e.Format.Max())
}

// source is the tensors of one sequence.
type source struct {
	trace.Tensors
	seq    SeqID
	format dtype.DType
	shape  trace.Shape
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

// fits returns a *ValueError for the first value that the cache cannot hold. Below
// trace.MaxMagnitude, only f16 has any.
func (s *source) fits(values []float32, t trace.Tensor, layer, from int) error {
	if s.format != dtype.F16 {
		return nil
	}
	largest := s.format.Max()
	for i, v := range values {
		if v > largest || v < -largest {
			d, row := s.shape.HeadSize, s.shape.KVHeads*s.shape.HeadSize
			return &ValueError{s.seq, t, from + i/row, layer, i % row / d, i % d, v, s.format}
		}
	}
	return nil
}

// maxLayerFloats bounds the queries and the keys of one layer, and the scores of
// one head, that a prefill holds at once: 1 GiB of each.
const maxLayerFloats = 1 << 28

// PrefillFits returns an error if a prefill of n tokens cannot be held in memory,
// layer by layer. The configuration is otherwise valid.
func (c *Config) PrefillFits(n int) error {
	perToken := c.Shape.KVHeads * c.Shape.HeadSize
	if n > maxLayerFloats/perToken {
		return fmt.Errorf("%d tokens of %d KV heads of size %d are more than a layer may have", n, c.Shape.KVHeads, c.Shape.HeadSize)
	}
	w := min(c.Metric.Window, n)
	if w > maxLayerFloats/(perToken*c.Shape.Group) || n > maxLayerFloats/(min(w, together)*c.Shape.Group) {
		return fmt.Errorf("the last %d queries of %d heads of size %d over %d tokens are more than can be held at once: choose a smaller window", w, c.Shape.QueryHeads(), c.Shape.HeadSize, n)
	}
	return nil
}
