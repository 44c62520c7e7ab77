package project

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"kvcompress/internal/words"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/sim/cost"
)

// read returns a few sentences about what limits the throughput.
func (r *Result) read(c *Config) string {
	m := &r.Metrics
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	switch {
	case m.Finished == 0 && m.Refused > 0:
		say("Nothing is served: of %s, %s refused, the first because %s.", counted(m.Refused+m.Unfinished, "request", "requests"), counted(m.Refused, "is", "are"), r.Refusal)
		say("%s", r.beyondContext(c))
		return b.String()
	case r.Link != nil && r.Link.Wait > 0.5*m.TTFT.Mean:
		say("Bound by the links that KVs are sent over: prompts wait %.3g s for theirs on average, and each link is busy %.0f %% of the time. A quicker one, or more servers that prefill, give more.", r.Link.Wait, 100*r.Link.Busy)
	case r.Bound.Nothing >= 0.9:
		by, most := "load", fmt.Sprint(m.MaxBatch)
		if c.Concurrency > 0 {
			by = "clients"
		}
		if c.Replicas > 1 || c.Disaggregation != nil {
			most += " on one of the replicas"
		}
		say("Bound by the %s: requests are served as they come, %.3g at a time and at most %s, and the cache is at most %.0f %% full.",
			by, m.Running.Mean, most, 100*m.KVUsage.Max)
	case r.Bound.Prefill > max(r.Bound.Memory, r.Bound.Seqs):
		say("Compute-bound: requests wait while the prompts before them are prefilled, %.0f %% of the time; at most %d are decoded at a time, and the cache is %.0f %% full on average.",
			100*r.Bound.Prefill, m.MaxDecodeBatch, 100*m.KVUsage.Mean)
	case r.Bound.Memory >= r.Bound.Seqs:
		room := words.Number(int64(r.Memory.Tokens)) + " tokens uncompressed"
		if r.Memory.Sequences > 0 {
			room = "the states of " + counted(int64(r.Memory.Sequences), "sequence", "sequences")
		}
		say("Memory-bound: the batch stops at %d, because the KV cache of %s, beside %s of weights, has room for %s",
			m.MaxDecodeBatch, bytes(r.Memory.KV), bytes(r.Memory.Weights), room)
		if c.Deployment.Compresses() {
			say(", and compression frees no more")
		}
		say("; requests wait for blocks %.0f %% of the time.", 100*r.Bound.Memory)
	default:
		say("Bound by max_num_seqs: %s at a time, and more wait for one to end %.0f %% of the time, while the cache is %.0f %% full on average.",
			counted(int64(c.Limits.MaxNumSeqs), "sequence runs", "sequences run"), 100*r.Bound.Seqs, 100*m.KVUsage.Mean)
	}
	if m.Preemptions > 0 {
		say(" %s %s computed again.", counted(m.Preemptions, "preemption costs", "preemptions cost"), counted(m.Recomputed, "token", "tokens"))
	}
	if top := r.longest(); top != nil {
		what, _, _ := strings.Cut(top.What(), ":")
		say(" The largest part of the time, %.0f %%, goes into %s.", 100*top.Share, what)
	}
	if m.Refused > 0 {
		say(" %s refused, the first because %s.", counted(m.Refused, "request is", "requests are"), r.Refusal)
	}
	say("%s", r.beyondContext(c))
	return b.String()
}

// beyondContext says how many requests are longer than the model's context; "" if none is, or if
// max_model_len is less than the context.
func (r *Result) beyondContext(c *Config) string {
	n := c.Deployment.Model.MaxLen
	if r.TooLong == 0 || r.Memory.MaxModelLen < n {
		return ""
	}
	return fmt.Sprintf(" %s longer than the %s tokens of the model's context.", counted(r.TooLong, "request is", "requests are"), words.Number(n))
}

// notes returns the assumptions that are made for the method and its schedule.
func (c *Config) notes() []string {
	notes := append(c.serverNotes(), c.Deployment.Notes()...)
	for _, note := range []string{c.prefixNote(), c.startNote()} {
		if note != "" {
			notes = append(notes, note)
		}
	}
	cfg := c.Deployment.Config()
	method, err := cfg.NewMethod()
	if err != nil || cfg.CountsBlocks() || c.Schedule.Once || c.Schedule.Interval != 1 {
		return notes
	}
	// Does the method ever compress again, one token after the prompt?
	counts := ref.Counts{Prompt: 1, Tokens: 2, Heads: slices.Repeat([]int{1}, cfg.Shape.Heads())}
	if p, ok := method.(ref.Patient); ok && p.Quiet(counts) == math.MaxInt {
		return notes
	}
	return append(notes, "It compresses before every step once a head holds too much. A larger --interval takes less time, and lets heads grow by this many KVs in between.")
}

// prefixNote says why requests whose prompts begin alike do not share blocks; "" if they do, or if no
// request has prefix hashes.
func (c *Config) prefixNote() string {
	d := &c.Deployment
	shortens := d.PromptRate() < 1
	if c.Scheduler != sim.VLLMV1 || c.V1.PrefixTokens == 0 || d.SharesPrefixes() && !shortens {
		return ""
	}
	const all = "Prompts with a common prefix are all computed and held: "
	layout := d.Layout()
	switch {
	case shortens:
		return all + "which tokens of a prefix are kept depends on what follows it. Without the method they share blocks."
	case layout != nil && layout.Group == 0:
		return all + "prefix sharing is modelled neither for linear-time states nor for InfLLM."
	}
	return all + "a method leaves each of them other KVs. Without the method they share blocks."
}

// startNote says why vLLM does not start with these limits; "" if it does.
func (c *Config) startNote() string {
	d := &c.Deployment
	if c.Scheduler != sim.VLLMV1 || !c.V1.WholePrompts || d.MaxTokens >= d.LongestRequest() {
		return ""
	}
	return fmt.Sprintf("vLLM does not start so: without chunked prefill it wants max_num_batched_tokens, here %d, to be at least max_model_len, here %d. The projection refuses longer prompts.", d.MaxTokens, d.LongestRequest())
}

// serverNotes returns a note if no such server exists.
func (c *Config) serverNotes() []string {
	d := &c.Deployment
	s := d.Selection()
	if c.Scheduler != sim.VLLMV1 || !d.Compresses() && (s == nil || s.Page == 0) { // an indexer is the model's
		return nil
	}
	const rule = "On vLLM V1 it is projected as if it were ported: it compresses after a prompt's last chunk, and then by its schedule."
	if name := d.Method.Method; name != "" && name != ref.KVCompress {
		return []string{"vLLM V1 has no " + name + ". " + rule}
	}
	return []string{"KV-Compress exists for vLLM 0.6.0 only. " + rule}
}

func (r *Result) longest() *cost.Share {
	var top *cost.Share
	for i := range r.Time {
		if top == nil || r.Time[i].Share > top.Share {
			top = &r.Time[i]
		}
	}
	return top
}

func bytes(n int64) string { return fmt.Sprintf("%.3g GB", float64(n)/1e9) }

// counted formats a number with what it is a number of, in the singular or plural.
func counted(n int64, one, several string) string {
	if n == 1 {
		several = one
	}
	return words.Number(n) + " " + several
}
