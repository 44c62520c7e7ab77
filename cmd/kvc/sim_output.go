package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"kvcompress/internal/words"
	"kvcompress/report"
	"kvcompress/sim/cost"
	"kvcompress/sim/project"
	"kvcompress/sim/stats"
)

// cached says how many tokens were found in the prefix cache. On vLLM V1 a preempted request finds its own blocks again, prompt
// and generated tokens, as long as no other has taken them.
func (in *simInputs) cached(m *stats.Summary) string {
	found := words.Count(m.Cached, "prompt token") + " found in the cache"
	if in.V1 == nil {
		return found
	}
	switch own := in.V1.PrefixTokens == 0; {
	case own && m.Cached == 0:
		return "the requests have no prefix hashes"
	case own:
		return fmt.Sprintf("the requests have no prefix hashes; preempted ones found %s of their own again", words.Count(m.Cached, "token"))
	case m.Preemptions > 0:
		return words.Count(m.Cached, "token") + " found in the cache, by preempted requests again too"
	}
	return found
}

// printProjection prints a projection: a summary in words, and tables.
func printProjection(w io.Writer, in *simInputs, r *project.Result) {
	cards := in.GPU
	if n := in.cards(); n > 1 {
		cards = fmt.Sprintf("%d × %s", n, in.GPU)
	}
	if in.PP > 1 {
		cards += fmt.Sprintf(" in %s", words.Count(in.PP, "stage"))
	}
	if in.Replicas > 1 {
		cards = fmt.Sprintf("%s of %s (%s)", words.Count(in.Replicas, "replica"), cards, in.Router)
	}
	if p := in.Pools; p != nil {
		cards = fmt.Sprintf("%d prefilling and %d decoding replicas of %s (%s), with %.3g GB/s between them", p.Prefill, p.Decode, cards, in.Router, p.BytesPerSecond/1e9)
	}
	how := "uncompressed"
	if c := in.compression(); c.Enabled() {
		how = "compressed"
		if c.Method != "" {
			how = "compressed by " + c.Method
		}
		switch {
		case c.MaxCacheTokens > 0:
			how += fmt.Sprintf(" to %s a head", words.Count(c.MaxCacheTokens, "KV"))
		case c.Rate > 0:
			how += fmt.Sprintf(" to %s", percent(c.Rate))
		}
	}
	if in.Prefixes {
		how += ", prefix caching (" + in.cached(&r.Metrics) + ")"
	}
	if in.Chunked {
		how += ", prompts in chunks"
	}
	fmt.Fprintf(w, "%s by %s on %s: weights %s, KV cache %v, %s; batches as %s forms them\n", printableLine(in.Requests), printableLine(in.Model), printableLine(cards), in.Weights, in.KV, how, in.Scheduler)
	if r.Partial {
		fmt.Fprintln(w, "Partial: it was interrupted.")
	}
	fmt.Fprintf(w, "\n%s\n", r.Reading)

	for _, note := range r.Notes {
		fmt.Fprintf(w, "%s\n", printableLine(note))
	}

	m := &r.Metrics
	section := func(name string) *tabwriter.Writer {
		fmt.Fprintf(w, "\n%s\n", name)
		return tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	}
	t := section("Requests")
	fmt.Fprintln(t, "\tfinished\trefused\tunfinished\trunning\twaiting\tpreemptions\t")
	fmt.Fprintf(t, "\t%s\t%s\t%s\t%s\t%s\t%s\t\n", words.Number(m.Finished), words.Number(m.Refused), words.Number(m.Unfinished),
		words.Decimal(m.Running.Mean, 1), words.Decimal(m.Waiting.Mean, 1), words.Number(m.Preemptions))
	t.Flush()

	t = section("Throughput a second")
	fmt.Fprintln(t, "\trequests\tinput tokens\toutput tokens\tall tokens\tover\tlargest batch\tcache used\t")
	fmt.Fprintf(t, "\t%s\t%s\t%s\t%s\t%s s\t%s\t%s\t\n", words.Decimal(m.RequestThroughput, words.Decimals([]float64{m.RequestThroughput}, 3)), words.Decimal(m.InputThroughput, 1), words.Decimal(m.OutputThroughput, 1), words.Decimal(m.TotalThroughput, 1),
		words.Whole(m.Duration), words.Number(m.MaxDecodeBatch), percent(m.KVUsage.Mean))
	t.Flush()

	t = section("Latency")
	header, rows := report.LatencyTable(m)
	for _, name := range header {
		fmt.Fprintf(t, "%s\t", strings.ReplaceAll(name, "\n", " "))
	}
	fmt.Fprintln(t)
	for _, row := range rows {
		fmt.Fprintln(t, strings.Join(row, "\t")+"\t")
	}
	t.Flush()

	if l := r.Link; l != nil {
		fmt.Fprintf(w, "\nThe KVs of %s were sent: %.4g s on the link on average, and %.4g s waiting for it; each link is busy %s of the time.\n", words.Count(l.Sent, "prompt"), l.Send, l.Wait, percent(l.Busy))
	}
	if in.SLO.Set() {
		fmt.Fprintf(w, "\nObjectives, for %s of the requests\n", percent(in.SLO.Required()))
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, o := range m.Objectives {
			fmt.Fprintf(t, "  %s\t%s\n", report.ObjectiveName(o.Name), report.ObjectiveText(&o, in.SLO))
		}
		t.Flush()
		verdict := "met"
		if !m.Meets(in.SLO) {
			verdict = "missed"
		}
		fmt.Fprintf(w, "  all together: %s, met by %s; goodput %.3g requests a second\n", verdict, words.Share(m.GoodShare), m.Goodput)
	}

	fmt.Fprintln(w, "\nTime")
	for _, sentence := range report.TimeSource(r) {
		fmt.Fprintf(w, "%s\n", printableLine(sentence))
	}
	left := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range r.Time {
		fmt.Fprintf(left, "  %s\t%s\t%s\n", s.Term, percent(s.Share), s.What())
	}
	left.Flush()

	printMemory(w, &r.Memory)
}

// cards returns the number of cards, in words.
func (in *simInputs) cards() int { return in.TP * max(1, in.PP) }

// printMemory prints how the bytes of a card are used, and how many requests of the maximum
// length fit the cache.
func printMemory(w io.Writer, m *cost.Memory) {
	fmt.Fprintf(w, "\nMemory of a card, as %s measures it\n", m.Engine)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, part := range []struct {
		name  string
		bytes int64
	}{
		{"left to others", m.Reserved}, {"weights", m.Weights}, {"peak of the " + m.Peak, m.Activations}, {"outside PyTorch", m.Fixed}, {"CUDA graphs", m.Graphs},
		{"scratch of compression", m.Scratch}, {"compressor of prompts", m.Compressor}, {"metadata of blocks and slots", m.Metadata}, {"keys and values", m.KV}, {"unused", m.Unused},
	} {
		if part.bytes < 0 {
			part.name, part.bytes = "beyond what the server may take", -part.bytes
		}
		if part.bytes != 0 {
			fmt.Fprintf(t, "  %s\t%.3f GB\t%s\n", part.name, float64(part.bytes)/1e9, percent(float64(part.bytes)/float64(m.Card)))
		}
	}
	t.Flush()
	if m.Sequences > 0 {
		fmt.Fprintf(w, "  in all %.3f GB; room for the states of %s of any length\n", float64(m.Card)/1e9, words.Count(m.Sequences, "sequence"))
		return
	}
	fmt.Fprintf(w, "  in all %.3f GB; %s of one head, for %s uncompressed:\n  %s\n", float64(m.Card)/1e9, words.Count(m.Blocks, "block"), words.Count(m.Tokens, "token"), report.Concurrency(m))
}
