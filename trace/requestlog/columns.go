package requestlog

import (
	"errors"
	"fmt"
	"strings"
)

// Columns says which column of a plain CSV holds what. Arrival and Session may be
// left empty.
type Columns struct{ Arrival, Prompt, Output, Session string }

// ParseColumns reads arrival=ts,prompt=in,output=out,session=user.
func ParseColumns(s string) (Columns, error) {
	var c Columns
	for part := range strings.SplitSeq(s, ",") {
		what, name, ok := strings.Cut(part, "=")
		into := map[string]*string{"arrival": &c.Arrival, "prompt": &c.Prompt, "output": &c.Output, "session": &c.Session}[strings.TrimSpace(what)]
		name = strings.TrimSpace(name)
		switch {
		case !ok || into == nil || name == "":
			return Columns{}, fmt.Errorf("%q: want arrival=NAME, prompt=NAME, output=NAME or session=NAME, separated by commas", part)
		case *into != "":
			return Columns{}, fmt.Errorf("%q: there are two columns of this", part)
		}
		*into = name
	}
	return c, c.check()
}

func (c Columns) check() error {
	if c.Prompt == "" || c.Output == "" {
		return errors.New("say which columns hold the prompt and the output, as in prompt=in,output=out")
	}
	return nil
}

// columnSource reads logs with one request a record.
type columnSource struct {
	t                                *table
	arrival, prompt, output, session field
	when                             func(field) (int64, error)
}

func (c *columnSource) next() (row, error) {
	if err := c.t.next(); err != nil {
		return row{}, err
	}
	r := row{line: c.t.line}
	var err error
	if c.arrival >= 0 {
		if r.ArrivalNS, err = c.when(c.arrival); err != nil {
			return r, err
		}
	}
	if r.PromptTokens, err = c.t.tokens(c.prompt); err != nil {
		return r, err
	}
	if r.OutputTokens, err = c.t.tokens(c.output); err != nil {
		return r, err
	}
	if c.session >= 0 {
		r.Session, err = c.t.session(c.session)
	}
	return r, err
}

// openColumns opens a CSV by the names of its columns, of which arrival and session
// may be missing.
func openColumns(l *Log, f *file, c Columns) (*columnSource, error) {
	t, err := newTable(f)
	if err != nil {
		return nil, l.located(err)
	}
	fields, err := t.columns(c.Prompt, c.Output)
	if err != nil {
		return nil, l.located(err)
	}
	s := &columnSource{t: t, arrival: t.optional(c.Arrival), prompt: fields[0], output: fields[1], session: t.optional(c.Session)}
	s.when = func(f field) (int64, error) { return t.time(f, Second) }
	l.Timed = s.arrival >= 0
	return s, nil
}

// openAzure reads the logs of
// https://github.com/Azure/AzurePublicDataset/blob/master/AzureLLMInferenceDataset2023.md
// and …2024.md.
func openAzure(l *Log, f *file, _ Options) (source, error) {
	s, err := openColumns(l, f, Columns{Arrival: "TIMESTAMP", Prompt: "ContextTokens", Output: "GeneratedTokens"})
	if err != nil {
		return nil, err
	}
	l.Calendar = true
	s.when = s.t.timestamp
	return s, needArrival(l, s, "TIMESTAMP")
}

// openBurstGPT reads the logs of https://github.com/HPMLL/BurstGPT, where a request
// that failed has no response tokens.
func openBurstGPT(l *Log, f *file, _ Options) (source, error) {
	s, err := openColumns(l, f, Columns{Arrival: "Timestamp", Prompt: "Request tokens", Output: "Response tokens", Session: "Session ID"})
	if err != nil {
		return nil, err
	}
	return s, needArrival(l, s, "Timestamp")
}

// openVidur reads the processed traces of https://github.com/microsoft/vidur, some of
// which have no times of arrival.
func openVidur(l *Log, f *file, _ Options) (source, error) {
	s, err := openColumns(l, f, Columns{Arrival: "arrived_at", Prompt: "num_prefill_tokens", Output: "num_decode_tokens"})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// openPlain reads a CSV by the columns that the user names. Its times are numbers of
// a unit, or dates and times.
func openPlain(l *Log, f *file, o Options) (source, error) {
	if err := o.Columns.check(); err != nil {
		return nil, fmt.Errorf("requestlog: %w", err)
	}
	s, err := openColumns(l, f, o.Columns)
	if err != nil {
		return nil, err
	}
	unit := o.TimeUnit
	if unit == 0 {
		unit = Second
	}
	first := true
	s.when = func(f field) (int64, error) {
		if first {
			first, l.Calendar = false, isTimestamp(s.t.text(f))
		}
		if l.Calendar {
			return s.t.timestamp(f)
		}
		return s.t.time(f, unit)
	}
	if o.Columns.Arrival != "" {
		err = needArrival(l, s, o.Columns.Arrival)
	}
	if o.Columns.Session != "" && err == nil && s.session < 0 {
		_, err = s.t.columns(o.Columns.Session)
		err = l.located(err)
	}
	return s, err
}

// needArrival is an error if there is no column of arrivals.
func needArrival(l *Log, s *columnSource, name string) error {
	if s.arrival >= 0 {
		return nil
	}
	_, err := s.t.columns(name)
	return l.located(err)
}
