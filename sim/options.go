package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"kvcompress/ref"
	"kvcompress/trace"
)

// Options is all that a replay needs to know beside the trace.
type Options struct {
	ref.Config
	Limits     Limits `json:"limits"`
	StepTimeNS int64  `json:"step_time_ns"` // of every iteration
}

// DefaultOptions returns the defaults of the engine and the scheduler, on a
// clock of 10 ms an iteration. Blocks is 0: see [Options.Fill].
func DefaultOptions() Options {
	return Options{Config: ref.Default(), Limits: DefaultLimits(), StepTimeNS: 10e6}
}

// DefaultCacheBytes bounds the cache of a replay that states no number of
// blocks.
const DefaultCacheBytes = 4 << 30

// Fill completes the options for a trace: its shape, and, where Blocks is 0, as
// many blocks as hold all its requests uncompressed at once, beyond the
// watermark, in at most DefaultCacheBytes.
func (o *Options) Fill(shape trace.Shape, requests []trace.Request) {
	o.Shape = shape
	if o.Blocks != 0 || o.BlockSize < 1 {
		return
	}
	var blocks float64 // absurd requests do not wrap around
	for _, r := range requests {
		blocks += float64(shape.Layers*shape.KVHeads) * math.Ceil(float64(r.CachedTokens())/float64(o.BlockSize))
	}
	blocks = math.Ceil(blocks/(1-o.Limits.Watermark)) + 1
	o.Blocks = int(min(blocks, float64(DefaultCacheBytes/o.BlockBytes())))
}

// Validate returns every error of the options, joined.
func (o *Options) Validate() error {
	err := errors.Join(o.Config.Validate(), o.Limits.Validate())
	if o.StepTimeNS < 1 {
		err = errors.Join(err, fmt.Errorf("options: step_time_ns %d is not at least 1", o.StepTimeNS))
	}
	return err
}

// maxOptionsBytes bounds an options file; a head bias of 128 layers, 128 heads
// and 64 bins fits.
const maxOptionsBytes = 32 << 20

// ReadOptions reads options as JSON, over the defaults. Unknown names are an
// error, so that a misspelt option is not silently a default.
func ReadOptions(r io.Reader) (Options, error) {
	o := DefaultOptions()
	dec := json.NewDecoder(io.LimitReader(r, maxOptionsBytes))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&o); err != nil {
		return o, fmt.Errorf("options: %w", err)
	}
	if dec.More() {
		return o, errors.New("options: more than one JSON value")
	}
	return o, nil
}
