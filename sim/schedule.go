package sim

import (
	"errors"
	"fmt"
	"math"
)

// Schedule says when running sequences are compressed, and which of them. It is an option of the serving
// loop; the method decides what a compression does.
type Schedule struct {
	Once                bool `json:"compress_once,omitempty"`          // compress a sequence only once, at the first compression while it runs
	Interval            int  `json:"interval,omitempty"`               // decode steps between compressions; 0: only after a prefill or when blocks are lacking
	NewTokenLimit       int  `json:"new_token_limit,omitempty"`        // compress when more tokens than this have entered since the last compression; 0 is no limit
	MaxKVPerCompression int  `json:"max_kv_per_compression,omitempty"` // most slots of the sequences in one compression, not applied to the first; 0 is no limit; not for methods that quantize or merge

	// Strict applies MaxKVPerCompression to the first sequence too, as KV-Compress's server does. A
	// sequence that holds more slots is then never compressed, nor are those behind it.
	Strict bool `json:"strict_max_kv,omitempty"`

	// UntilFree compresses repeatedly if a decode step lacks blocks, until there are enough or no more can
	// be freed; only then a sequence is preempted. KV-Compress's server compresses once per iteration.
	UntilFree bool `json:"compress_until_free,omitempty"`
}

// DefaultSchedule compresses before every step.
func DefaultSchedule() Schedule { return Schedule{Interval: 1} }

// Validate returns every error of the schedule, joined.
func (s Schedule) Validate() error {
	var errs []error
	for _, f := range []struct {
		name  string
		value int
	}{
		{"interval", s.Interval}, {"new_token_limit", s.NewTokenLimit}, {"max_kv_per_compression", s.MaxKVPerCompression},
	} {
		if f.value < 0 || f.value > math.MaxInt32 {
			errs = append(errs, fmt.Errorf("config: compression: %s %d: want 0 to %d", f.name, f.value, math.MaxInt32))
		}
	}
	return errors.Join(errs...)
}
