package requestlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// genAIPerf reads profile_export.json of genai-perf, which is written by
// https://github.com/triton-inference-server/perf_analyzer: experiments with requests.
// Each request has the time in nanoseconds at which it was sent, its inputs
// (request_inputs: payload, an OpenAI request, or text_input) and its outputs
// (response_outputs: response, a whole answer or a chunk of a stream, or text_output).
// Lengths are those of the texts, unless the server reported its token usage.
type genAIPerf struct {
	*runs
	o      Options
	yield  func(row) error
	prompt body
	output *text
	answer []byte // of the current request
}

func openGenAIPerf(l *Log, f *file, o Options) (source, error) {
	s := &runs{j: newJSONReader(f), l: l, take: o.Run}
	l.Calendar = true
	g := &genAIPerf{runs: s, o: o, prompt: body{text: newText(s.j, o)}, output: newText(s.j, o)}
	return s.start(func(yield func(row) error) error {
		g.yield = yield
		return s.j.object(func(name []byte) error {
			if string(name) == "experiments" {
				return s.j.array(g.experiment)
			}
			return s.j.skip()
		})
	}), nil
}

func (g *genAIPerf) experiment() error {
	taken, err := g.run()
	if err != nil {
		return err
	}
	if !taken {
		return g.j.skip()
	}
	return g.j.object(func(name []byte) error {
		if string(name) == "requests" {
			return g.j.array(g.request)
		}
		return g.j.skip()
	})
}

func (g *genAIPerf) request() error {
	at := g.j.position()
	r := row{line: at.line, noPrompt: true, noOutput: true}
	g.prompt.text.reset()
	g.answer = g.answer[:0]
	var used usage
	timed := false
	err := g.j.object(func(name []byte) error {
		switch n := string(name); n {
		case "timestamp":
			var err error
			timed = true
			r.ArrivalNS, err = g.j.time(Nanosecond)
			return inMember(n, err)
		case "request_inputs":
			return g.inputs(&r)
		case "response_outputs":
			return g.j.array(func() error { return g.response(&r, &used) })
		case "success":
			word, err := g.j.literal()
			r.failed = string(word) == "false"
			return err
		}
		return g.j.skip()
	})
	switch {
	case err != nil:
		return err
	case r.failed:
		return g.yield(r)
	case !timed:
		return at.fail(errors.New("timestamp is missing"))
	}
	if used.prompt.ok {
		r.PromptTokens, r.noPrompt = int(used.prompt.n), false
	} else if !r.noPrompt {
		r.PromptTokens = g.prompt.text.tokens()
	}
	if used.output.ok {
		r.OutputTokens, r.noOutput = int(used.output.n), false
	} else if len(g.answer) > 0 {
		if err := g.outputTokens(&r); err != nil {
			return at.fail(err)
		}
	}
	switch {
	case !used.prompt.ok && !r.noPrompt:
		g.l.PrefixBlockTokens, r.PrefixHashes = textBlock, g.prompt.text.hashes
		r.how |= g.prompt.text.how()
	case !used.output.ok && !r.noOutput:
		r.how |= g.output.how()
	}
	switch {
	case r.noPrompt && g.o.PromptTokens == 0:
		return at.fail(errors.New("request_inputs has no prompt, whose length is needed: --prompt-tokens gives one, or use aiperf's profile_export.jsonl"))
	case r.noOutput && g.o.OutputTokens == 0:
		return at.fail(errors.New("response_outputs has no text, whose length is needed: --output-tokens gives one, or use aiperf's profile_export.jsonl"))
	}
	return g.yield(r)
}

func (g *genAIPerf) outputTokens(r *row) error {
	g.output.reset()
	g.output.units = 0
	if err := g.output.add(g.answer); err != nil {
		return err
	}
	r.OutputTokens, r.noOutput = g.output.tokens(), false
	return nil
}

// inputs reads request_inputs.
func (g *genAIPerf) inputs(r *row) error {
	if c, err := g.j.peek(); err != nil || c != '{' {
		return cmpOr(err, g.j.skip)
	}
	return g.j.object(func(name []byte) error {
		at := g.j.position()
		switch string(name) {
		case "payload":
			c, err := g.j.peek()
			switch {
			case err != nil:
				return err
			case c == '{':
				err = g.prompt.read(g.j)
			case c == '"':
				var s []byte
				if s, err = g.j.longText(); err == nil {
					err = at.inside("payload", g.within(s, g.prompt.read))
				}
			default:
				return g.j.skip()
			}
			r.noPrompt = r.noPrompt && !g.prompt.prompted
			g.l.setModel(g.prompt.model)
			return err
		case "text_input":
			r.noPrompt = false
			return g.prompt.text.content()
		}
		return g.j.skip()
	})
}

// within reads JSON that is the content of a string.
func (g *genAIPerf) within(s []byte, read func(*jsonReader) error) error {
	j := newJSONReader(bytes.NewReader(s))
	outer := g.prompt.text.j
	g.prompt.text.j = j
	defer func() { g.prompt.text.j = outer }()
	if c, err := j.space(); err != nil || c != '{' {
		if err == io.EOF {
			return nil // the string is empty
		}
		return cmpOr(err, func() error { return j.position().fail(fmt.Errorf("want '{', got %q", c)) })
	}
	return read(j)
}

// inside adds to an error in a string's JSON where the string is.
func (p position) inside(name string, err error) error {
	var in *Error
	if errors.As(err, &in) {
		return p.fail(fmt.Errorf("%s, byte %d of line %d: %w", name, in.Column, in.Line, in.Err))
	}
	return err
}

// usage is the number of tokens of a request as the server reported it.
type usage struct{ prompt, output value }

// response reads an element of response_outputs.
func (g *genAIPerf) response(r *row, used *usage) error {
	if c, err := g.j.peek(); err != nil || c != '{' {
		return cmpOr(err, g.j.skip)
	}
	return g.j.object(func(name []byte) error {
		if c, err := g.j.peek(); err != nil || c != '"' {
			return cmpOr(err, g.j.skip)
		}
		at := g.j.position()
		switch string(name) {
		case "text_output":
			s, err := g.j.longText()
			if err == nil {
				err = g.said(at, s)
			}
			return err
		case "response":
			s, err := g.j.longText()
			if err != nil {
				return err
			}
			for line := range bytes.Lines(s) {
				line = bytes.TrimSpace(line)
				line = bytes.TrimSpace(bytes.TrimPrefix(line, []byte("data:")))
				if len(line) == 0 || line[0] != '{' {
					continue // such as [DONE], or an event's name
				}
				err := at.inside("response", g.within(line, func(j *jsonReader) error { return g.piece(at, j, used) }))
				if err != nil {
					return err
				}
			}
			return nil
		}
		return g.j.skip()
	})
}

// piece reads an answer, or a chunk of a streamed answer.
func (g *genAIPerf) piece(at position, j *jsonReader, used *usage) error {
	choice := func(path []byte) (bool, error) {
		switch string(path) {
		case "text", "delta.content", "message.content", "delta.reasoning_content", "message.reasoning_content":
			c, err := j.peek()
			if err != nil || c != '"' {
				return false, err
			}
			s, err := j.longText()
			if err == nil {
				err = g.said(at, s)
			}
			return true, err
		}
		return false, nil
	}
	return j.walk(func(path []byte) (bool, error) {
		switch p := string(path); p {
		case "choices":
			if c, err := j.peek(); err != nil || c != '[' {
				return false, err
			}
			return true, j.array(func() error { return j.walk(choice) })
		case "usage.prompt_tokens":
			return true, used.prompt.tokens(j, p)
		case "usage.completion_tokens":
			return true, used.output.tokens(j, p)
		}
		return false, nil
	})
}

// said appends a piece to the text of the answer.
func (g *genAIPerf) said(at position, s []byte) error {
	if len(s) > maxText-len(g.answer) {
		return at.fail(fmt.Errorf("an answer of more than %d bytes", maxText))
	}
	g.answer = append(g.answer, s...)
	return nil
}
