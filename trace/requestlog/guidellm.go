package requestlog

import (
	"errors"
	"fmt"
)

// openGuideLLM reads the benchmarks.json of https://github.com/vllm-project/guidellm,
// from version 0.2 on: benchmarks, each with successful, errored and incomplete requests.
// A request's arrival is the time at which guidellm sent it.
func openGuideLLM(l *Log, f *file, o Options) (source, error) {
	s := &runs{j: newJSONReader(f), l: l, take: o.Run}
	l.Calendar = true
	g := &guideLLM{runs: s, o: o}
	return s.start(func(yield func(row) error) error {
		g.yield = yield
		return s.j.object(func(name []byte) error {
			if string(name) == "benchmarks" {
				return s.j.array(g.benchmark)
			}
			return s.j.skip()
		})
	}), nil
}

type guideLLM struct {
	*runs
	o     Options
	yield func(row) error
}

func (g *guideLLM) benchmark() error {
	taken, err := g.run()
	if err != nil {
		return err
	}
	if !taken {
		return g.j.skip()
	}
	listed := false
	err = g.j.object(func(name []byte) error {
		if string(name) != "requests" {
			return g.j.skip()
		}
		listed = true
		return g.j.object(func(name []byte) error {
			failed := string(name) != "successful"
			if string(name) == "total" {
				return g.j.skip()
			}
			if c, err := g.j.peek(); err != nil || c != '[' {
				return cmpOr(err, g.j.skip)
			}
			return g.j.array(func() error { return g.request(failed) })
		})
	})
	if err == nil && !listed {
		err = g.j.position().fail(errors.New("the benchmark has no requests: guidellm writes them into benchmarks.json"))
	}
	return err
}

// request reads one request.
func (g *guideLLM) request(failed bool) error {
	at := g.j.position()
	r := row{line: at.line, failed: failed}
	var start, start2, prompt, prompt2, output, output2 value
	err := g.j.walk(func(path []byte) (bool, error) {
		switch p := string(path); p {
		case "request_start_time", "start_time":
			return true, start.time(g.j, p)
		case "info.timings.request_start", "scheduler_info.request_timings.request_start":
			return true, start2.time(g.j, p)
		case "prompt_tokens":
			return true, prompt.tokens(g.j, p)
		case "input_metrics.text_tokens":
			return true, prompt2.tokens(g.j, p)
		case "output_tokens":
			return true, output.tokens(g.j, p)
		case "output_metrics.text_tokens":
			return true, output2.tokens(g.j, p)
		case "info.conversation_id":
			if null, err := g.j.null(); null || err != nil {
				return true, err
			}
			var err error
			r.Session, err = g.j.label()
			return true, inMember(p, err)
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	if failed {
		return g.yield(r)
	}
	start, prompt, output = start.or(start2), prompt.or(prompt2), output.or(output2)
	r.ArrivalNS, r.PromptTokens, r.OutputTokens = start.n, int(prompt.n), int(output.n)
	r.noPrompt, r.noOutput = !prompt.ok, !output.ok
	switch {
	case !start.ok:
		return at.fail(errors.New("request_start_time is missing"))
	case r.noPrompt && g.o.PromptTokens == 0:
		return at.fail(fmt.Errorf("prompt_tokens is missing; --prompt-tokens gives a length"))
	case r.noOutput && g.o.OutputTokens == 0:
		return at.fail(fmt.Errorf("output_tokens is missing; --output-tokens gives a length"))
	}
	return g.yield(r)
}

// value is a number that may be missing, or null.
type value struct {
	n  int64
	ok bool
}

func (v value) or(other value) value {
	if v.ok {
		return v
	}
	return other
}

func (v *value) time(j *jsonReader, name string) error {
	null, err := j.null()
	if null || err != nil {
		return err
	}
	v.n, err = j.time(Second)
	v.ok = true
	return inMember(name, err)
}

func (v *value) tokens(j *jsonReader, name string) error {
	null, err := j.null()
	if null || err != nil {
		return err
	}
	n, err := j.tokens()
	v.n, v.ok = int64(n), true
	return inMember(name, err)
}
