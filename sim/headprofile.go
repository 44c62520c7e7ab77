package sim

import (
	"encoding/json"
	"fmt"
	"io"
	"math"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/strictjson"
	"kvcompress/trace/regular"
)

// HeadProfile has the fraction of its KVs that each head keeps under compression, as measured on an
// engine. A ledger uses it for requests without tensors.
type HeadProfile struct {
	FormatVersion int         `json:"format_version"`
	Trace         string      `json:"trace"` // on which it was measured
	Shape         kv.Shape    `json:"shape"`
	Points        []HeadPoint `json:"points"` // by Kept, ascending
}

// HeadPoint has the fractions that heads keep when all heads together keep the fraction Kept.
type HeadPoint struct {
	Kept         float64     `json:"kept"`         // fraction of all KVs
	Compressions int         `json:"compressions"` // number of compressions over which it is the mean
	Heads        [][]float64 `json:"heads"`        // [L][H], fraction of the head's KVs
}

// headProfileVersion is the version of a HeadProfile's JSON form.
const headProfileVersion = 1

// profileBins is the number of equal ranges of Kept, each of which gives a point.
const profileBins = 20

// HeadMeter measures a [HeadProfile] on the events of an engine.
type HeadMeter struct {
	shape kv.Shape
	bins  [profileBins + 1]struct {
		compressions  int
		entered, kept []int64 // by head
	}
}

// NewHeadMeter returns a meter for an engine of the given shape.
func NewHeadMeter(shape kv.Shape) *HeadMeter { return &HeadMeter{shape: shape} }

// Observe processes an event of the engine.
func (m *HeadMeter) Observe(e ref.Event) {
	if e.Stage != ref.StageMove {
		return
	}
	s := e.Cache.Sequence(e.Seqs[0])
	bin := &m.bins[s.KVs()*profileBins/(s.Len*len(s.Heads))]
	if bin.kept == nil {
		bin.entered, bin.kept = make([]int64, len(s.Heads)), make([]int64, len(s.Heads))
	}
	bin.compressions++
	for i := range s.Heads {
		bin.entered[i] += int64(s.Len)
		bin.kept[i] += int64(s.Heads[i].KVs())
	}
}

// Profile returns the profile that was measured on a trace of this name. It is an error if nothing was
// compressed.
func (m *HeadMeter) Profile(name string) (*HeadProfile, error) {
	p := &HeadProfile{FormatVersion: headProfileVersion, Trace: name, Shape: m.shape}
	for _, bin := range m.bins {
		if bin.compressions == 0 {
			continue
		}
		point := HeadPoint{Compressions: bin.compressions}
		var entered, kept int64
		for l := range m.shape.Layers {
			layer := make([]float64, m.shape.KVHeads)
			for h := range layer {
				i := l*m.shape.KVHeads + h
				layer[h] = float64(bin.kept[i]) / float64(bin.entered[i])
				entered += bin.entered[i]
				kept += bin.kept[i]
			}
			point.Heads = append(point.Heads, layer)
		}
		point.Kept = float64(kept) / float64(entered)
		p.Points = append(p.Points, point)
	}
	if len(p.Points) == 0 {
		return nil, fmt.Errorf("sim: nothing was compressed, so there is no profile of what heads keep")
	}
	return p, nil
}

// Write writes the profile as JSON.
func (p *HeadProfile) Write(w io.Writer) error {
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

// ReadHeadProfile reads a profile that Write wrote.
func ReadHeadProfile(r io.Reader) (*HeadProfile, error) {
	text, err := regular.ReadAll(r, maxOptionsBytes)
	if err != nil {
		return nil, fmt.Errorf("head profile: %w", err)
	}
	var p HeadProfile
	if err := strictjson.Unmarshal(text, &p); err != nil {
		return nil, fmt.Errorf("head profile: %w", err)
	}
	return &p, p.validate()
}

func (p *HeadProfile) validate() error {
	switch {
	case p.FormatVersion != headProfileVersion:
		return fmt.Errorf("head profile: format_version %d, want %d", p.FormatVersion, headProfileVersion)
	case len(p.Points) == 0:
		return fmt.Errorf("head profile: it has no points")
	}
	last := -1.0
	for i, point := range p.Points {
		if !(point.Kept > last && point.Kept <= 1) {
			return fmt.Errorf("head profile: points[%d]: kept %v is not above %v and at most 1", i, point.Kept, max(last, 0))
		}
		last = point.Kept
		if len(point.Heads) != p.Shape.Layers {
			return fmt.Errorf("head profile: points[%d]: %d layers, the shape has %d", i, len(point.Heads), p.Shape.Layers)
		}
		for l, layer := range point.Heads {
			if len(layer) != p.Shape.KVHeads {
				return fmt.Errorf("head profile: points[%d]: layer %d: %d heads, the shape has %d", i, l, len(layer), p.Shape.KVHeads)
			}
			for h, kept := range layer {
				if !(kept >= 0 && kept <= 1) {
					return fmt.Errorf("head profile: points[%d]: layer %d, head %d keeps %v, want 0 to 1", i, l, h, kept)
				}
			}
		}
	}
	return nil
}

// Spread returns the profile as a [Spread] for a model: heads keep KVs in the proportion of the point with
// the nearest Kept. For a model of another shape, a layer uses the layer of the profile at the same
// relative depth, and heads use its heads in turn.
func (p *HeadProfile) Spread(shape kv.Shape) (Spread, error) {
	if err := p.validate(); err != nil {
		return nil, err
	}
	if shape.Layers < 1 || shape.KVHeads < 1 || shape.Layers > MaxLedgerHeads || shape.KVHeads > MaxLedgerHeads/shape.Layers {
		return nil, fmt.Errorf("head profile: a model of %d layers of %d KV heads", shape.Layers, shape.KVHeads)
	}
	s := &shares{}
	for _, point := range p.Points {
		largest := 0.0
		for _, layer := range point.Heads {
			for _, kept := range layer {
				largest = max(largest, kept)
			}
		}
		var weights []int32
		for l := range shape.Layers {
			layer := point.Heads[l*p.Shape.Layers/shape.Layers]
			for h := range shape.KVHeads {
				w := int32(weightOne)
				if largest > 0 {
					w = max(1, int32(math.Round(float64(layer[h%len(layer)]/largest*weightOne))))
				}
				weights = append(weights, w)
			}
		}
		s.kept = append(s.kept, point.Kept)
		s.weights = append(s.weights, weights)
	}
	return s, nil
}
