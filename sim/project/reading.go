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
		say("%s", r.beyondContext(c)+r.reserved(c))
		return b.String()
	case r.Link != nil && r.Link.Wait > 0.5*m.TTFT.Mean:
		say("Bound by the links that KVs are sent over: prompts wait %.3g s for theirs on average, and each link is busy %.0f %% of the time. A quicker one, or more servers that prefill, give more.", r.Link.Wait, 100*r.Link.Busy)
	case r.Bound.ByLoad():
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
	say("%s", r.beyondContext(c)+r.reserved(c))
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

// reserved says which flag makes the cache larger, if requests are refused by a cache that is smaller
// than what is reserved for a prefill batch; "" otherwise.
func (r *Result) reserved(c *Config) string {
	small := strings.Contains(r.Refusal, ": the cache has ") // a prompt may also exceed a limit
	if !small || r.Memory.Peak != cost.PeakPrefill || r.Memory.Activations < r.Memory.KV {
		return ""
	}
	but := ""
	if !c.ChunkedPrefill && (c.Scheduler != sim.VLLMV1 || c.V1.WholePrompts) {
		but = ", but has to hold the longest prompt"
	}
	return fmt.Sprintf(" %s of the card are reserved for a prefill of max_num_batched_tokens %s: a smaller one leaves more to the cache%s.",
		bytes(r.Memory.Activations), words.Number(c.Limits.MaxNumBatchedTokens), but)
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
	if err != nil || !cfg.Compresses() || cfg.CountsBlocks() || c.Schedule.Once || c.Schedule.Interval != 1 || c.acted() {
		return notes
	}
	return append(notes, "A larger --interval takes less time, and "+kindOf(method).leaves+".")
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

// serverNotes returns a note if no such server exists: which one, and what the method does there.
func (c *Config) serverNotes() []string {
	d := &c.Deployment
	name := d.Method.Method
	own := name == "" || name == ref.KVCompress
	server := map[sim.Scheduler]string{sim.VLLMV1: "vLLM V1", sim.VLLM06: "vLLM 0.6.0"}[c.Scheduler]
	switch {
	case own && (c.Scheduler != sim.VLLMV1 || !d.Compresses()):
		return nil
	case own:
		return []string{"KV-Compress exists for vLLM 0.6.0 only. On vLLM V1 it is projected as if it were ported: " + c.acts()}
	case server == "":
		server = "KV-Compress's server"
	}
	none := server + " has no " + name
	if name == "razor" {
		none += "; Huawei's MindIE has it, whose code is closed"
	}
	return []string{none + ". It is projected as if it were ported: " + c.acts()}
}

// acts says what the method does to which KVs, and when.
func (c *Config) acts() string {
	d := &c.Deployment
	switch s := d.Selection(); {
	case s != nil && s.Page > 0:
		return "it compresses nothing, and every decode step reads of each head the pages whose keys may match best, and the newest tokens."
	case d.Method.Method == "infllm":
		return "a prompt attends within the budget, and what is older goes to the host's memory as soon as a sequence has more tokens. Each decode step fetches the blocks that match best."
	case d.PromptRate() < 1:
		return "an encoder drops tokens of a prompt before the server reads it, and the cache holds all KVs of the rest."
	}
	cfg := d.Config()
	method, err := cfg.NewMethod()
	if err != nil {
		return "" // Validate has returned the error
	}
	after := "after a prompt"
	if c.Scheduler == sim.VLLMV1 {
		after = "after a prompt's last chunk"
	}
	if c.Schedule.Once || c.acted() {
		return "it " + kindOf(method).does + " once, " + after + "."
	}
	then, full := ", and then by its schedule", ""
	if kindOf(method).budget && !cfg.CountsBlocks() {
		full = " where a head holds too much"
	}
	switch n := c.Schedule.Interval; {
	case n == 1:
		then = ", and then before every decode step" + full
	case n > 1:
		then = fmt.Sprintf(", and then every %s decode steps", words.Number(n)) + full
	case c.Schedule.NewTokenLimit == 0:
		then = ", and then where blocks are lacking"
	}
	return "it " + kindOf(method).does + " " + after + then + "."
}

// kind is what a method does to KVs, and what a larger interval leaves of them in between.
type kind struct {
	does, leaves string
	budget       bool // of KVs in each head
}

func kindOf(method ref.Method) kind {
	_, merges := method.(ref.Merger)
	_, quantizes := method.(ref.Quantizer)
	switch m := method.(type) {
	case ref.Masker:
		return kind{"hides KVs, and frees none,", "leaves this many KVs more visible in between", true}
	case ref.Folder:
		if m.StandIns().Weight != ref.None {
			return kind{"folds KVs into a stand-in of each head", "lets heads grow by this many KVs in between", true}
		}
	}
	switch {
	case merges && quantizes:
		return kind{"merges the KVs of pairs of layers and quantizes those of others", "leaves the KVs of this many tokens as they are in between", false}
	case merges:
		return kind{"merges the KVs of pairs of layers", "leaves the KVs of this many tokens unmerged in between", false}
	case quantizes:
		return kind{"quantizes KVs", "leaves up to this many KVs more of each head unquantized in between", false}
	}
	return kind{"drops KVs", "lets heads grow by this many KVs in between", true}
}

// acted reports whether the method has nothing more to do after it has compressed a prompt.
func (c *Config) acted() bool {
	cfg := c.Deployment.Config()
	method, err := cfg.NewMethod()
	if err != nil {
		return false // Validate has returned the error
	}
	// Does the method ever compress again, one token after the prompt?
	counts := ref.Counts{Prompt: 1, Tokens: 2, Heads: slices.Repeat([]int{1}, cfg.Shape.Heads())}
	p, ok := method.(ref.Patient)
	return ok && p.Quiet(counts) == math.MaxInt
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
