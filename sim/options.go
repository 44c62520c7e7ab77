package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/strictjson"
	"kvcompress/trace"
	"kvcompress/trace/regular"
)

// Options are the options of a replay.
type Options struct {
	ref.Config
	Schedule   Schedule `json:"-"` // in JSON its fields are in "compression"
	Limits     Limits   `json:"limits"`
	StepTimeNS int64    `json:"step_time_ns"` // of every iteration
}

// CompressionOptions is the JSON form of the options of compression and of its schedule.
type CompressionOptions struct {
	ref.Compression
	Schedule
}

// optionsJSON is the JSON form of Options. Its Compression hides that of ref.Config.
type optionsJSON struct {
	ref.Config
	Compression CompressionOptions `json:"compression"`
	Limits      Limits             `json:"limits"`
	StepTimeNS  int64              `json:"step_time_ns"`
}

func (o *Options) wire() optionsJSON {
	return optionsJSON{o.Config, CompressionOptions{o.Config.Compression, o.Schedule}, o.Limits, o.StepTimeNS}
}

// MarshalJSON writes the options in the form of an options.json.
func (o Options) MarshalJSON() ([]byte, error) { return json.Marshal(o.wire()) }

// UnmarshalJSON reads options in the form of an options.json; options that it does not have keep their
// values. A name that is unknown, occurs twice or is spelt in another case is an error.
func (o *Options) UnmarshalJSON(text []byte) error {
	var named struct {
		Method string `json:"method"`
	}
	if err := json.Unmarshal(text, &named); err == nil { // errors are returned below
		o.UseMethod(named.Method)
	}
	w := o.wire()
	err := strictjson.Unmarshal(text, &w)
	o.Config, o.Schedule, o.Limits, o.StepTimeNS = w.Config, w.Compression.Schedule, w.Limits, w.StepTimeNS
	o.Config.Compression = w.Compression.Compression
	return err
}

// DefaultOptions returns the defaults of the engine and the scheduler, with 10 ms per step. Blocks is 0:
// see [Options.Fill].
func DefaultOptions() Options {
	return Options{Config: ref.Default(), Schedule: DefaultSchedule(), Limits: DefaultLimits(), StepTimeNS: 10e6}
}

// DefaultCacheBytes bounds the cache of a replay whose options have no number of blocks.
const DefaultCacheBytes = 4 << 30

// Fill completes the options for a trace: it sets the rotary embedding and the shape of the method's
// cache. If Blocks is 0, it sets it to hold all requests uncompressed at the same time, with the
// watermark and the blocks that a method needs to merge, in at most DefaultCacheBytes.
func (o *Options) Fill(meta trace.Meta, requests []trace.Request) {
	o.Rope = meta.Rope
	o.Shape = o.CacheShape(meta.Shape)
	if o.Blocks != 0 || !slices.Contains(kv.BlockSizes(), o.BlockSize) || !o.DType.Valid() || !(o.Limits.Watermark >= 0 && o.Limits.Watermark < 1) {
		return // Validate returns the error
	}
	most := min(kv.MaxBlocks, float64(DefaultCacheBytes/o.BlockBytes()))
	o.Blocks = int(min(o.uncompressed(requests), most))
	o.Blocks = int(min(float64(o.Blocks)+o.merged(requests), most))
}

// merged returns the number of free blocks that a method that merges layers needs, before it frees any, to
// merge two heads of the longest request: at most twice the blocks of one head, for directions, norms and
// retained tokens. It is 0 for other methods.
func (o *Options) merged(requests []trace.Request) float64 {
	method, err := o.Config.NewMethod()
	if err != nil {
		return 0 // Validate returns the error
	}
	if m, ok := method.(ref.Merger); !ok || m.Merging().Pairs == 0 {
		return 0
	}
	longest := 0
	for _, r := range requests {
		longest = max(longest, r.CachedTokens())
	}
	return 2 * math.Ceil(float64(longest)/float64(o.BlockSize))
}

// uncompressed returns the number of blocks that hold all requests uncompressed at the same time, with the
// watermark.
func (o *Options) uncompressed(requests []trace.Request) float64 {
	var blocks float64 // a float64 does not overflow with absurd requests
	for _, r := range requests {
		blocks += float64(float64(o.Shape.Heads()) * math.Ceil(float64(r.CachedTokens())/float64(o.BlockSize)))
	}
	return math.Ceil(blocks/(1-o.Limits.Watermark)) + 1
}

// unusedCacheBytes is the size up to which a cache may be larger than the requests need.
const unusedCacheBytes = 256 << 20

// checkBlocks returns an error for a large cache of which the requests cannot use half, since an engine
// allocates all of it. The options must be valid.
func (o *Options) checkBlocks(requests []trace.Request) error {
	most := o.uncompressed(requests)
	if size := int64(o.Blocks) * int64(o.BlockBytes()); size > unusedCacheBytes && float64(o.Blocks) > 2*most {
		return fmt.Errorf("options: blocks %d: a cache of %d MiB, of which these requests use at most %.0f blocks, uncompressed and all at the same time: want at most twice that",
			o.Blocks, size>>20, most)
	}
	return nil
}

// MaxStepTimeNS is the longest time of a step: an hour.
const MaxStepTimeNS = 3600e9

// Validate returns every error of the options, joined.
func (o *Options) Validate() error {
	err := errors.Join(o.Config.Validate(), o.Schedule.Validate(), o.Limits.Validate())
	if o.StepTimeNS < 1 || o.StepTimeNS > MaxStepTimeNS {
		err = errors.Join(err, fmt.Errorf("options: step_time_ns %d: want 1 to %d", o.StepTimeNS, int64(MaxStepTimeNS)))
	}
	return err
}

// maxOptionsBytes bounds an options file; a head bias of 128 layers, 128 heads
// and 64 bins fits.
const maxOptionsBytes = 32 << 20

// ReadOptions reads options as JSON. Options that it does not have are the defaults. A name that is
// unknown, occurs twice or is spelt in another case is an error, so that a misspelt option is not ignored.
func ReadOptions(r io.Reader) (Options, error) {
	o := DefaultOptions()
	text, err := regular.ReadAll(r, maxOptionsBytes)
	if err != nil {
		return o, fmt.Errorf("options: %w", err)
	}
	if err := o.UnmarshalJSON(text); err != nil {
		return o, fmt.Errorf("options: %w", err)
	}
	return o, nil
}
