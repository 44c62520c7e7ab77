package requestlog

import "fmt"

// columnSource reads CSV logs with one request per record.
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
	if r.noPrompt = c.prompt < 0; !r.noPrompt {
		if r.PromptTokens, err = c.t.tokens(c.prompt); err != nil {
			return r, err
		}
	}
	if r.noOutput = c.output < 0; !r.noOutput {
		if r.OutputTokens, err = c.t.tokens(c.output); err != nil {
			return r, err
		}
	}
	if c.session >= 0 {
		r.Session, err = c.t.session(c.session)
	}
	return r, err
}

// openColumns opens a CSV with the named columns. The prompt and output columns must
// exist unless their names are empty; the arrival and session columns may be missing.
func openColumns(l *Log, f *file, c Fields) (*columnSource, error) {
	t, err := newTable(f)
	if err != nil {
		return nil, l.located(err)
	}
	for _, name := range []string{c.Prompt, c.Output} {
		if name == "" {
			continue
		}
		if _, err := t.columns(name); err != nil {
			return nil, l.located(err)
		}
	}
	if err := t.unique(c.Arrival, c.Session); err != nil {
		return nil, l.located(err)
	}
	s := &columnSource{
		t: t, arrival: t.optional(c.Arrival), prompt: t.optional(c.Prompt), output: t.optional(c.Output), session: t.optional(c.Session),
	}
	s.when = func(f field) (int64, error) { return t.time(f, Second) }
	l.Timed = s.arrival >= 0
	return s, nil
}

// openAzure reads the logs of
// https://github.com/Azure/AzurePublicDataset/blob/master/AzureLLMInferenceDataset2023.md
// and …2024.md.
func openAzure(l *Log, f *file, _ Options) (source, error) {
	s, err := openColumns(l, f, Fields{Arrival: "TIMESTAMP", Prompt: "ContextTokens", Output: "GeneratedTokens"})
	if err != nil {
		return nil, err
	}
	l.Calendar = true
	s.when = l.timestamps(s.t)
	return s, needArrival(l, s, "TIMESTAMP")
}

// openBurstGPT reads the logs of https://github.com/HPMLL/BurstGPT. A failed request
// has no response tokens there.
func openBurstGPT(l *Log, f *file, _ Options) (source, error) {
	s, err := openColumns(l, f, Fields{Arrival: "Timestamp", Prompt: "Request tokens", Output: "Response tokens", Session: "Session ID"})
	if err != nil {
		return nil, err
	}
	return s, needArrival(l, s, "Timestamp")
}

// openVidur reads the processed traces of https://github.com/microsoft/vidur. Some
// have no arrival times.
func openVidur(l *Log, f *file, _ Options) (source, error) {
	s, err := openColumns(l, f, Fields{Arrival: "arrived_at", Prompt: "num_prefill_tokens", Output: "num_decode_tokens"})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// openServingSimTSV reads the workloads of the first version of
// https://github.com/casys-kaist/LLMServingSim, and openServingSimCSV its results per
// request. Times are in nanoseconds.
func openServingSimTSV(l *Log, f *file, _ Options) (source, error) {
	return openNanoseconds(l, f, Fields{Arrival: "arrival_time_ns", Prompt: "input_toks", Output: "output_toks"})
}

func openServingSimCSV(l *Log, f *file, _ Options) (source, error) {
	return openNanoseconds(l, f, Fields{Arrival: "arrival", Prompt: "input", Output: "output"})
}

func openNanoseconds(l *Log, f *file, c Fields) (source, error) {
	s, err := openColumns(l, f, c)
	if err != nil {
		return nil, err
	}
	s.when = func(f field) (int64, error) { return s.t.time(f, Nanosecond) }
	return s, needArrival(l, s, c.Arrival)
}

// openMeasured reads logs of measured requests with columns arrival_s, input_tokens,
// output_tokens, and measurements, which are ignored.
func openMeasured(l *Log, f *file, _ Options) (source, error) {
	s, err := openColumns(l, f, Fields{Arrival: "arrival_s", Prompt: "input_tokens", Output: "output_tokens"})
	if err != nil {
		return nil, err
	}
	return s, needArrival(l, s, "arrival_s")
}

// openPlain reads a CSV with columns named by the user. Times are numbers in a given
// unit, or dates with a time of day.
func openPlain(l *Log, f *file, o Options) (source, error) {
	if err := o.Fields.check(o); err != nil {
		return nil, fmt.Errorf("requestlog: %w", err)
	}
	unit, err := o.Fields.unit(o)
	if err != nil {
		return nil, err
	}
	if o.Fields.Hashes != "" {
		return nil, fmt.Errorf("requestlog: the prefix hashes of a CSV are not read; name them of JSON lines")
	}
	s, err := openColumns(l, f, o.Fields)
	if err != nil {
		return nil, err
	}
	first, timestamp := true, l.timestamps(s.t)
	s.when = func(f field) (int64, error) {
		if first {
			first, l.Calendar = false, isTimestamp(s.t.text(f))
		}
		if l.Calendar {
			return timestamp(f)
		}
		return s.t.time(f, unit)
	}
	if o.Fields.Arrival != "" {
		err = needArrival(l, s, o.Fields.Arrival)
	}
	if o.Fields.Session != "" && err == nil && s.session < 0 {
		_, err = s.t.columns(o.Fields.Session)
		err = l.located(err)
	}
	return s, err
}

// needArrival returns an error if there is no arrival column.
func needArrival(l *Log, s *columnSource, name string) error {
	if s.arrival >= 0 {
		return nil
	}
	_, err := s.t.columns(name)
	return l.located(err)
}
