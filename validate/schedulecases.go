package validate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"kvcompress/sim"
	"kvcompress/strictjson"
	"kvcompress/trace"
)

// A file of recorded schedules has no "method". Its "source" names what was recorded, and each case has
// "options", "requests" and the "steps" of a real scheduler.

// schedulers returns the functions that compare recorded schedules, by the recorded server.
func schedulers() map[sim.Scheduler]func(*scheduleCase) (CaseResult, error) {
	return map[sim.Scheduler]func(*scheduleCase) (CaseResult, error){
		sim.VLLMV1:           compareV1,
		sim.VLLM06:           compareVLLM06,
		sim.KVCompressServer: compareKVCompress,
	}
}

// scheduleCase is one recorded schedule.
type scheduleCase struct {
	source   string            // of the file
	found    map[string][]byte // members of the case
	options  map[string][]byte
	requests []recordedRequest
	steps    []json.RawMessage
}

// recordedRequest is a request of a recorded schedule.
type recordedRequest struct {
	Arrival  int      `json:"arrival_step"` // it has arrived when the scheduler is called in this step
	Prompt   [][3]int `json:"prompt"`       // segments [stream, first, n]: n tokens of a stream, starting at first
	Tokens   int      `json:"prompt_tokens"`
	Output   int      `json:"max_tokens"`
	Priority int      `json:"priority"`
}

// Bounds on a recorded schedule.
const (
	maxScheduleRequests = 1 << 16
	maxScheduleSteps    = 1 << 20
	maxScheduleTokens   = 1 << 24 // summed over all prompts
	maxScheduleSegments = 1 << 10 // of a prompt
	maxScheduleStream   = 1 << 40
	maxScheduleGroups   = 64 // of layers
)

// readSchedule reads a case of a file of recorded schedules.
func readSchedule(source string, found map[string][]byte) (*scheduleCase, error) {
	c := &scheduleCase{source: source, found: found}
	var options json.RawMessage
	err := fields{"options": &options, "requests": &c.requests, "steps": &c.steps}.decode(found)
	if err != nil {
		return nil, err
	}
	if c.options, err = members(options); err != nil {
		return nil, fmt.Errorf("options: %w", err)
	}
	if len(c.requests) < 1 || len(c.requests) > maxScheduleRequests {
		return nil, fmt.Errorf("%d requests, want 1 to %d", len(c.requests), maxScheduleRequests)
	}
	if len(c.steps) < 1 || len(c.steps) > maxScheduleSteps {
		return nil, fmt.Errorf("%d steps, want 1 to %d", len(c.steps), maxScheduleSteps)
	}
	tokens := 0
	for i := range c.requests {
		if err := c.checkRequest(i); err != nil {
			return nil, fmt.Errorf("request %d: %w", i, err)
		}
		if tokens += c.requests[i].Tokens; tokens > maxScheduleTokens {
			return nil, fmt.Errorf("the prompts have more than %d tokens", maxScheduleTokens)
		}
	}
	return c, nil
}

func (c *scheduleCase) checkRequest(i int) error {
	r := &c.requests[i]
	switch {
	case r.Arrival < 0 || r.Arrival > maxScheduleSteps:
		return fmt.Errorf("arrival_step %d is not from 0 to %d", r.Arrival, maxScheduleSteps)
	case i > 0 && r.Arrival < c.requests[i-1].Arrival:
		return fmt.Errorf("arrival_step %d is before the request before it, %d", r.Arrival, c.requests[i-1].Arrival)
	case r.Tokens < 1 || r.Tokens > trace.MaxTokens:
		return fmt.Errorf("prompt_tokens %d is not from 1 to %d", r.Tokens, trace.MaxTokens)
	case r.Output < 1 || r.Output > trace.MaxTokens:
		return fmt.Errorf("max_tokens %d is not from 1 to %d", r.Output, trace.MaxTokens)
	case len(r.Prompt) > maxScheduleSegments:
		return fmt.Errorf("a prompt of %d segments, want at most %d", len(r.Prompt), maxScheduleSegments)
	case r.Prompt == nil:
		return nil
	}
	tokens := 0
	for _, s := range r.Prompt {
		if s[0] < 0 || s[0] > maxScheduleStream || s[1] < 0 || s[1] > trace.MaxTokens || s[2] < 1 || s[2] > trace.MaxTokens {
			return fmt.Errorf("the segment %v of the prompt is not a stream, a position in it and a number of tokens, of at most %d", s, trace.MaxTokens)
		}
		tokens += s[2]
	}
	if tokens != r.Tokens {
		return fmt.Errorf("the segments of its prompt have %d tokens, and prompt_tokens is %d", tokens, r.Tokens)
	}
	return nil
}

// scheduler returns which server's schedule a case is: each has options that no other has.
func (c *scheduleCase) scheduler() sim.Scheduler {
	switch {
	case c.options["scheduler_reserve_full_isl"] != nil:
		return sim.VLLMV1
	case c.options["compression_interval"] != nil:
		return sim.KVCompressServer
	default:
		return sim.VLLM06
	}
}

var versionPattern = regexp.MustCompile(`\bv[0-9]+\.[0-9]+\.[0-9]+\b`)

// version returns the version in the source of the file, such as v0.11.0, or "".
func (c *scheduleCase) version() string { return versionPattern.FindString(c.source) }

// stepNS is the time of an iteration when arrivals are given in steps: a request of step n arrives at
// n·stepNS.
const stepNS = 1000

// traceRequests returns the requests in the simulator's type.
func (c *scheduleCase) traceRequests() []trace.Request {
	requests := make([]trace.Request, len(c.requests))
	for i, r := range c.requests {
		requests[i] = trace.Request{
			ID: fmt.Sprint(i), ArrivalNS: int64(r.Arrival) * stepNS, PromptTokens: r.Tokens, OutputTokens: r.Output,
		}
	}
	return requests
}

// compareSteps compares a schedule with the recorded one. S has the compared members of a step, under the
// recorder's names. next returns the simulator's next step, or false if nothing is left to do. compareSteps
// fills in the result.
func compareSteps[S any](r *CaseResult, recorded []json.RawMessage, next func() (S, bool, error)) error {
	for i, raw := range recorded {
		var want S
		if err := json.Unmarshal(raw, &want); err != nil {
			return fmt.Errorf("steps[%d]: %w", i, strictjson.Plain(err))
		}
		got, more, err := next()
		if err != nil {
			return fmt.Errorf("steps[%d]: %w", i, err)
		}
		if !more {
			r.Mismatch = fmt.Sprintf("steps[%d]: the simulator has nothing left to do; recorded %s", i, compact(want))
			return nil
		}
		here, there := compact(got), compact(want)
		r.Values += values(there)
		if here != there {
			r.Mismatch = fmt.Sprintf("steps[%d]: %s: %s; recorded %s", i, differing(here, there), here, there)
			return nil
		}
	}
	return nil
}

// compact returns a step as JSON.
func compact(step any) string {
	text, err := json.Marshal(step)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// values counts the numbers and booleans of a step.
func values(step string) int {
	dec := json.NewDecoder(strings.NewReader(step))
	n := 0
	for {
		t, err := dec.Token()
		if err != nil {
			return n
		}
		switch t.(type) {
		case float64, bool:
			n++
		}
	}
}

// differing names the members in which two steps differ.
func differing(a, b string) string {
	var left, right map[string]json.RawMessage
	if json.Unmarshal([]byte(a), &left) != nil || json.Unmarshal([]byte(b), &right) != nil {
		return "the steps differ"
	}
	names := map[string]bool{}
	for _, one := range []map[string]json.RawMessage{left, right} {
		for name := range one {
			if !bytes.Equal(left[name], right[name]) {
				names[name] = true
			}
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(names)), ", ") + " differ"
}

// isSchedule reports whether a case is a recorded schedule.
func isSchedule(raw []byte) bool {
	found, err := members(raw)
	return err == nil && found["requests"] != nil && found["steps"] != nil
}

// compareSchedule compares a recorded schedule.
func compareSchedule(source, id string, raw []byte) (CaseResult, error) {
	found, err := members(raw)
	if err == nil {
		err = fields{"name": &id}.optional(found)
	}
	if err != nil {
		return CaseResult{ID: id}, err
	}
	c, err := readSchedule(source, found)
	if err != nil {
		return CaseResult{ID: id}, err
	}
	server := c.scheduler()
	compare := schedulers()[server]
	if compare == nil {
		return CaseResult{ID: id, Kind: string(server), Skipped: fmt.Sprintf("schedules of %s are not compared", server)}, nil
	}
	result, err := compare(c)
	result.ID, result.Kind = id, string(server)
	return result, err
}
