package sweep

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"

	"kvcompress/ref"
)

// Compression is a method and its budget. The zero value is no compression, as in plain vLLM.
// The method's own options are in [Settings].
type Compression struct {
	Method         string  // a name of package ref; "" is KV-Compress
	Rate           float64 // the method's --rate; 0 if it is not given
	MaxCacheTokens int     // the method's --max-cache-tokens; 0 if it is not given
}

// ParseCompression reads none, rate:0.25 or tokens:1024 (of KV-Compress), METHOD,
// METHOD:rate:0.25 or METHOD:tokens:1024.
func ParseCompression(s string) (Compression, error) {
	if s == "none" {
		return Compression{}, nil
	}
	var c Compression
	kind, number, budget := strings.Cut(s, ":")
	if kind != "rate" && kind != "tokens" {
		if _, err := ref.FindMethod(kind); err != nil {
			return Compression{}, fmt.Errorf("compression %q: want none, rate:R with R in (0, 1], tokens:C, or a method, METHOD:rate:R or METHOD:tokens:C: %w", s, err)
		}
		if kind != ref.KVCompress {
			c.Method = kind
		}
		if !budget && c.Method != "" {
			return c, nil
		}
		kind, number, _ = strings.Cut(number, ":")
	}
	switch kind {
	case "rate":
		if v, err := strconv.ParseFloat(number, 64); err == nil && v > 0 && v <= 1 {
			c.Rate = v
			return c, nil
		}
	case "tokens":
		if n, err := strconv.Atoi(number); err == nil && n >= 1 && n <= math.MaxInt32 {
			c.MaxCacheTokens = n
			return c, nil
		}
	}
	return Compression{}, fmt.Errorf("compression %q: want rate:R with R in (0, 1], or tokens:C with C from 1, after the method if it is not %s", s, ref.KVCompress)
}

// String writes the compression so that ParseCompression reads it.
func (c Compression) String() string {
	budget := ""
	switch {
	case c.Rate > 0:
		budget = "rate:" + strconv.FormatFloat(c.Rate, 'g', -1, 64)
	case c.MaxCacheTokens > 0:
		budget = fmt.Sprintf("tokens:%d", c.MaxCacheTokens)
	}
	switch {
	case c == Compression{}:
		return "none"
	case c.Method == "":
		return budget
	case budget == "":
		return c.Method
	}
	return c.Method + ":" + budget
}

// Title describes the compression in words.
func (c Compression) Title() string {
	var words string
	switch {
	case c.Rate > 0:
		words = fmt.Sprintf("keep %.3g %%", 100*c.Rate)
	case c.MaxCacheTokens > 0:
		words = fmt.Sprintf("keep %d KVs a head", c.MaxCacheTokens)
		if c.MaxCacheTokens == 1 {
			words = "keep 1 KV a head"
		}
	}
	switch {
	case c == Compression{}:
		return "uncompressed"
	case c.Method == "":
		return words
	case words == "":
		return c.Method
	}
	return c.Method + ", " + words
}

// MethodName returns the method's name, or none.
func (c Compression) MethodName() string {
	if !c.Enabled() {
		return "none"
	}
	return cmp.Or(c.Method, ref.KVCompress)
}

// Enabled reports whether there is compression.
func (c Compression) Enabled() bool { return c != Compression{} }

// MarshalText implements encoding.TextMarshaler.
func (c Compression) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *Compression) UnmarshalText(text []byte) (err error) {
	*c, err = ParseCompression(string(text))
	return err
}
