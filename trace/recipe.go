package trace

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"kvcompress/strictjson"
)

// Recipe says how to make the tensors of a synthetic trace. The same recipe,
// shape and request ids give the same bytes on every platform.
//
//	"synth": {"seed": 7, "layers": [["sink", "local:256"], ["retrieval", "sink+local:64", "uniform"]]}
type Recipe struct {
	// Seed makes the heads' strengths and all noise.
	Seed uint64 `json:"seed"`
	// Layers says of what kind each KV head is. KV head h of layer l is of kind
	// Layers[l % len(Layers)][h % len(Layers[l % len(Layers)])], so that a short
	// pattern serves a model of any shape.
	Layers [][]Head `json:"layers"`
}

// DefaultWindow is the window of a local head that states none, in tokens.
const DefaultWindow = 128

// MaxWindow is the widest window of a local head, in tokens.
const MaxWindow = 1 << 14

// maxHeads bounds the heads that a recipe lists.
const maxHeads = 1 << 16

// Head is the kind of one KV head and its query heads: where their attention
// goes. Sink, Local and Retrieval mix, sharing the attention about equally; a
// uniform head is nothing else.
type Head struct {
	Sink      bool // the first SinkTokens tokens
	Local     int  // the last Local tokens, where not 0
	Retrieval bool // a few tokens far back, which are found by content
	Uniform   bool // all tokens nearly alike
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
		return fmt.Errorf("head %q: uniform does not mix", h)
	case h.Local < 0 || h.Local > MaxWindow:
		return fmt.Errorf("head %q: the window is %d, want 1 to %d", h, h.Local, MaxWindow)
	}
	return nil
}

// String returns the text form that ParseHead reads.
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

// UnmarshalText implements encoding.TextUnmarshaler: it takes what ParseHead takes.
func (h *Head) UnmarshalText(text []byte) error {
	parsed, err := ParseHead(string(text))
	if err != nil {
		return err
	}
	*h = parsed
	return nil
}

// ParseLayers reads the pattern of a recipe from one line: layers separated by
// '/', and within them heads by ',', as in "sink,local:256/retrieval,uniform".
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

// Head returns the kind of a KV head of a layer. The recipe must be a valid one.
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
