package prompt

import (
	"fmt"

	"kvcompress/bench/longbench"
)

// LongBench returns the tokens of a LongBench task: the context, and the question after it. The
// wording is that of templates. For a dataset without one it is our own, and scores cannot be
// compared with those of LongBench's prompts.
//
// If context and question have more than maxTokens together, the middle of the context is cut
// out, as in LongBench. It is an error if the question alone has more, or if there is no context.
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
