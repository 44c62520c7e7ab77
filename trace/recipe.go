package trace

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"kvcompress/strictjson"
)

// Recipe says how to compute the tensors of a synthetic trace. The same recipe, shape and request ids give
// the same bytes on every platform.
//
//	"synth": {"seed": 7, "layers": [["sink", "local:256"], ["retrieval", "sink+local:64", "uniform"]]}
type Recipe struct {
	// Seed determines the strengths of the heads and all noise.
	Seed uint64 `json:"seed"`
	// Layers has the kinds of the KV heads. KV head h of layer l has the kind Layers[l % len(Layers)][h %
	// len(Layers[l % len(Layers)])], so a short pattern can be used for a model of any shape.
	Layers [][]Head `json:"layers"`
}

// DefaultWindow is the window in tokens of a local head without an explicit one.
const DefaultWindow = 128

// MaxWindow is the largest window of a local head, in tokens.
const MaxWindow = 1 << 14

// maxHeads bounds the number of heads in a recipe.
const maxHeads = 1 << 16

// Head is the kind of one KV head and its query heads: what they attend to. Sink, Local and Retrieval can be
// combined, and then share the attention about equally; Uniform cannot.
type Head struct {
	Sink      bool // the first SinkTokens tokens
	Local     int  // the last Local tokens, unless 0
	Retrieval bool // a few tokens far back, found by their content
	Uniform   bool // all tokens about equally
}

// ParseHead reads the text form of a head: sink, local, local:WINDOW, retrieval
// or uniform, or several of the first four joined by '+'.
func ParseHead(s string) (Head, error) {
	var h Head
	for part := range strings.SplitSeq(s, "+") {
		name, arg, hasArg := strings.Cut(part, ":")
		window := DefaultWindow
		if hasArg {
			n, err := strconv.Atoi(arg)
			if name != "local" || err != nil {
				return Head{}, fmt.Errorf("head %q: want local:WINDOW", strictjson.Excerpt(s))
			}
			window = n
		}
		twice := false
		switch name {
		case "sink":
			twice, h.Sink = h.Sink, true
		case "local":
			if window < 1 {
				return Head{}, fmt.Errorf("head %q: the window is %d, want 1 to %d", strictjson.Excerpt(s), window, MaxWindow)
			}
			twice, h.Local = h.Local != 0, window
		case "retrieval":
			twice, h.Retrieval = h.Retrieval, true
		case "uniform":
			twice, h.Uniform = h.Uniform, true
		default:
			return Head{}, fmt.Errorf("head %q: want sink, local[:WINDOW], retrieval or uniform, or several joined by '+'", strictjson.Excerpt(s))
		}
		if twice {
			return Head{}, fmt.Errorf("head %q: %s occurs twice", strictjson.Excerpt(s), name)
		}
	}
	return h, h.check()
}

func (h Head) check() error {
	switch {
	case h == Head{}:
		return errors.New("a head of no kind")
	case h.Uniform && h != Head{Uniform: true}:
		return fmt.Errorf("head %q: uniform cannot be combined with others", h)
	case h.Local < 0 || h.Local > MaxWindow:
		return fmt.Errorf("head %q: the window is %d, want 1 to %d", h, h.Local, MaxWindow)
	}
	return nil
}

// String returns the form that ParseHead reads.
func (h Head) String() string {
	var parts []string
	if h.Sink {
		parts = append(parts, "sink")
	}
	if h.Local != 0 {
		parts = append(parts, "local:"+strconv.Itoa(h.Local))
	}
	if h.Retrieval {
		parts = append(parts, "retrieval")
	}
	if h.Uniform {
		parts = append(parts, "uniform")
	}
	return strings.Join(parts, "+")
}

// MarshalText implements encoding.TextMarshaler: the text is h's String.
func (h Head) MarshalText() ([]byte, error) {
	if err := h.check(); err != nil {
		return nil, err
	}
	return []byte(h.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler: it accepts what ParseHead accepts.
func (h *Head) UnmarshalText(text []byte) error {
	parsed, err := ParseHead(string(text))
	if err != nil {
		return err
	}
	*h = parsed
	return nil
}

// ParseLayers reads the pattern of a recipe from one line, with '/' between layers and ',' between heads, as
// in "sink,local:256/retrieval,uniform".
func ParseLayers(s string) ([][]Head, error) {
	var layers [][]Head
	for layer := range strings.SplitSeq(s, "/") {
		var heads []Head
		for text := range strings.SplitSeq(layer, ",") {
			h, err := ParseHead(text)
			if err != nil {
				return nil, err
			}
			heads = append(heads, h)
		}
		layers = append(layers, heads)
	}
	return layers, nil
}

// Head returns the kind of a KV head. The recipe must be valid.
func (r *Recipe) Head(layer, kvHead int) Head {
	heads := r.Layers[layer%len(r.Layers)]
	return heads[kvHead%len(heads)]
}

func (r *Recipe) problems() []error {
	if len(r.Layers) == 0 {
		return []error{errors.New("synth: layers is empty")}
	}
	var errs []error
	total := 0
	for l, heads := range r.Layers {
		total += len(heads)
		if len(heads) == 0 {
			errs = append(errs, fmt.Errorf("synth: layers[%d] is empty", l))
		}
		for h, head := range heads {
			if err := head.check(); err != nil {
				errs = append(errs, fmt.Errorf("synth: layers[%d][%d]: %w", l, h, err))
			}
		}
	}
	if total > maxHeads {
		errs = append(errs, fmt.Errorf("synth: layers lists %d heads, want at most %d", total, maxHeads))
	}
	return errs
}
