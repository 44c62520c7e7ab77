package trace

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
)

// appendRequest appends a line of requests.jsonl without its newline: the same bytes as encoding/json, but
// faster.
func appendRequest(line []byte, r Request) ([]byte, error) {
	line = append(line, `{"id":"`...)
	line = append(line, r.ID...) // its characters need no escape
	line = append(line, `","arrival_ns":`...)
	line = strconv.AppendInt(line, r.ArrivalNS, 10)
	line = append(line, `,"prompt_tokens":`...)
	line = strconv.AppendInt(line, int64(r.PromptTokens), 10)
	line = append(line, `,"output_tokens":`...)
	line = strconv.AppendInt(line, int64(r.OutputTokens), 10)
	if r.Session != "" {
		text, err := json.Marshal(r.Session)
		if err != nil {
			return nil, err
		}
		line = append(line, `,"session":`...)
		line = append(line, text...)
	}
	for i, h := range r.PrefixHashes {
		if i == 0 {
			line = append(line, `,"prefix_hashes":[`...)
		} else {
			line = append(line, ',')
		}
		line = strconv.AppendUint(line, h, 10)
	}
	if len(r.PrefixHashes) > 0 {
		line = append(line, ']')
	}
	if r.Compression != nil {
		text, err := json.Marshal(r.Compression)
		if err != nil {
			return nil, err
		}
		line = append(append(line, `,"compression":`...), text...)
	}
	return append(line, '}'), nil
}

// parseWritten reads a line in exactly the form that appendRequest writes, in a tenth of the time of
// parseRequest. It returns false for any other line, right or wrong, and for one with compression options;
// parseRequest reads those.
func parseWritten(text []byte) (Request, bool) {
	p := writtenLine{rest: bytes.TrimSuffix(text, []byte("\n")), ok: true}
	p.literal(`{"id":`)
	id := p.plain()
	p.literal(`,"arrival_ns":`)
	arrival := p.number()
	p.literal(`,"prompt_tokens":`)
	prompt := p.number()
	p.literal(`,"output_tokens":`)
	output := p.number()
	var session []byte
	if p.optional(`,"session":`) {
		session = p.plain()
		p.ok = p.ok && len(session) > 0
	}
	var hashes []uint64
	if p.optional(`,"prefix_hashes":[`) {
		hashes = make([]uint64, 0, min(1+bytes.Count(p.rest, []byte(",")), len(p.rest)/2+1))
		hashes = append(hashes, p.number())
		for p.ok && p.optional(",") {
			hashes = append(hashes, p.number())
		}
		p.literal("]")
	}
	p.literal("}")
	if !p.ok || len(p.rest) > 0 || arrival > MaxArrivalNS || prompt > MaxTokens || output > MaxTokens {
		return Request{}, false
	}
	r := Request{
		ID: string(id), ArrivalNS: int64(arrival), PromptTokens: int(prompt), OutputTokens: int(output),
		Session: string(session), PrefixHashes: slices.Clip(hashes),
	}
	return r, r.Check() == nil
}

// writtenLine is the rest of a line while it is parsed; ok is false after the first mismatch.
type writtenLine struct {
	rest []byte
	ok   bool
}

func (p *writtenLine) optional(s string) bool {
	if p.ok && len(p.rest) >= len(s) && string(p.rest[:len(s)]) == s {
		p.rest = p.rest[len(s):]
		return true
	}
	return false
}

func (p *writtenLine) literal(s string) { p.ok = p.optional(s) }

// plain reads a string of printable ASCII without escapes.
func (p *writtenLine) plain() []byte {
	p.literal(`"`)
	for i := 0; p.ok && i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '"':
			text := p.rest[:i]
			p.rest = p.rest[i+1:]
			return text
		case c < ' ' || c > '~' || c == '\\':
			p.ok = false
		}
	}
	p.ok = false
	return nil
}

// number reads an integer from 0 to 10¹⁹−1.
func (p *writtenLine) number() uint64 {
	n, i := uint64(0), 0
	for i < len(p.rest) && p.rest[i] >= '0' && p.rest[i] <= '9' && i < 20 {
		n = 10*n + uint64(p.rest[i]-'0')
		i++
	}
	if i == 0 || i == 20 || i > 1 && p.rest[0] == '0' {
		p.ok = false
		return 0
	}
	p.rest = p.rest[i:]
	return n
}
