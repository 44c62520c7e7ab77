package prompt

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"kvcompress/bench/longbench"
	"kvcompress/bench/task"
	"kvcompress/strictjson"
)

// Template is the wording of a task around its context and its input.
type Template struct {
	before, after []part // of the context; after is the question
}

// part is a text or the placeholder of the input.
type part struct {
	text  string
	input bool
}

// The placeholders.
const (
	contextHere = "{context}"
	inputHere   = "{input}"
)

// ParseTemplate reads a wording: a text in which {context} stands once, and {input} anywhere
// or not at all. What comes after {context} is the question.
func ParseTemplate(text string) (*Template, error) {
	before, after, ok := strings.Cut(text, contextHere)
	switch {
	case !ok:
		return nil, fmt.Errorf("it has no %s", contextHere)
	case strings.Contains(after, contextHere):
		return nil, fmt.Errorf("it has %s twice", contextHere)
	}
	return &Template{parts(before), parts(after)}, nil
}

func parts(text string) []part {
	var list []part
	for i, s := range strings.Split(text, inputHere) {
		if i > 0 {
			list = append(list, part{input: true})
		}
		list = append(list, part{text: s})
	}
	return list
}

// fill returns the text up to the end of the context, and the text after it. Placeholders in the
// context and in the input are not replaced.
func (t *Template) fill(context, input string) (before, after string) {
	join := func(list []part) string {
		var b strings.Builder
		for _, p := range list {
			if p.input {
				b.WriteString(input)
			}
			b.WriteString(p.text)
		}
		return b.String()
	}
	return join(t.before) + context, join(t.after)
}

// Templates are wordings by the name of a dataset.
type Templates map[string]*Template

// maxTemplates bounds a file of templates, in bytes.
const maxTemplates = 1 << 20

// ReadTemplates reads a JSON object that has a wording for each dataset, as LongBench's
// dataset2prompt.json has: see [ParseTemplate].
func ReadTemplates(r io.Reader) (Templates, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxTemplates+1))
	if err != nil {
		return nil, fmt.Errorf("prompt: templates: %w", err)
	}
	if len(text) > maxTemplates {
		return nil, fmt.Errorf("prompt: templates: more than %d KiB", maxTemplates>>10)
	}
	var wordings map[string]string
	if err := strictjson.Unmarshal(text, &wordings); err != nil {
		return nil, fmt.Errorf("prompt: templates: want an object with a text for each dataset: %w", err)
	}
	if len(wordings) == 0 {
		return nil, errors.New("prompt: templates: there are none")
	}
	all := Templates{}
	for _, name := range slices.Sorted(maps.Keys(wordings)) {
		if all[name], err = ParseTemplate(wordings[name]); err != nil {
			return nil, fmt.Errorf("prompt: templates: %q: %w", strictjson.Excerpt(name), err)
		}
	}
	return all, nil
}

// of returns the wording of a task's dataset, or our own if there is none. The suffix _e of
// LongBench-E is ignored.
func (t Templates) of(p *longbench.Prompt) (*Template, error) {
	for _, name := range []string{p.Dataset, strings.TrimSuffix(p.Dataset, "_e")} {
		if own := t[name]; own != nil {
			return own, nil
		}
	}
	return ParseTemplate(wording(p))
}

// wording returns our own wording for a category and metric. It is not LongBench's.
func wording(p *longbench.Prompt) string {
	const read = "Read the text.\n\n" + contextHere + "\n\n"
	switch p.Category {
	case task.Summary:
		if p.Input == "" {
			return read + "Write a summary of the text.\nSummary:"
		}
		return read + "Say in some sentences: " + inputHere + "\nAnswer:"
	case task.FewShot:
		return "Go on as in the examples.\n\n" + contextHere + "\n" + inputHere
	case task.Code:
		return contextHere + inputHere
	case task.Synthetic:
		const found = "Read the paragraphs.\n\n" + contextHere + "\n\nOne of them has this summary: " + inputHere
		switch p.Metric {
		case longbench.MetricCount:
			return "Some of these paragraphs are there more than once.\n\n" + contextHere + "\n\nThe number of different paragraphs is"
		case longbench.MetricRetrieval:
			return found + "\nIt is Paragraph"
		case longbench.MetricRetrievalZH:
			return found + "\nIt is 段落"
		}
	}
	return read + "Answer with as few words as possible: " + inputHere + "\nAnswer:"
}
