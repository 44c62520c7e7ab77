package longbench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"kvcompress/bench/task"
	"kvcompress/strictjson"
)

// The bounds of what Read takes.
const (
	MaxLine    = 16 << 20 // bytes
	MaxPrompts = 1 << 20
	MaxAnswers = 256
	MaxClasses = 4096
	MaxAnswer  = 32 << 10 // bytes of one answer or class; all answers of a task have up to twice as many
	MaxTokens  = 4096     // of an answer
)

// Prompt is one task of a file.
type Prompt struct {
	Line    int    // of the file, from 1
	ID      string // LongBench's _id; may be empty
	Dataset string
	Input   string // the question; may be empty
	Context string
	Answers []string // at least one; any of them is right
	Classes []string // of a classification

	// Category, Metric, MaxTokens and FirstLine are the dataset's, unless the line says
	// otherwise.
	Category  string
	Metric    Metric
	MaxTokens int
	FirstLine bool
}

// line has the fields of a line that are read. Others are ignored.
type line struct {
	ID         string   `json:"_id"`
	Dataset    string   `json:"dataset"`
	Input      string   `json:"input"`
	Context    string   `json:"context"`
	Answers    []string `json:"answers"`
	AllClasses []string `json:"all_classes"`

	// These three are not LongBench's: they are for other datasets.
	Metric    Metric `json:"metric"`
	Category  string `json:"category"`
	MaxTokens int    `json:"max_tokens"`
}

// Read reads a file of tasks, a JSON object a line, and calls visit for each; an error of
// visit ends it and is returned. The objects are LongBench's: input, context, answers,
// all_classes, dataset and _id. A dataset that LongBench does not have needs a metric,
// and may have a category (single-doc by default) and max_tokens (64). Empty lines are
// skipped. An error names the line and the field.
//
// It holds one line at a time, of at most [MaxLine] bytes.
func Read(r io.Reader, visit func(*Prompt) error) error {
	s := bufio.NewScanner(r)
	s.Buffer(nil, MaxLine)
	prompts, number := 0, 0
	for s.Scan() {
		number++
		text := s.Bytes()
		if number == 1 {
			text = bytes.TrimPrefix(text, []byte("\ufeff"))
		}
		if len(bytes.TrimSpace(text)) == 0 {
			continue
		}
		if prompts++; prompts > MaxPrompts {
			return fmt.Errorf("longbench: line %d: more than %d tasks", number, MaxPrompts)
		}
		p, err := parse(text)
		if err != nil {
			return fmt.Errorf("longbench: line %d: %w", number, err)
		}
		p.Line = number
		if err := visit(p); err != nil {
			return err
		}
	}
	switch err := s.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return fmt.Errorf("longbench: line %d: longer than %d MiB", number+1, MaxLine>>20)
	case err != nil:
		return fmt.Errorf("longbench: after line %d: %w", number, err)
	case prompts == 0:
		return errors.New("longbench: there are no tasks: want a JSON object a line")
	}
	return nil
}

// parse reads one line.
func parse(text []byte) (*Prompt, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("it is not UTF-8")
	}
	var l line
	if err := strictjson.Known(text, &l); err != nil {
		return nil, err
	}
	d := Dataset{Category: task.SingleDoc, MaxTokens: 64}
	if found, err := findDataset(l.Dataset); err == nil {
		d = found
	} else if l.Metric == "" {
		return nil, fmt.Errorf("dataset: %w", err)
	}
	p := &Prompt{ID: l.ID, Dataset: l.Dataset, Input: l.Input, Context: l.Context, Answers: l.Answers, Classes: l.AllClasses,
		Category: d.Category, Metric: d.Metric, MaxTokens: d.MaxTokens, FirstLine: d.FirstLine}
	if l.Metric != "" {
		p.Metric = l.Metric
	}
	if l.Category != "" {
		p.Category = l.Category
	}
	if l.MaxTokens != 0 {
		p.MaxTokens = l.MaxTokens
	}
	return p, p.check()
}

// check returns what is wrong with a prompt.
func (p *Prompt) check() error {
	switch {
	case !slices.Contains(Metrics(), p.Metric):
		var names []string
		for _, m := range Metrics() {
			names = append(names, string(m))
		}
		return fmt.Errorf("metric: there is no %s: want one of %s", quote(string(p.Metric)), strings.Join(names, ", "))
	case !slices.Contains(task.Categories(), p.Category):
		return fmt.Errorf("category: there is no %s: want one of %s", quote(p.Category), strings.Join(task.Categories(), ", "))
	case p.MaxTokens < 1 || p.MaxTokens > MaxTokens:
		return fmt.Errorf("max_tokens: %d: want 1 to %d", p.MaxTokens, MaxTokens)
	case p.Context == "" && p.Input == "":
		return errors.New("context: it is missing, and so is input: there is nothing to ask")
	case len(p.Answers) == 0:
		return errors.New("answers: there are none: want at least one")
	case len(p.Answers) > MaxAnswers:
		return fmt.Errorf("answers: there are %d: want at most %d", len(p.Answers), MaxAnswers)
	case len(p.Classes) > MaxClasses:
		return fmt.Errorf("all_classes: there are %d: want at most %d", len(p.Classes), MaxClasses)
	case p.Metric == MetricClassification && len(p.Classes) == 0:
		return errors.New("all_classes: there are none: a classification needs them")
	}
	bytes := 0
	for i, a := range p.Answers {
		if bytes += len(a); bytes > 2*MaxAnswer {
			return fmt.Errorf("answers: they have more than %d bytes together", 2*MaxAnswer)
		}
		if len(a) > MaxAnswer {
			return fmt.Errorf("answers[%d]: %d bytes: want at most %d", i, len(a), MaxAnswer)
		}
		if p.Metric == MetricRetrieval || p.Metric == MetricRetrievalZH {
			if _, err := paragraph(a, p.Metric.retrieved()); err != nil {
				return fmt.Errorf("answers[%d]: %s has no number after %q", i, quote(a), p.Metric.retrieved())
			}
		}
	}
	for i, c := range p.Classes {
		if len(c) > MaxAnswer {
			return fmt.Errorf("all_classes[%d]: %d bytes: want at most %d", i, len(c), MaxAnswer)
		}
	}
	return nil
}

// quote returns an excerpt of a text for an error message.
func quote(text string) string { return fmt.Sprintf("%q", strictjson.Excerpt(text)) }
