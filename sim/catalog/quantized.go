package catalog

import "strings"

// inFormat returns a known model with its matrices in the format at the end of the name, as in
// llama-3.1-70b-int8; false if the name ends in no format, or the model before it is unknown.
func inFormat(name string) (m Model, ok bool, err error) {
	cut := strings.LastIndexByte(name, '-')
	if cut < 0 {
		return m, false, nil
	}
	w := Weights(strings.ToLower(name[cut+1:]))
	if !w.Valid() {
		return m, false, nil
	}
	wanted := key(name[:cut])
	for _, e := range entries() {
		if e.is(wanted) {
			m, err = e.model()
			for i := range m.Modules {
				mod := &m.Modules[i]
				mod.Format = m.format(mod, w)
			}
			m.Name, m.Weights, m.Aliases = m.Name+"-"+string(w), w, nil
			return m, true, err
		}
	}
	return m, false, nil
}
