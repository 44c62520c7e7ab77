package requestlog

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
)

// maxResults bounds the requests of a result of vLLM's, of which the numbers, 17
// bytes each, are in memory: the file has a list of all inputs, a list of all
// outputs and so on.
const maxResults = 50_000_000

// vllmResult is what vLLM's benchmark_serving.py, and vllm bench serve after it,
// write with --save-result --save-detailed
// (https://github.com/vllm-project/vllm/blob/main/vllm/benchmarks/serve.py).
type vllmResult struct {
	j               *jsonReader
	seen            map[string]position
	inputs, outputs []int32
	starts          []int64 // ns, by a clock of the benchmark's own
	failed          []bool
	model           string
	rate            string  // requests a second, as it is written
	order           []int32 // by start, if that is known
	given           int     // rows
}

func openVLLM(l *Log, f *file, _ Options) (source, error) {
	v := &vllmResult{j: newJSONReader(f), seen: make(map[string]position)}
	if err := v.read(); err != nil {
		return nil, l.located(err)
	}
	l.Model = v.model
	// All of them are there at once where the rate is infinite.
	l.Timed = v.starts != nil || v.rate == "inf" || v.rate == "Infinity"
	return v, nil
}

func (v *vllmResult) read() error {
	if err := v.j.object(v.member); err != nil {
		return err
	}
	switch _, err := v.j.space(); {
	case err == nil:
		return v.j.position().fail(errors.New("another result follows the first: keep one in a file"))
	case err != io.EOF:
		return err
	}
	for _, name := range []string{"input_lens", "output_lens"} {
		if _, ok := v.seen[name]; !ok {
			return fmt.Errorf("there are no %s; vLLM writes them with --save-detailed", name)
		}
	}
	for name, n := range map[string]int{"output_lens": len(v.outputs), "start_times": len(v.starts), "errors": len(v.failed)} {
		if at, ok := v.seen[name]; ok && n != len(v.inputs) {
			return at.fail(fmt.Errorf("there are %d %s, and %d input_lens", n, name, len(v.inputs)))
		}
	}
	if v.starts != nil {
		v.order = make([]int32, len(v.starts))
		for i := range v.order {
			v.order[i] = int32(i)
		}
		slices.SortStableFunc(v.order, func(a, b int32) int { return cmp.Compare(v.starts[a], v.starts[b]) })
	}
	return nil
}

func (v *vllmResult) member(raw []byte) error {
	switch string(raw) {
	case "input_lens", "output_lens", "start_times", "errors", "model_id", "request_rate":
	default:
		return v.j.skip()
	}
	name := string(raw)
	at := v.j.position()
	if _, dup := v.seen[name]; dup {
		return at.fail(fmt.Errorf("%s occurs twice", name))
	}
	v.seen[name] = at
	return inMember(name, v.value(name))
}

// value reads the value of a name that is known.
func (v *vllmResult) value(name string) error {
	var err error
	switch name {
	case "input_lens":
		return v.list(&v.inputs)
	case "output_lens":
		return v.list(&v.outputs)
	case "start_times":
		v.starts = []int64{}
		return v.j.array(func() error {
			t, err := v.j.time(Second)
			v.starts = append(v.starts, t)
			return v.bounded(len(v.starts), err)
		})
	case "errors":
		return v.j.array(func() error {
			bad, err := v.problem()
			v.failed = append(v.failed, bad)
			return v.bounded(len(v.failed), err)
		})
	case "model_id":
		if c, err := v.j.peek(); err != nil || c != '"' {
			return cmp.Or(err, v.j.skip())
		}
		v.model, err = v.j.text()
	case "request_rate":
		switch c, err := v.j.peek(); {
		case err != nil:
			return err
		case c == '"':
			v.rate, err = v.j.text()
			return err
		case c == '[' || c == '{':
			return v.j.skip()
		}
		var text []byte
		text, err = v.j.literal()
		v.rate = string(text)
	}
	return err
}

// list reads an array of numbers of tokens.
func (v *vllmResult) list(into *[]int32) error {
	return v.j.array(func() error {
		n, err := v.j.tokens()
		*into = append(*into, int32(n))
		return v.bounded(len(*into), err)
	})
}

func (v *vllmResult) bounded(n int, err error) error {
	if err == nil && n > maxResults {
		err = v.j.position().fail(fmt.Errorf("more than %d requests", maxResults))
	}
	return err
}

// problem reads an element of errors, and reports whether it is one.
func (v *vllmResult) problem() (bool, error) {
	switch c, err := v.j.peek(); {
	case err != nil:
		return false, err
	case c == '"':
		raw, _, err := v.j.quoted()
		return len(raw) > 0, err
	case c == 'n':
		return false, v.j.skip() // null
	}
	return true, v.j.skip()
}

// inMember says in an error which member it is about.
func inMember(name string, err error) error {
	if err == nil {
		return nil
	}
	if e := (*Error)(nil); errors.As(err, &e) {
		e.Err = fmt.Errorf("%s: %w", name, e.Err)
	}
	return err
}

func (v *vllmResult) next() (row, error) {
	if v.given == len(v.inputs) {
		return row{}, io.EOF
	}
	i := v.given
	if v.order != nil {
		i = int(v.order[i])
	}
	v.given++
	r := row{line: v.seen["input_lens"].line}
	r.PromptTokens, r.OutputTokens = int(v.inputs[i]), int(v.outputs[i])
	if v.starts != nil {
		r.ArrivalNS = v.starts[i]
	}
	r.failed = v.failed != nil && v.failed[i]
	return r, nil
}
