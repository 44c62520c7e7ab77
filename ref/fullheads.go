package ref

import (
	"errors"
	"fmt"

	"kvcompress/kv"
	"kvcompress/strictjson"
)

// FullHeads says which KV heads keep everything: [L][H], 1 if the head does, else 0. Without layers (in JSON
// also the word "none") no head does. nil is unset, which is an error for methods that need it.
type FullHeads [][]int

// UnmarshalJSON implements [json.Unmarshaler].
func (f *FullHeads) UnmarshalJSON(text []byte) error {
	if string(text) == `"none"` {
		*f = FullHeads{}
		return nil
	}
	return strictjson.Unmarshal(text, (*[][]int)(f))
}

// heads returns the table as [L·H], for a model of the given shape.
func (f FullHeads) heads(s kv.Shape) ([]bool, error) {
	full := make([]bool, s.Heads())
	switch {
	case f == nil:
		return nil, errors.New("full does not say which heads keep everything: --set map=FILE reads a map that kvc heads made, and --set full=none has none of them keep everything")
	case len(f) == 0:
		return full, nil
	case len(f) != s.Layers:
		return nil, fmt.Errorf("full has %d layers, the model has %d: want heads of this model", len(f), s.Layers)
	}
	for l, row := range f {
		if len(row) != s.KVHeads {
			return nil, fmt.Errorf("full: layer %d has %d KV heads, the model's have %d", l, len(row), s.KVHeads)
		}
		for h, v := range row {
			if v != 0 && v != 1 {
				return nil, fmt.Errorf("full: layer %d, KV head %d: %d, want 1 or 0", l, h, v)
			}
			full[l*s.KVHeads+h] = v == 1
		}
	}
	return full, nil
}
