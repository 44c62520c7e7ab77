package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"kvcompress/internal/output"
	"kvcompress/internal/words"
	"kvcompress/sim"
	"kvcompress/sim/catalog"
	"kvcompress/sim/cost"
)

// servingSetup has the settings of a server that a file of measurements does not state. The keys
// are named as flags of kvc sim.
type servingSetup struct {
	model, gpu  string
	tp          int
	seqs        int
	tokens      int
	blocks      int // of 16 tokens, with all heads, as a server prints them
	utilization float64
	engine      sim.Scheduler
	server      sim.Scheduler // of runs that do not say theirs
	profile     *cost.Profile // for cards of which a file does not say the memory: see [cost.Profile.TakeCards]; nil for none
	choose      bool          // of rows that do not name their server, by the profile: see [cost.Profile.NewServingCases]
}

// servingKeys are the keys that may follow a file's name in --measurements.
var servingKeys = []string{"model", "gpu", "tensor-parallel", "max-num-seqs", "max-num-batched-tokens", "num-gpu-blocks", "gpu-memory-utilization", "engine", "server"}

// measurementFile splits a value of --measurements: a file, and after commas settings of its
// server.
func measurementFile(value string) (path string, s servingSetup, err error) {
	path, rest, more := strings.Cut(value, ",")
	for more {
		var item string
		item, rest, more = strings.Cut(rest, ",")
		key, v, ok := strings.Cut(item, "=")
		if !ok {
			return "", s, usagef("--measurements: after %s, %q is not of the form key=value, with a key of %s", path, item, strings.Join(servingKeys, ", "))
		}
		number := func(to *int) {
			*to, err = parseNumber(v)
		}
		switch key {
		case "model":
			s.model = v
		case "gpu":
			s.gpu = v
		case "tensor-parallel":
			number(&s.tp)
		case "max-num-seqs":
			number(&s.seqs)
		case "max-num-batched-tokens":
			number(&s.tokens)
		case "num-gpu-blocks":
			number(&s.blocks)
		case "gpu-memory-utilization":
			if s.utilization, err = strconv.ParseFloat(v, 64); err != nil || !(s.utilization > 0 && s.utilization <= 1) {
				err = fmt.Errorf("want a fraction in (0, 1], got %q", v)
			}
		case "engine":
			s.engine, err = sim.ParseScheduler(v)
		case "server":
			if s.server = sim.Scheduler(v); !slices.Contains(cost.Servers(), s.server) {
				err = fmt.Errorf("want one of %v, got %q", cost.Servers(), v)
			}
		default:
			return "", s, usagef("--measurements: after %s: unknown key %q: want %s", path, key, strings.Join(servingKeys, ", "))
		}
		if err != nil {
			return "", s, usagef("--measurements: %s of %s: %v", key, path, err)
		}
	}
	return path, s, nil
}

// parseNumber reads an integer of at least 1.
func parseNumber(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("want an integer of at least 1, got %q", text)
	}
	return n, nil
}

// hasColumns reports whether the first line of a CSV has all of the columns.
func hasColumns(text []byte, columns []string) bool {
	header, err := csv.NewReader(bytes.NewReader(text)).Read()
	if err != nil {
		return false
	}
	for i, c := range header {
		header[i] = strings.TrimSpace(strings.TrimPrefix(c, "\ufeff"))
	}
	return !slices.ContainsFunc(columns, func(c string) bool { return !slices.Contains(header, c) })
}

// isServing reports whether a file has serving runs; isLog, whether it is a log of measured
// requests.
func isServing(text []byte) bool {
	required, _ := cost.ServingColumns()
	return hasColumns(text, required)
}

func isLog(text []byte) bool {
	required, _ := cost.LogColumns()
	return hasColumns(text, required)
}

// servingSource reads a file of serving runs and serves them.
func servingSource(ctx context.Context, text []byte, name string, s servingSetup) (*cost.Source, error) {
	if isLog(text) {
		if s.server != "" && s.server != sim.VLLMV1 {
			return nil, usagef("%s is a log of requests, which must be of vLLM V1: server=%s is for serving runs", name, s.server)
		}
		c, err := logCase(text, name, s)
		return &cost.Source{Name: name, Log: c, Server: s.engine}, err
	}
	if s.model != "" || s.tp != 0 || s.blocks != 0 {
		return nil, usagef("%s says of each row which model ran on how many cards: model, tensor-parallel and num-gpu-blocks are for logs of requests", name)
	}
	list, err := cost.ReadServing(bytes.NewReader(text), name)
	if err != nil {
		return nil, err
	}
	for i := range list {
		if s.gpu != "" {
			onCard(&list[i], s.gpu)
		}
		if list[i].Backend == "" && list[i].Version == "" {
			list[i].Backend = string(s.server)
		}
		if list[i].MaxSeqs == 0 {
			list[i].MaxSeqs = s.seqs
		}
		if list[i].MaxTokens == 0 {
			list[i].MaxTokens = s.tokens
		}
		if s.utilization != 0 {
			list[i].Utilization = s.utilization
		}
		server := cost.RulesOf(list[i].Backend)
		isVLLM := server.Known && (server.Server == sim.VLLMV1 || server.Server == cost.VLLMV0)
		if r := &list[i]; isVLLM && r.MaxSeqs > 0 && r.MaxTokens > 0 {
			if err := checkLimits(fmt.Sprintf("%s:%d", name, r.Line), r.MaxSeqs, r.MaxTokens); err != nil {
				return nil, err
			}
		}
	}
	if s.profile != nil {
		s.profile.TakeCards(list)
	}
	source := &cost.Source{Name: name, Server: s.engine}
	if s.choose {
		source.Serving, source.Chosen, err = s.profile.NewServingCases(ctx, list)
	} else {
		source.Serving, err = cost.NewServingCases(ctx, list)
	}
	return source, err
}

// onCard puts a run on the card of --gpu. If that is the name of cards of several sizes, the row's own card
// or card_gib says which of them it is. Otherwise the row's own card is overruled, and kept for the notes.
func onCard(r *cost.Serving, gpu string) {
	sizes := catalog.Sizes(gpu)
	own, err := catalog.FindCard(r.GPU)
	one := err == nil && len(catalog.Sizes(r.GPU)) == 0
	switch {
	case len(sizes) > 0 && strings.EqualFold(r.GPU, gpu):
		return
	case one && slices.ContainsFunc(sizes, func(c catalog.Card) bool { return c.Name == own.Name }):
		return
	}
	if card, e := catalog.FindCard(gpu); err == nil && e == nil && card.Name == own.Name && r.CardGiB == 0 {
		r.GPU = gpu // another name of it
		return
	}
	r.Overruled = r.GPU
	if r.CardGiB != 0 {
		r.Overruled += fmt.Sprintf(" of %g GiB", r.CardGiB)
	}
	r.GPU, r.CardGiB = gpu, 0
}

// logCase reads a log of measured requests.
func logCase(text []byte, name string, s servingSetup) (*cost.LogCase, error) {
	if s.model == "" || s.gpu == "" {
		return nil, usagef("%s is a log of requests, which does not say what served them: want %s,model=MODEL,gpu=CARD", name, name)
	}
	list, err := cost.ReadRequestLog(bytes.NewReader(text), name)
	if err != nil {
		return nil, err
	}
	model, err := catalog.FindModel(s.model)
	if err != nil {
		return nil, usageError{err}
	}
	card, err := catalog.FindCard(s.gpu)
	if err != nil {
		return nil, usageError{err}
	}
	d := cost.New(model, card)
	limits := sim.V1Limits(card.Name, card.Memory, sim.V1Engine)
	if s.tokens != 0 {
		limits.MaxNumBatchedTokens = s.tokens
	}
	limits.MaxNumSeqs = cmp.Or(s.seqs, min(limits.MaxNumSeqs, limits.MaxNumBatchedTokens)) // the default as in vLLM
	if err := checkLimits(name, limits.MaxNumSeqs, limits.MaxNumBatchedTokens); err != nil {
		return nil, err
	}
	if s.tp != 0 {
		d.TP = s.tp
	}
	if s.utilization != 0 {
		d.Utilization = s.utilization
	}
	d.Engine, d.MaxTokens, d.MaxSeqs = cost.VLLMV1Next, limits.MaxNumBatchedTokens, limits.MaxNumSeqs
	if d.BlocksGiven = s.blocks; s.blocks > 0 {
		heads := d.Heads() // of a block: all, or those of a group of layers
		if layout := d.Layout(); layout != nil && layout.Group > 0 {
			heads = layout.Group
		}
		if d.BlocksGiven > sim.MaxLedgerBlocks/heads {
			return nil, usagef("num-gpu-blocks %d of %s are more than a ledger counts", s.blocks, name)
		}
		d.BlocksGiven *= heads
	}
	c, err := cost.NewLogCase(d, limits, list)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// serving fits to serving runs. It calls served when the fit is done. Rows that cannot be projected are
// left out, and notes says after that which and why; a file of which no row can be projected is an error.
func (f *calibrateFlags) serving(ctx context.Context, out, notes io.Writer, texts [][]byte, names []string, setups []servingSetup, served func()) error {
	if f.gpu != "" {
		return usagef("--gpu chooses rows of throughputs: with serving runs each card is fitted by itself, and gpu=… after the name of a file names its card")
	}
	var start *cost.Profile
	if f.start != "" {
		var err error
		if start, err = readProfile(f.start); err != nil {
			return err
		}
	}
	var sources []*cost.Source
	var left bytes.Buffer // printed when the bar of progress is gone
	for i, text := range texts {
		source, err := servingSource(ctx, text, names[i], setups[i])
		if err != nil {
			return interrupted(err, "nothing is written")
		}
		kept := cost.Projected(source.Serving)
		if source.Log == nil && len(kept) == 0 {
			return interrupted(cost.Refused(source.Serving, names[i]), "nothing is written")
		}
		if n := len(source.Serving) - len(kept); n > 0 {
			fmt.Fprintf(&left, "%s: the fit is to the %d of %s that can be projected.\n", printableLine(names[i]), len(kept), words.Count(len(source.Serving), "row"))
			printRefused(&left, source.Serving)
		}
		source.Serving = kept
		sources = append(sources, source)
	}
	profile, err := cost.CalibrateServing(ctx, sources, start)
	served()
	if _, e := left.WriteTo(notes); err == nil {
		err = e
	}
	if err != nil {
		return interrupted(err, "nothing is written")
	}
	if err := output.Write(f.out, profile.Write); err != nil {
		return err
	}
	if f.asJSON {
		return printJSON(out, struct {
			Profile *cost.Profile `json:"profile"`
		}{profile})
	}
	printFits(out, profile)
	fmt.Fprintf(out, "\nWritten to %s.\n", printableLine(f.out))
	return nil
}

// printServingQuality prints the errors of a fit to serving runs, and which factors the rows do
// not determine.
func printServingQuality(w io.Writer, f *cost.Fit) {
	q := &f.Quality
	var off []string
	for _, of := range []struct {
		name string
		mape *float64
	}{{"TPOT", q.TPOTMAPE}, {"TTFT", q.TTFTMAPE}, {"throughput", q.ThroughputMAPE}} {
		if of.mape != nil {
			off = append(off, of.name+" "+known(of.mape))
		}
	}
	if len(off) > 0 {
		fmt.Fprintf(w, "  off on average: %s\n", strings.Join(off, ", "))
	}
	both := func(tpot, throughput *float64) string {
		if tpot == nil {
			return "throughput " + known(throughput)
		}
		return "TPOT " + known(tpot) + ", throughput " + known(throughput)
	}
	if q.CrossThroughput != nil || q.CrossTPOTMAPE != nil {
		fmt.Fprintf(w, "  each half of the rows by a fit to the other: %s\n", both(q.CrossTPOTMAPE, q.CrossThroughput))
	}
	if q.SourceThroughput != nil || q.SourceTPOTMAPE != nil {
		fmt.Fprintf(w, "  each source by a fit to the others, on average: %s; at most: %s\n", both(q.SourceTPOTMAPE, q.SourceThroughput), both(q.WorstSourceTPOT, q.WorstSourceRate))
	}
	if q.OtherThroughput != nil || q.OtherTPOTMAPE != nil {
		fmt.Fprintf(w, "  each card by a fit to the others, on average: %s; at most: %s\n", both(q.OtherTPOTMAPE, q.OtherThroughput), both(q.WorstTPOTMAPE, q.WorstThroughput))
	}
	if len(f.AtBound) > 0 {
		fmt.Fprintf(w, "  at the bound of physics, the card's peak or no time at all: %s\n", strings.Join(f.AtBound, ", "))
	}
	if len(f.Undetermined) > 0 {
		fmt.Fprintf(w, "  not determined by these rows, so close to the fit's starting values: %s\n", strings.Join(f.Undetermined, ", "))
	}
}

// runServingCases compares serving runs with projections.
func (f *simFlags) runServingCases(cmd *cobra.Command, text []byte, name string) error {
	w := cmd.OutOrStdout()
	ctx, clear := watched(cmd, "runs projected")
	defer clear()
	profile, err := readProfile(f.profile)
	if err != nil {
		return err
	}
	setup := servingSetup{gpu: f.gpu, profile: profile, choose: f.profile == ""}
	if server := sim.Scheduler(f.profile); slices.Contains(cost.Servers(), server) {
		setup.server = server
	}
	source, err := servingSource(ctx, text, name, setup)
	clear()
	if err != nil {
		return interrupted(err, "nothing is written")
	}
	for _, c := range source.Serving {
		if c.Error != "" {
			continue
		}
		fit := profile.For(&c.Deployment.Card, c.Rules.Server)
		if err := c.Predict(&fit); err != nil {
			return fmt.Errorf("%s:%d: %w", name, c.Line, err)
		}
	}
	summary := cost.SummarizeServing(source.Serving)
	if summary.Refused == summary.Rows {
		return cost.Refused(source.Serving, name)
	}
	if f.asJSON {
		err = printJSON(w, struct {
			Cases   []*cost.ServingCase `json:"cases"`
			Summary cost.ServingSummary `json:"summary"`
			Notes   []string            `json:"notes"` // assumptions about the rows, the source of the times, and the error to expect
		}{source.Serving, summary, servingNotes(source)})
	} else {
		printServingCases(w, source, &summary)
	}
	if err == nil && summary.Refused > 0 {
		err = fmt.Errorf("%s of %s cannot be projected", words.Count(summary.Refused, "row"), name)
	}
	return err
}

// printServingCases prints projected and measured times side by side.
func printServingCases(w io.Writer, source *cost.Source, summary *cost.ServingSummary) {
	cases := source.Serving
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "line\tmodel\tcards\tisl\tosl\tat once\tTTFT ms\tmeasured\toff\tTPOT ms\tmeasured\toff\ttokens/s\toff\t")
	var ttft, tpot []float64
	for _, c := range cases {
		ttft, tpot = append(ttft, c.PredictedTTFT, c.TTFT), append(tpot, c.PredictedTPOT, c.TPOT)
	}
	for _, c := range cases {
		atOnce := c.Concurrency
		if atOnce == 0 {
			atOnce = c.Requests
		}
		head := fmt.Sprintf("%d\t%s\t%d × %s\t%s\t%s\t%s", c.Line, printableLine(c.Model), c.TP, printableLine(c.GPU), words.Number(c.ISL), words.Number(c.OSL), words.Number(atOnce))
		if c.Error != "" {
			fmt.Fprintf(table, "%s\trefused\t–\t–\t–\t–\t–\t–\t–\t\n", head)
			continue
		}
		of := func(predicted, measured float64, off *float64, decimals int) string {
			if off == nil {
				return words.Decimal(predicted, decimals) + "\t–\t–"
			}
			return words.Decimal(predicted, decimals) + "\t" + words.Decimal(measured, decimals) + "\t" + signed(off)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t\n", head,
			of(c.PredictedTTFT, c.TTFT, c.TTFTOff, words.Decimals(ttft, 3)), of(c.PredictedTPOT, c.TPOT, c.TPOTOff, words.Decimals(tpot, 3)), words.Whole(c.PredictedTokens), signed(c.TokensOff))
	}
	table.Flush()
	fmt.Fprintln(w)
	printRefused(w, cases)
	for _, sentence := range servingNotes(source) {
		fmt.Fprintln(w, printableLine(sentence))
	}
	printServingSummary(w, summary)
}

// printRefused prints the reasons for which rows cannot be projected, each once with its lines.
func printRefused(w io.Writer, cases []*cost.ServingCase) {
	lines := map[string][]string{}
	var reasons []string
	for _, c := range cases {
		if c.Error == "" {
			continue
		}
		if lines[c.Error] == nil {
			reasons = append(reasons, c.Error)
		}
		lines[c.Error] = append(lines[c.Error], strconv.Itoa(c.Line))
	}
	for _, reason := range reasons {
		at := "Line"
		if len(lines[reason]) > 1 {
			at = "Lines"
		}
		fmt.Fprintf(w, "%s %s cannot be projected: %s\n", at, strings.Join(lines[reason], ", "), printableLine(reason))
	}
}

// servingNotes returns the assumptions about the rows of a file, the source of their times and the
// error to expect, each once.
func servingNotes(source *cost.Source) (said []string) {
	say := func(sentence string) {
		if !slices.Contains(said, sentence) {
			said = append(said, sentence)
		}
	}
	for i := range source.Chosen {
		say(source.Chosen[i].Note())
	}
	for _, c := range source.Serving {
		if c.Error != "" {
			continue
		}
		say(c.Rules.Note(cmp.Or(string(c.Chosen), c.Backend)))
		if c.TakenFor != "" {
			say(c.GPU + " is taken for " + c.TakenFor + ": --gpu or a column card_gib says which it is.")
		}
		if card := c.Deployment.Card.Name; c.Overruled != "" && c.Overruled != card {
			say("The file says " + c.Overruled + ": --gpu puts these rows on " + card + ".")
		}
		say("Time by " + c.Calibrated + ".")
		if c.Other != "" {
			say("On " + c.Deployment.Card.Name + " that is a fit to " + c.Other + ".")
		}
		say("Error to expect on " + c.Deployment.Card.Name + ": " + c.Expected + ".")
		for _, note := range c.Notes {
			say(note)
		}
	}
	return said
}

func printServingSummary(w io.Writer, s *cost.ServingSummary) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "%s\n", words.Count(s.Rows-s.Refused, "row"))
	fmt.Fprintln(table, "\trows\tmean error\twith its sign\tlargest\t")
	for _, r := range []struct {
		name                string
		rows                int
		mape, mean, largest *float64
	}{
		{"TTFT", s.TTFTRows, s.TTFTMAPE, s.TTFTMean, s.TTFTMaxError},
		{"TPOT", s.TPOTRows, s.TPOTMAPE, s.TPOTMean, s.TPOTMaxError},
		{"throughput", s.ThroughputRows, s.ThroughputMAPE, s.ThroughputMean, s.ThroughputMaxError},
	} {
		if r.rows > 0 {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t\n", r.name, words.Number(r.rows), known(r.mape), signed(r.mean), signed(r.largest))
		}
	}
	table.Flush()
}

// runLogCases compares a log of measured requests with its projection.
func (f *simFlags) runLogCases(cmd *cobra.Command, text []byte, name string, s servingSetup) error {
	w := cmd.OutOrStdout()
	ctx, clear := watched(cmd, "requests")
	defer clear()
	profile, err := readProfile(f.profile)
	if err != nil {
		return err
	}
	c, err := logCase(text, name, s)
	if err != nil {
		return err
	}
	fit := profile.For(&c.Deployment.Card, c.Deployment.Engine.Scheduler())
	report, err := c.Report(ctx, &fit)
	clear()
	if errors.Is(err, context.Canceled) {
		return interrupted(err, "nothing is written")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if f.asJSON {
		return printJSON(w, report)
	}
	sum := &report.Summary
	fmt.Fprintf(w, "%s: %s, on %d × %s with %s of %s, by the rules of vLLM V1.\nTime by %s.\n", printableLine(name), words.Count(sum.Requests, "request"), c.Deployment.TP, c.Deployment.Card.Name,
		words.Count(c.Memory.Blocks/max(1, c.Deployment.Heads()), "block"), words.Count(c.Deployment.BlockSize, "token"), printableLine(fit.Of))
	if sum.Other != "" {
		fmt.Fprintf(w, "That is a fit to %s.\n", sum.Other)
	}
	fmt.Fprintf(w, "Error to expect: %s.\n", sum.Expected)
	for _, note := range report.Notes {
		fmt.Fprintln(w, printableLine(note))
	}
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	lines := []string{"", "projected", "measured", "off", "by request"}
	for _, r := range []struct {
		name                string
		scale               float64 // of the unit
		projected           float64
		measured, off, each *float64
	}{
		{"mean TTFT, s", 1, sum.TTFT, sum.MeasuredTTFT, sum.TTFTError, sum.RequestTTFT},
		{"mean TPOT, ms", 1e3, sum.TPOT, sum.MeasuredTPOT, sum.TPOTError, sum.RequestTPOT},
		{"mean time of a request, s", 1, sum.E2E, sum.MeasuredE2E, sum.E2EError, sum.RequestE2E},
		{"duration, s", 1, sum.Duration, sum.MeasuredDuration, sum.DurationError, nil},
	} {
		if r.measured == nil {
			continue
		}
		projected, measured := r.scale*r.projected, r.scale**r.measured
		decimals := words.Decimals([]float64{projected, measured}, 4)
		for i, text := range []string{r.name, words.Decimal(projected, decimals), words.Decimal(measured, decimals), signed(r.off), known(r.each)} {
			lines[i] += "\t" + text
		}
	}
	for _, line := range lines {
		fmt.Fprintln(table, line+"\t")
	}
	table.Flush()
	fmt.Fprintln(w, "\nBy request: the mean error of each request's own time.")
	return nil
}
