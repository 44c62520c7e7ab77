package requestlog

import (
	"errors"
)

// openAIPerf reads profile_export.jsonl of https://github.com/ai-dynamo/aiperf, which
// has one request per line: the time at which it was sent, in nanoseconds, and its
// numbers of input and output tokens. Warm-up requests are skipped like failed ones.
func openAIPerf(l *Log, f *file, o Options) (source, error) {
	s := newJSONRows(f)
	l.Calendar = true
	var failed bool
	s.fields = []jsonField{
		{"metadata.request_start_ns", false, s.arrival(Nanosecond)},
		{"metadata.conversation_id", true, s.session},
		{"metadata.benchmark_phase", true, func() error {
			phase, err := s.j.label()
			failed = failed || phase == "warmup"
			return err
		}},
		{"metadata.was_cancelled", true, func() error {
			word, err := s.j.literal()
			failed = failed || string(word) == "true"
			return err
		}},
		{"metrics.input_sequence_length.value", true, s.prompt},
		{"metrics.output_sequence_length.value", true, s.output},
		{"error", true, func() error {
			failed = true
			return s.j.skip()
		}},
	}
	s.finish = func(at position) error {
		s.row.failed, failed = failed, false
		if s.row.failed {
			return nil
		}
		s.row.noPrompt, s.row.noOutput = !s.has("metrics.input_sequence_length.value"), !s.has("metrics.output_sequence_length.value")
		if s.row.noPrompt && o.PromptTokens == 0 {
			return at.fail(errors.New("metrics.input_sequence_length is missing"))
		}
		if s.row.noOutput && o.OutputTokens == 0 {
			return at.fail(errors.New("metrics.output_sequence_length is missing"))
		}
		return nil
	}
	return s, nil
}
