package requestlog

import (
	"errors"
	"fmt"
)

// body reads the body of a request to an OpenAI-compatible API: chat completions
// (messages), completions (prompt) or responses (instructions and input).
type body struct {
	text     *text
	maximum  int // largest number of output tokens
	bounded  bool
	model    string
	prompted bool
}

// read reads the body, an object at which the reader is.
func (b *body) read(j *jsonReader) error {
	b.text.reset()
	b.maximum, b.bounded, b.model, b.prompted = 0, false, "", false
	return j.object(func(name []byte) error {
		switch n := string(name); n {
		case "messages", "input", "prompt", "instructions", "system":
			b.prompted = true
			if c, err := j.peek(); err != nil || c != '[' {
				return cmpOr(err, b.text.content)
			}
			return b.list(j, n)
		case "max_tokens", "max_completion_tokens", "max_output_tokens":
			if null, err := j.null(); null || err != nil {
				return err
			}
			var err error
			b.maximum, err = j.tokens()
			b.bounded = true
			return inMember(n, err)
		case "model":
			if c, err := j.peek(); err == nil && c == '"' {
				b.model, err = j.label()
				return err
			}
		}
		return j.skip()
	})
}

// list reads a list of messages, or of tokens.
func (b *body) list(j *jsonReader, name string) error {
	n := 0
	return j.array(func() error {
		at := j.position()
		c, err := j.peek()
		if n++; err == nil && n > 1 && name == "prompt" && (c == '"' || c == '[') {
			err = at.fail(errors.New("several prompts in one request: give each a line of its own"))
		}
		if err != nil {
			return err
		}
		_, err = b.text.message()
		return err
	})
}

// openOpenAIBatch reads the files of OpenAI's Batch API
// (https://platform.openai.com/docs/guides/batch), which vLLM's run_batch reads and
// writes, too. From an input file it takes the lengths of the prompts and the maximum
// numbers of output tokens; from an output file, the token usage.
func openOpenAIBatch(l *Log, f *file, o Options) (source, error) {
	s := newJSONRows(f)
	l.Timed = false
	b := &body{text: newText(s.j, o)}
	var status int64
	var failed bool
	tokens := func(n *int) func() error {
		return func() (err error) {
			*n, err = s.j.tokens()
			return err
		}
	}
	s.fields = []jsonField{
		{"body", true, func() error { return b.read(s.j) }},
		{"response.status_code", true, func() (err error) {
			status, err = s.j.integer()
			return err
		}},
		{"response.body.usage.prompt_tokens", true, tokens(&s.row.PromptTokens)},
		{"response.body.usage.input_tokens", true, tokens(&s.row.PromptTokens)},
		{"response.body.usage.completion_tokens", true, tokens(&s.row.OutputTokens)},
		{"response.body.usage.output_tokens", true, tokens(&s.row.OutputTokens)},
		{"response.body.model", true, func() error {
			model, err := s.j.label()
			l.setModel(model)
			return err
		}},
		{"error", true, func() error {
			failed = true
			return s.j.skip()
		}},
	}
	s.finish = func(at position) error {
		r := &s.row
		r.failed = failed || s.has("response.status_code") && status != 200
		failed = false
		if r.failed {
			return nil
		}
		if !s.has("body") {
			if !s.has("response.body.usage.prompt_tokens") && !s.has("response.body.usage.input_tokens") {
				return at.fail(errors.New("there is neither a body, as in an input file, nor response.body.usage, as in an output file"))
			}
			return nil
		}
		if !b.prompted {
			return at.fail(errors.New("body: there are no messages, prompt or input"))
		}
		l.setModel(b.model)
		r.PromptTokens = b.text.tokens()
		r.OutputTokens = b.maximum
		s.ids = append(s.ids, b.text.hashes...)
		l.PrefixBlockTokens = textBlock
		r.how |= b.text.how()
		if r.noOutput = !b.bounded; r.noOutput && o.OutputTokens == 0 {
			return at.fail(fmt.Errorf("body: there is no max_tokens, so the output has no length; --output-tokens gives it one"))
		}
		if b.bounded {
			r.how |= maximum
		}
		return nil
	}
	return s, nil
}
