package requestlog

import (
	"cmp"
	"errors"
	"fmt"
	"io"

	"kvcompress/internal/extsort"
)

// maxResults is the largest number of requests in a result of vLLM. The file has separate
// lists of all inputs, all outputs and so on, so the numbers are spooled to disk: 17 bytes
// per request, and as many again to sort them.
const maxResults = 50_000_000

// vllmResult is what vLLM's benchmark_serving.py, and vllm bench serve after it,
// write with --save-result --save-detailed
// (https://github.com/vllm-project/vllm/blob/main/vllm/benchmarks/serve.py).
type vllmResult struct {
	j               *jsonReader
	seen            map[string]position
	inputs, outputs column
	starts          column // ns, by a clock of the benchmark's own
	failed          column
	model           string
	rate            string // requests per second, as written in the file
	sorter          *extsort.Sorter[spooled]
	pull            func() (spooled, error)
}

func openVLLM(l *Log, f *file, _ Options) (source, error) {
	v := &vllmResult{
		j: newJSONReader(f), seen: make(map[string]position),
		inputs: column{width: 4}, outputs: column{width: 4}, starts: column{width: 8}, failed: column{width: 1},
		sorter: extsort.New(byArrival, sortedRows),
	}
	if err := v.read(); err != nil {
		return nil, errors.Join(l.located(err), v.close())
	}
	closeFile := l.close
	l.close = func() error { return errors.Join(v.close(), closeFile()) }
	l.Model = v.model
	// With an infinite rate, all requests arrive at once.
	l.Timed = v.has("start_times") || v.rate == "inf" || v.rate == "Infinity"
	return v, nil
}

func (v *vllmResult) close() error {
	return errors.Join(v.inputs.close(), v.outputs.close(), v.starts.close(), v.failed.close(), v.sorter.Close())
}

func (v *vllmResult) has(name string) bool {
	_, ok := v.seen[name]
	return ok
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
		if !v.has(name) {
			return fmt.Errorf("there are no %s; vLLM writes them with --save-detailed", name)
		}
	}
	for name, n := range map[string]int{"output_lens": v.outputs.n, "start_times": v.starts.n, "errors": v.failed.n} {
		if at, ok := v.seen[name]; ok && n != v.inputs.n {
			return at.fail(fmt.Errorf("there are %d %s, and %d input_lens", n, name, v.inputs.n))
		}
	}
	rows := v.rows()
	if !v.has("start_times") {
		v.pull = rows
		return nil
	}
	for {
		r, err := rows()
		if err == nil {
			err = v.sorter.Add(r)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	sorted, err := v.sorter.Sorted()
	if err != nil {
		return err
	}
	v.pull = sorted.Next
	return nil
}

// rows returns a function that returns the rows in the order of the file, and then io.EOF.
func (v *vllmResult) rows() func() (spooled, error) {
	inputs, outputs, starts, failed := v.inputs.reader(), v.outputs.reader(), v.starts.reader(), v.failed.reader()
	i := 0
	return func() (spooled, error) {
		if i == v.inputs.n {
			return spooled{}, io.EOF
		}
		i++
		prompt, err := inputs.next()
		output, err2 := outputs.next()
		r := spooled{prompt: int32(prompt), output: int32(output)}
		if err = cmp.Or(err, err2); err == nil && v.starts.n > 0 {
			r.arrival, err = starts.next()
		}
		if err == nil && v.failed.n > 0 {
			var bad int64
			bad, err = failed.next()
			r.failed = bad != 0
		}
		return r, err
	}
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

// value reads the value of a known member.
func (v *vllmResult) value(name string) error {
	var err error
	switch name {
	case "input_lens":
		return v.list(&v.inputs)
	case "output_lens":
		return v.list(&v.outputs)
	case "start_times":
		return v.j.array(func() error {
			t, err := v.j.time(Second)
			return v.append(&v.starts, t, err)
		})
	case "errors":
		return v.j.array(func() error {
			bad, err := v.problem()
			n := int64(0)
			if bad {
				n = 1
			}
			return v.append(&v.failed, n, err)
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
func (v *vllmResult) list(into *column) error {
	return v.j.array(func() error {
		n, err := v.j.tokens()
		return v.append(into, int64(n), err)
	})
}

func (v *vllmResult) append(to *column, n int64, err error) error {
	if err == nil && to.n == maxResults {
		err = v.j.position().fail(fmt.Errorf("more than %d requests", maxResults))
	}
	return cmp.Or(err, to.append(n))
}

// problem reads an element of the list "errors", and reports whether it is an error.
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

// inMember adds a member's name to an error.
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
	next, err := v.pull()
	r := row{line: v.seen["input_lens"].line, failed: next.failed}
	r.PromptTokens, r.OutputTokens, r.ArrivalNS = int(next.prompt), int(next.output), next.arrival
	return r, err
}
