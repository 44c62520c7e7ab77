package trace

import (
	"errors"
	"fmt"
	"math"

	"kvcompress/strictjson"
)

// MaxBuffer bounds the Buffer of a request.
const MaxBuffer = 1 << 20

// Compression is one request's compression options, which replace those of the run, like the sampling
// parameters of IsaacRe/vllm-kvcompress. A nil field leaves the run's option as it is. MaxCacheTokens and
// Rate exclude each other, and either of them replaces both of the run's.
type Compression struct {
	MaxCacheTokens  *int     `json:"max_cache_tokens,omitempty"` // C: keep about C KVs per head on average
	Rate            *float64 `json:"rate,omitempty"`             // r in (0,1]: keep this fraction of what is compressible; 1 keeps all
	ProtectedWindow *int     `json:"protected_window,omitempty"` // the newest tokens, which are never evicted
	CompressOnce    *bool    `json:"compress_once,omitempty"`    // the request is compressed only once
	Buffer          *int     `json:"buffer,omitempty"`           // a query counts only for keys at least this many positions back
}

// Check returns the first error of c: a value out of bounds, two budgets, or no option.
func (c *Compression) Check() error { return first(c.problems()) }

func (c *Compression) problems() []error {
	var errs []error
	if *c == (Compression{}) {
		errs = append(errs, errors.New("it has no option: leave it out"))
	}
	for _, f := range []struct {
		name        string
		value       *int
		least, most int
	}{
		{"max_cache_tokens", c.MaxCacheTokens, 1, math.MaxInt32},
		{"protected_window", c.ProtectedWindow, 0, math.MaxInt32},
		{"buffer", c.Buffer, 0, MaxBuffer},
	} {
		if f.value != nil && (*f.value < f.least || *f.value > f.most) {
			errs = append(errs, fmt.Errorf("%s is %d, want %d to %d", f.name, *f.value, f.least, f.most))
		}
	}
	if c.Rate != nil && !(*c.Rate > 0 && *c.Rate <= 1) {
		errs = append(errs, fmt.Errorf("rate is %v, want more than 0, up to 1", *c.Rate))
	}
	if c.MaxCacheTokens != nil && c.Rate != nil {
		errs = append(errs, errors.New("max_cache_tokens and rate exclude each other"))
	}
	return errs
}

// parseCompression reads a request's compression options. An unknown name is an error; null is the same as
// none.
func parseCompression(value []byte) (*Compression, error) {
	var c *Compression
	err := strictjson.Unmarshal(value, &c)
	return c, err
}
