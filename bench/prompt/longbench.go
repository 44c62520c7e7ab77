package prompt

import (
	"fmt"

	"kvcompress/bench/longbench"
)

// LongBench returns the tokens of a task of LongBench's: those of its context, and of the
// question after it, whose answer comes next. The wording is that of templates, which may be
// nil, or our own: then scores are not those of LongBench's prompts.
//
// If both have more than maxTokens, the context loses its middle, as in LongBench. It
// is an error if the question alone has more, or if there is no context.
func (v *Vocabulary) LongBench(p *longbench.Prompt, templates Templates, maxTokens int) (context, question []int32, err error) {
	t, err := templates.of(p)
	if err != nil {
		return nil, nil, fmt.Errorf("prompt: line %d: %w", p.Line, err)
	}
	before, after := t.fill(p.Context, p.Input)
	parts, err := v.split(before, after)
	if err != nil {
		return nil, nil, fmt.Errorf("prompt: line %d: %w", p.Line, err)
	}
	context, question = parts[0], parts[1]
	room := maxTokens - len(question)
	switch {
	case room < 2:
		return nil, nil, fmt.Errorf("prompt: line %d: the question has %d tokens, and there is room for %d", p.Line, len(question), maxTokens)
	case len(context) == 0:
		return nil, nil, fmt.Errorf("prompt: line %d: the context has no tokens", p.Line)
	case len(context) > room:
		begin := (room + 1) / 2
		context = append(context[:begin:begin], context[len(context)-(room-begin):]...)
	}
	return context, question, nil
}
