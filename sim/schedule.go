package sim

import (
	"errors"
	"fmt"
	"math"
)

// Schedule says when running sequences are compressed, and which of them. It belongs to
// the serving loop: a method says what a compression does.
type Schedule struct {
	Once                bool `json:"compress_once,omitempty"`          // a sequence is compressed a single time, the first that finds it running
	Interval            int  `json:"interval,omitempty"`               // steps between compressions; 0 is never, except when forced
	NewTokenLimit       int  `json:"new_token_limit,omitempty"`        // more tokens than this since the last compression force one
	MaxKVPerCompression int  `json:"max_kv_per_compression,omitempty"` // slots of one compression, beyond its first sequence; 0 is no limit, nor is there one of methods that quantize

	// Strict has MaxKVPerCompression hold for the first sequence too: then one that holds
	// more is never compressed, nor any that waits behind it. So it is in KV-Compress's
	// server.
	Strict bool `json:"strict_max_kv,omitempty"`

	// UntilFree has a decode step that lacks blocks compress until it has them or none come
	// free, before anyone is preempted. KV-Compress's server compresses once in an
	// iteration.
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
			errs = append(errs, fmt.Errorf("config: compression: %s %d is not from 0 to %d", f.name, f.value, math.MaxInt32))
		}
	}
	return errors.Join(errs...)
}
