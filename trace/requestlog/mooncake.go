package requestlog

import (
	"errors"
	"fmt"
	"strconv"

	"kvcompress/trace"
)

// The usual numbers of tokens per prefix hash.
const (
	mooncakeBlock = 512
	bailianBlock  = 16
)

// prefixBlock returns the number of tokens per prefix hash, which is usual unless the
// user states another, and stores it in the log.
func (l *Log) prefixBlock(o Options, usual int) (int, error) {
	block := usual
	if o.PrefixBlockTokens != 0 {
		block = o.PrefixBlockTokens
	}
	if block < 0 || block > trace.MaxTokens {
		return 0, fmt.Errorf("requestlog: blocks of %d tokens, want 1 to %d", block, trace.MaxTokens)
	}
	l.PrefixBlockTokens = block
	return block, nil
}

// openMooncake reads the traces of
// https://github.com/kvcache-ai/Mooncake/tree/main/FAST25-release/traces: each line is
// an object with timestamp (in milliseconds), input_length, output_length and hash_ids,
// one hash per block of 512 tokens of the prompt. It also reads the variant of
// https://github.com/ai-dynamo/aiperf: session_id groups turns, delay replaces timestamp
// and is the time (in milliseconds) since the end of the previous turn, and text_input
// may be the prompt. Other members are ignored.
func openMooncake(l *Log, f *file, o Options) (source, error) {
	s := newJSONRows(f)
	unit := o.TimeUnit
	if unit == 0 {
		unit = Millisecond
	}
	block, err := l.prefixBlock(o, mooncakeBlock)
	if err != nil {
		return nil, err
	}
	var delay int64
	turns := turns[string]{}
	text := newText(s.j, o)
	s.fields = []jsonField{
		{"timestamp", true, s.arrival(unit)},
		{"input_length", true, s.prompt},
		{"output_length", true, s.output},
		{"hash_ids", true, s.prefixes},
		{"session_id", true, s.session},
		{"delay", true, func() (err error) {
			delay, err = s.j.time(unit)
			return err
		}},
		{"text_input", true, text.content},
	}
	last := int64(0)
	s.finish = func(at position) error {
		r := &s.row
		switch before, ok := turns.get(r.Session); {
		case s.has("timestamp"):
		case r.Session != "" && ok && s.has("delay"):
			if delay > trace.MaxArrivalNS-before {
				return at.fail(errors.New("delay: it arrives later than a trace can represent"))
			}
			r.ArrivalNS = before + delay
			r.how |= delayed
		case o.Retimed:
			r.ArrivalNS = last
		case s.has("delay"):
			return at.fail(errors.New("timestamp is missing, and there is no turn of its session_id above that delay could count from"))
		default:
			return at.fail(errors.New("timestamp is missing; kvc trace import --arrivals gives the requests other times, as in --arrivals poisson:4/s"))
		}
		last = r.ArrivalNS
		if r.Session != "" {
			turns.put(r.Session, r.ArrivalNS)
		}
		if !s.has("input_length") && s.has("text_input") {
			r.PromptTokens = text.tokens()
			r.how |= text.how()
		} else if !s.has("input_length") {
			return at.fail(errors.New("input_length is missing"))
		}
		text.reset()
		if r.noOutput = !s.has("output_length"); r.noOutput && o.OutputTokens == 0 {
			return at.fail(errors.New("output_length is missing"))
		}
		return s.checkPrefixes(at, block)
	}
	return s, nil
}

// openBailian reads the traces of
// https://github.com/alibaba-edu/qwen-bailian-usagetraces-anon: each line is an object
// with timestamp (in seconds), input_length, output_length and hash_ids, one hash per
// block of 16 tokens of the prompt. chat_id and parent_chat_id link the turns of a
// conversation; parent_chat_id is -1 in the first turn. The session is the chat_id of
// the first turn.
func openBailian(l *Log, f *file, o Options) (source, error) {
	s := newJSONRows(f)
	unit := o.TimeUnit
	if unit == 0 {
		unit = Second
	}
	block, err := l.prefixBlock(o, bailianBlock)
	if err != nil {
		return nil, err
	}
	var chat, parent int64
	number := func(into *int64) func() error {
		return func() (err error) {
			*into, err = s.j.integer()
			return err
		}
	}
	s.fields = []jsonField{
		{"timestamp", false, s.arrival(unit)},
		{"input_length", false, s.prompt},
		{"output_length", false, s.output},
		{"hash_ids", true, s.prefixes},
		{"chat_id", false, number(&chat)},
		{"parent_chat_id", true, number(&parent)},
	}
	first := turns[int64]{}
	s.finish = func(at position) error {
		root := chat
		if s.has("parent_chat_id") && parent >= 0 {
			root = parent
			if known, ok := first.get(parent); ok {
				root = known
			} else {
				s.row.how |= orphan
			}
		}
		first.put(chat, root)
		s.row.Session = strconv.FormatInt(root, 10)
		return s.checkPrefixes(at, block)
	}
	return s, nil
}

// maxTurns is the number of sessions that turns remembers at least.
const maxTurns = 1 << 16

// turns has a number for each of the most recently stored sessions: at least maxTurns of
// them and at most twice as many.
type turns[K comparable] struct{ young, old map[K]int64 }

func (t *turns[K]) get(session K) (int64, bool) {
	n, ok := t.young[session]
	if !ok {
		n, ok = t.old[session]
	}
	return n, ok
}

func (t *turns[K]) put(session K, n int64) {
	if len(t.young) >= maxTurns {
		t.old, t.young = t.young, nil
	}
	if t.young == nil {
		t.young = make(map[K]int64)
	}
	t.young[session] = n
}
