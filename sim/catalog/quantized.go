package catalog

import "strings"

// inFormat returns a known model with its matrices in the format that the name ends in, as
// llama-3.1-70b-int8.
func inFormat(name string) (Model, bool) {
	cut := strings.LastIndexByte(name, '-')
	if cut < 0 {
		return Model{}, false
	}
	w := Weights(strings.ToLower(name[cut+1:]))
	if !w.Valid() {
		return Model{}, false
	}
	for _, m := range Models() {
		if m.is(name[:cut]) {
			m.Name, m.Weights, m.Aliases = m.Name+"-"+string(w), w, nil
			return m, true
		}
	}
	return Model{}, false
}
