package prompt

import (
	"fmt"

	"kvcompress/bench/longbench"
	"kvcompress/bench/task"
)

// LongBench returns the tokens of a task of LongBench's: those of its context, and of the
// question after it, whose answer comes next. The wording around them is our own, so scores
// are not those of LongBench's prompts.
//
// If both have more than max tokens, the context loses its middle, as in LongBench. It
// is an error if the question alone has more.
func (v *Vocabulary) LongBench(p *longbench.Prompt, maxTokens int) (context, question []int32, err error) {
	before, after := wording(p)
	parts, err := v.split(before, after)
	if err != nil {
		return nil, nil, fmt.Errorf("prompt: line %d: %w", p.Line, err)
	}
	context, question = parts[0], parts[1]
	room := maxTokens - len(question)
	if room < 2 {
		return nil, nil, fmt.Errorf("prompt: line %d: the question has %d tokens, and there is room for %d", p.Line, len(question), maxTokens)
	}
	if len(context) > room {
		begin := (room + 1) / 2
		context = append(context[:begin:begin], context[len(context)-(room-begin):]...)
	}
	return context, question, nil
}

// wording returns the text up to the end of the context, and what follows.
func wording(p *longbench.Prompt) (context, question string) {
	switch p.Category {
	case task.Summary:
		if p.Input == "" {
			return "Read the text.\n\n" + p.Context, "\n\nWrite a summary of the text.\nSummary:"
		}
		return "Read the text.\n\n" + p.Context, "\n\nSay in some sentences: " + p.Input + "\nAnswer:"
	case task.FewShot:
		return "Go on as in the examples.\n\n" + p.Context, "\n" + p.Input
	case task.Code:
		return p.Context, p.Input
	case task.Synthetic:
		switch p.Metric {
		case longbench.MetricCount:
			return "Some of these paragraphs are there more than once.\n\n" + p.Context, "\n\nThe number of different paragraphs is"
		case longbench.MetricRetrieval:
			return "Read the paragraphs.\n\n" + p.Context, "\n\nOne of them has this summary: " + p.Input + "\nIt is Paragraph"
		case longbench.MetricRetrievalZH:
			return "Read the paragraphs.\n\n" + p.Context, "\n\nOne of them has this summary: " + p.Input + "\nIt is 段落"
		}
	}
	return "Read the text.\n\n" + p.Context, "\n\nAnswer with as few words as possible: " + p.Input + "\nAnswer:"
}
