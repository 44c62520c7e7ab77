package sim

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"kvcompress/ref"
	"kvcompress/strictjson"
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
	if o.Blocks != 0 || !slices.Contains(ref.BlockSizes(), o.BlockSize) || !o.DType.Valid() || !(o.Limits.Watermark >= 0 && o.Limits.Watermark < 1) {
		return // Validate says what is wrong
	}
	var blocks float64 // absurd requests do not wrap around
	for _, r := range requests {
		blocks += float64(float64(shape.Layers*shape.KVHeads) * math.Ceil(float64(r.CachedTokens())/float64(o.BlockSize)))
	}
	blocks = math.Ceil(blocks/(1-o.Limits.Watermark)) + 1
	o.Blocks = int(min(blocks, ref.MaxBlocks, float64(DefaultCacheBytes/o.BlockBytes())))
}

// MaxStepTimeNS is the longest that an iteration may take: an hour.
const MaxStepTimeNS = 3600e9

// Validate returns every error of the options, joined.
func (o *Options) Validate() error {
	err := errors.Join(o.Config.Validate(), o.Limits.Validate())
	if o.StepTimeNS < 1 || o.StepTimeNS > MaxStepTimeNS {
		err = errors.Join(err, fmt.Errorf("options: step_time_ns %d is not from 1 to %d", o.StepTimeNS, int64(MaxStepTimeNS)))
	}
	return err
}

// maxOptionsBytes bounds an options file; a head bias of 128 layers, 128 heads
// and 64 bins fits.
const maxOptionsBytes = 32 << 20

// ReadOptions reads options as JSON, over the defaults. A name that is unknown,
// occurs twice or is spelt in another case is an error, so that a misspelt option
// is not silently a default.
func ReadOptions(r io.Reader) (Options, error) {
	o := DefaultOptions()
	text, err := io.ReadAll(io.LimitReader(r, maxOptionsBytes+1))
	if err != nil {
		return o, fmt.Errorf("options: %w", err)
	}
	if len(text) > maxOptionsBytes {
		return o, fmt.Errorf("options: more than %d MiB", maxOptionsBytes>>20)
	}
	if err := strictjson.Unmarshal(text, &o); err != nil {
		return o, fmt.Errorf("options: %w", err)
	}
	return o, nil
}
