package export

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"kvcompress/sim"
)

// chrome writes the Trace Event Format that Perfetto (ui.perfetto.dev) and chrome://tracing open.
// Steps are slices of one track. Each request is an async span with spans for queueing, prefill
// and decoding inside it. Counters show running and waiting requests and allocated blocks.
type chrome struct {
	out *bufio.Writer
	err error
	n   int // events
}

// NewChromeTrace returns an exporter that writes a Chrome trace to w.
func NewChromeTrace(w io.Writer) Exporter {
	c := &chrome{out: bufio.NewWriterSize(w, 1<<16)}
	c.raw(`{"displayTimeUnit":"ms","traceEvents":[`)
	c.event(`"ph":"M","pid":1,"tid":1,"name":"process_name","args":{"name":"server"}`)
	c.event(`"ph":"M","pid":1,"tid":1,"name":"thread_name","args":{"name":"steps"}`)
	c.event(`"ph":"M","pid":2,"tid":1,"name":"process_name","args":{"name":"requests"}`)
	return c
}

func (c *chrome) raw(s string) {
	if c.err == nil {
		_, c.err = c.out.WriteString(s)
	}
}

func (c *chrome) event(fields string) {
	if c.n++; c.n > 1 {
		c.raw(",")
	}
	c.raw("\n{")
	c.raw(fields)
	c.raw("}")
}

// micros formats nanoseconds as microseconds, the format's unit.
func micros(ns int64) string {
	return strconv.FormatInt(ns/1000, 10) + "." + fmt.Sprintf("%03d", ns%1000)
}

func (c *chrome) Step(s *sim.Step) {
	if c.err != nil {
		return
	}
	name := string(s.Kind)
	if s.Steps > 1 {
		name += " × " + strconv.Itoa(s.Steps)
	}
	w := &s.Work
	c.event(fmt.Sprintf(`"ph":"X","pid":1,"tid":1,"name":%q,"cat":%q,"ts":%s,"dur":%s,"args":{"step":%d,"batch":%d,"tokens":%d,"preempted":%d,"finished":%d,"kvs_read":%d,"kvs_evicted":%d,"blocks_freed":%d}`,
		name, s.Kind, micros(s.Start), micros(s.End-s.Start), s.Index, s.Sequences, s.Tokens, len(s.Preempted), len(s.Finished), w[sim.KVsRead], w[sim.KVsEvicted], w[sim.BlocksFreed]))
	c.event(fmt.Sprintf(`"ph":"C","pid":1,"name":"requests","ts":%s,"args":{"running":%d,"waiting":%d}`, micros(s.End), s.Running, s.Waiting))
	c.event(fmt.Sprintf(`"ph":"C","pid":1,"name":"KV cache, %%","ts":%s,"args":{"in use":%.2f}`, micros(s.End), 100*float64(s.Usage.Allocated)/float64(max(1, s.Usage.Allocated+s.Usage.Free))))
}

func (c *chrome) Request(r *sim.Result) {
	if c.err != nil {
		return
	}
	name, err := json.Marshal("request " + r.ID)
	if err != nil {
		c.err = err
		return
	}
	id := c.n // unique among the requests
	end := r.Finished
	if end < 0 {
		end = max(r.Arrival, r.Admitted, r.FirstToken)
	}
	span := func(name string, from, to int64) {
		if from < 0 || to < from {
			return
		}
		c.event(fmt.Sprintf(`"ph":"b","pid":2,"tid":1,"cat":"request","id":%d,"name":%s,"ts":%s`, id, name, micros(from)))
		c.event(fmt.Sprintf(`"ph":"e","pid":2,"tid":1,"cat":"request","id":%d,"name":%s,"ts":%s`, id, name, micros(to)))
	}
	// An outer span begins before and ends after those inside it.
	c.event(fmt.Sprintf(`"ph":"b","pid":2,"tid":1,"cat":"request","id":%d,"name":%s,"ts":%s,"args":{"prompt_tokens":%d,"output_tokens":%d,"preemptions":%d,"recomputed_tokens":%d}`,
		id, name, micros(r.Arrival), r.PromptTokens, r.OutputTokens, r.Preemptions, r.Recomputed))
	span(`"queue"`, r.Arrival, r.Admitted)
	span(`"prefill"`, r.Admitted, r.FirstToken)
	span(`"decode"`, r.FirstToken, r.Finished)
	c.event(fmt.Sprintf(`"ph":"e","pid":2,"tid":1,"cat":"request","id":%d,"name":%s,"ts":%s`, id, name, micros(end)))
}

func (c *chrome) Close() error {
	c.raw("\n]}\n")
	if c.err == nil {
		c.err = c.out.Flush()
	}
	if c.err != nil {
		return fmt.Errorf("export: %w", c.err)
	}
	return nil
}
