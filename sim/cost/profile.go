package cost

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"sort"

	"kvcompress/strictjson"
)

// Profile is the factors of the terms, as fitted to measurements, for one or more
// cards.
type Profile struct {
	Version int    `json:"version"` // 1
	File    string `json:"file"`    // that was fitted to
	Fits    []Fit  `json:"fits"`
	All     *Fit   `json:"all,omitempty"` // to the rows of all cards, where there are several
}

// Fit is the factors that suit a card best.
type Fit struct {
	Card    string   `json:"card"`    // its name in the catalogue
	Models  []string `json:"models"`  // that ran
	Of      string   `json:"of"`      // what it was fitted to, in words
	Rows    int      `json:"rows"`    // measurements
	Factors Factors  `json:"factors"` // by term: times the time at the card's peak, or µs for an overhead
	Fitted  []string `json:"fitted"`  // terms that the measurements decided; the others have their defaults
	Quality Quality  `json:"quality"`
}

// Quality is how far a fit is off the measurements, as parts.
type Quality struct {
	MAPE           float64 `json:"mape"`            // mean absolute error
	MaxError       float64 `json:"max_error"`       // absolute
	CrossMAPE      float64 `json:"cross_mape"`      // of rows whose input length was left out of the fit
	CrossMaxError  float64 `json:"cross_max_error"` // likewise
	CompressedMAPE float64 `json:"compressed_mape"`
	VanillaMAPE    float64 `json:"vanilla_mape"`
}

// DefaultProfile is what holds without a profile: for cards of the Hopper
// generation, the fit to the rows of the H100 in IsaacRe/vllm-kvcompress's
// throughput benchmark, rounded; for all others the defaults of [Terms], which are
// that to its rows of the L4.
func DefaultProfile() *Profile {
	const source = ", which follow the throughput published for vLLM 0.6.0 in eager mode on an %s (IsaacRe/vllm-kvcompress)"
	p := &Profile{Version: profileVersion, Fits: []Fit{{Card: "any", Of: fmt.Sprintf("the defaults"+source, "L4"), Factors: DefaultFactors()}}}
	hopper := DefaultFactors()
	for id, factor := range map[string]float64{
		"weights": 0.974, "gemm": 3.12, "attention": 4.9, "kv": 6.37, "decode_gemm": 1.14, "compression": 18.5e3, "compressed_sequence": 432,
	} {
		hopper[id] = factor
	}
	for _, card := range []string{"h100", "h100-nvl", "h200"} {
		p.Fits = append(p.Fits, Fit{Card: card, Of: fmt.Sprintf("the defaults of Hopper"+source, "H100"), Factors: hopper})
	}
	return p
}

const profileVersion = 1

// For returns the fit to use for a card: its own, or that to all cards.
func (p *Profile) For(card string) Fit {
	for _, f := range p.Fits {
		if f.Card == card {
			return f
		}
	}
	if p.All != nil {
		return *p.All
	}
	return p.Fits[0]
}

// Write writes the profile as JSON. Equal profiles are equal bytes.
func (p *Profile) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(p)
}

const maxProfileBytes = 1 << 20

// ReadProfile reads what Write wrote.
func ReadProfile(r io.Reader) (*Profile, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxProfileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	if len(text) > maxProfileBytes {
		return nil, fmt.Errorf("profile: more than %d bytes", maxProfileBytes)
	}
	p := new(Profile)
	if err := strictjson.Unmarshal(text, p); err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	if p.Version != profileVersion {
		return nil, fmt.Errorf("profile: version %d, want %d", p.Version, profileVersion)
	}
	if len(p.Fits) == 0 {
		return nil, errors.New("profile: no fits")
	}
	for i := range p.Fits {
		if err := p.Fits[i].Factors.complete(); err != nil {
			return nil, fmt.Errorf("profile: fit of %s: %w", p.Fits[i].Card, err)
		}
	}
	if p.All != nil {
		if err := p.All.Factors.complete(); err != nil {
			return nil, fmt.Errorf("profile: all: %w", err)
		}
	}
	return p, nil
}

// maxFactor bounds a factor: a thousandth of the peak's speed, or a second.
const maxFactor = 1e6

// complete checks the factors. A term that a profile does not know has its default.
func (f *Factors) complete() error {
	known := DefaultFactors()
	var ids []string
	for id := range *f {
		ids = append(ids, id)
	}
	sort.Strings(ids)
	for _, id := range ids {
		v := (*f)[id]
		if _, ok := known[id]; !ok {
			return fmt.Errorf("factor of an unknown term %.40q", id)
		}
		if math.IsNaN(v) || v < 0 || v > maxFactor {
			return fmt.Errorf("factor of %s is %v, want 0 to %g", id, v, float64(maxFactor))
		}
		known[id] = v
	}
	*f = known
	return nil
}
