package cost

import (
	"fmt"
	"slices"
	"strings"

	"kvcompress/sim/catalog"
)

// unpacked returns the formats of the model's weights that servers unpack on the card.
func (d *Deployment) unpacked() []catalog.Weights { return d.Model.Unpacked(d.Weights, &d.Card) }

// Ran reports whether runs of the fit had the deployment's model, and runs, maybe of other models, its
// format of weights, unpacked if it is here. A model whose name ends with the format, such as llama-3.1-70b-fp8, is the same as
// the one without this ending.
func (f *Fit) Ran(d *Deployment) bool {
	base := func(model string) string { return strings.TrimSuffix(model, "-"+string(d.Weights)) }
	model := slices.ContainsFunc(f.Models, func(ran string) bool { return base(ran) == base(d.Model.Name) })
	return model && slices.Contains(f.formats(), string(d.Weights)) && len(f.unlikeUnpacked(d)) == 0
}

// unlikeUnpacked returns the formats of the deployment's weights that are unpacked, and in no run of the fit were; none if
// the fit does not state what was.
func (f *Fit) unlikeUnpacked(d *Deployment) []catalog.Weights {
	if f.Unpacked == nil {
		return nil
	}
	return slices.DeleteFunc(d.unpacked(), func(w catalog.Weights) bool { return slices.Contains(f.Unpacked, string(w)) })
}

// ran returns the models of the fit's runs that the catalogue knows.
func (f *Fit) ran() (models []catalog.Model) {
	for _, name := range f.Models {
		if m, err := catalog.FindModel(name); err == nil {
			models = append(models, m)
		}
	}
	return models
}

// formats returns the formats of the weights that ran: the models' own if the fit does not state them.
func (f *Fit) formats() []string {
	if len(f.Formats) > 0 {
		return f.Formats
	}
	var formats []string
	for _, m := range f.ran() {
		formats = append(formats, string(m.Weights))
	}
	return formats
}

// expertFormats returns the formats in which experts ran. A fit that does not state them is given all that are possible: a
// model with a format of its own, such as gpt-oss, ran in that one, a model in 16 bits may have run in any of the fit's.
func (f *Fit) expertFormats(ran []catalog.Model) (formats []string) {
	if len(f.Experts) > 0 {
		return f.Experts
	}
	for i := range ran {
		switch m := &ran[i]; {
		case m.Experts.Total > 0 && m.Weights.Bits() < 16:
			formats = append(formats, string(m.Weights))
		case m.Experts.Total > 0:
			formats = append(formats, f.formats()...)
		}
	}
	return formats
}

// Unlike returns a sentence that names the features of a deployment that no run of the fit had, so that
// the fit's error does not apply; "" if there is none. It compares the layers of the models that ran,
// the formats of their weights, and whether they ran on several cards.
func (f *Fit) Unlike(d *Deployment) string {
	ran := f.ran()
	if len(ran) == 0 {
		return ""
	}
	none := func(of func(*catalog.Model) bool) bool {
		for i := range ran {
			if of(&ran[i]) {
				return false
			}
		}
		return of(&d.Model)
	}
	var list []string
	for _, kind := range []struct {
		name string
		of   func(*catalog.Model) bool
	}{
		{"a mixture of experts", func(m *catalog.Model) bool { return m.Experts.Total > 0 }},
		{"multi-head latent attention", func(m *catalog.Model) bool { return m.Latent > 0 }},
		{"sparse attention", func(m *catalog.Model) bool { return m.Indexer.Tokens > 0 }},
		{"layers with windows", func(m *catalog.Model) bool { return m.Count(catalog.Windowed) > 0 }},
		{"linear-time layers", func(m *catalog.Model) bool { return m.Count(catalog.Stateful) > 0 }},
	} {
		if none(kind.of) {
			list = append(list, kind.name)
		}
	}
	switch experts := f.expertFormats(ran); {
	case d.Weights.Bits() < 16 && !slices.Contains(f.formats(), string(d.Weights)):
		list = append(list, fmt.Sprintf("weights in %s", d.Weights))
	case d.Model.Experts.Total > 0 && len(experts) > 0 && !slices.Contains(experts, string(d.Weights)):
		list = append(list, fmt.Sprintf("experts in %s", d.Weights))
	default:
		for _, w := range f.unlikeUnpacked(d) {
			list = append(list, fmt.Sprintf("weights in %s that were unpacked", w))
		}
	}
	if d.KV.Size() == 1 && !f.KVOneFactor && !slices.Contains(f.Fitted, "kv8") {
		list = append(list, "a cache in 8 bits")
	}
	if d.TP > 1 && !slices.Contains(f.Fitted, allReduce) {
		list = append(list, "several cards")
	}
	if n := d.stages(); n > 1 {
		list = append(list, fmt.Sprintf("%d stages", n))
	}
	if len(list) == 0 {
		return ""
	}
	return fmt.Sprintf("The error to expect on %s is that of runs of %s, none of which had %s.", d.Card.Name, strings.Join(f.Models, ", "), strings.Join(list, " or "))
}

// notes returns the assumptions about a deployment, and what it has that no run of the fit had; not nil.
func (f *Fit) notes(d *Deployment) []string {
	notes := append([]string{}, d.Notes()...)
	if unlike := f.Unlike(d); unlike != "" {
		notes = append(notes, unlike)
	}
	return notes
}
