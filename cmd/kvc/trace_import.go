package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvcompress/internal/words"
	"kvcompress/trace"
	"kvcompress/trace/requestlog"
	"kvcompress/trace/tokenizer"
)

// importFlags are the flags of kvc trace import.
type importFlags struct {
	format, fields, unit   string
	prefixBlock, take      int
	tokenizer              string
	bytesPerToken          float64
	promptLen, outputLen   int
	sel                    trace.Selection
	arrivals               string
	out, name, description string
	licence                string
	asJSON                 bool
}

func newTraceImportCmd() *cobra.Command {
	var f importFlags
	var formats, names []string
	for _, format := range requestlog.Formats() {
		formats = append(formats, fmt.Sprintf("  %-17s  %s", format.Name, format.Title))
		names = append(names, format.Name)
	}
	cmd := &cobra.Command{
		Use:   "import FILE -o DIR",
		Short: "Make a trace from a log of requests",
		Long: `Import reads a log of requests to a language model, plain or compressed with gzip, and
writes a trace with their arrival times and numbers of tokens, and with their sessions
and prefixes if the log has them. FILE may also be the folder of a trace or a bundled
trace, from which the requests are taken without tensors.

The format is detected from the file's content unless --format names it. Formats are
` + strings.Join(formats, "\n") + `
docs/importing.md describes them.

If a log has texts and no numbers of tokens, these are estimated from the lengths of the
texts, which the output says, or counted with --tokenizer. Failed requests and requests
without prompt or output tokens are skipped and counted. Anything else that is wrong is an
error, with its line and column.

Arrival times count from the first request, or from --from. The flags that select and
change requests are applied in the order of the list below.`,
		Example: `  kvc trace import AzureLLMInferenceTrace_code.csv -o code
  kvc trace import AzureLLMInferenceTrace_conv_1week.csv.gz --from 24h --to 25h --sample 0.1 -o hour

  # any CSV or JSON lines: which fields, and the unit of the times
  kvc trace import log.csv --fields arrival=ts:ms,prompt=in,output=out -o log
  kvc trace import log.jsonl --fields arrival=created,prompt=usage.prompt_tokens,output=usage.completion_tokens -o log

  # conversations, which have texts and no times
  kvc trace import sharegpt.json --tokenizer ./Llama-3.1-8B --arrivals poisson:2/s -o chats

  # twice the load, and no prompt of more than 8000 tokens
  kvc trace import code --speedup 2 --max-prompt 8000 -o code-twice

  # a log without times
  kvc trace import lengths.csv --format vidur --arrivals poisson:4/s -o four`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "columns" {
			name = "fields" // the flag's old name
		}
		return pflag.NormalizedName(name)
	})
	flags.StringVar(&f.format, "format", "", "`format` of the file")
	flags.StringVar(&f.fields, "fields", "", "`columns` of a CSV, or members of JSON objects: arrival=NAME:UNIT,prompt=NAME,output=NAME,session=NAME,hashes=NAME; a member of a member is as usage.prompt_tokens, and all but prompt and output may be left out (--columns is the same)")
	flags.StringVar(&f.unit, "time-unit", "", "`unit` of the times of such a log (default s), of Mooncake's (default ms) or Qwen-Bailian's (default s): s, ms, us or ns")
	flags.IntVar(&f.prefixBlock, "prefix-block", 0, "`tokens` of a prompt for each prefix hash (default 512 for Mooncake's, 16 for Qwen-Bailian's)")
	flags.IntVar(&f.take, "run", 0, "`number` of the run to take of a benchmark's result that holds several, from 1")
	flags.StringVar(&f.tokenizer, "tokenizer", "", "count the tokens of texts with this tokenizer: a tokenizer.json, its `folder`, or a llama2.c tokenizer.bin")
	flags.Float64Var(&f.bytesPerToken, "bytes-per-token", 0, "or estimate them at this `number` of bytes of UTF-8 a token (default 4: characters of English)")
	flags.IntVar(&f.promptLen, "prompt-tokens", 0, "`tokens` of a prompt whose length the log does not have")
	flags.IntVar(&f.outputLen, "output-tokens", 0, "`tokens` of an output whose length the log does not have")
	flags.DurationVar(&f.sel.From, "from", 0, "leave out requests before this `time`, counted from the first request")
	flags.DurationVar(&f.sel.To, "to", 0, "leave out requests at this `time` or later")
	flags.Float64Var(&f.sel.Sample, "sample", 0, "take this `fraction` of the requests, drawn at random; sessions are kept whole")
	flags.Uint64Var(&f.sel.Seed, "seed", 1, "seed of all random numbers, a `number`")
	flags.IntVar(&f.sel.Limit, "limit", 0, "take at most this `number` of requests, the first ones")
	flags.IntVar(&f.sel.MaxPrompt, "max-prompt", 0, "shorten longer prompts to this `number` of tokens")
	flags.IntVar(&f.sel.MaxOutput, "max-output", 0, "shorten longer outputs to this `number` of tokens")
	flags.Float64Var(&f.sel.Speedup, "speedup", 0, "divide the times between arrivals by this `factor`: 2 is twice the load")
	flags.StringVar(&f.arrivals, "arrivals", "", "or replace the arrival times by a `rule`: fixed:TIME, poisson:TIME or gamma:TIME,CV, where TIME is the mean time between two, or a rate as in 20/s")
	flags.StringVarP(&f.out, "out", "o", "", "the trace's `folder`")
	writes(cmd, outputFolder, "out")
	flags.StringVar(&f.name, "name", "", "the trace's name (default: that of its folder)")
	flags.StringVar(&f.description, "description", "", "`text` about the log, which the trace stores")
	flags.StringVar(&f.licence, "licence", "", "the log's `licence`, which the trace stores")
	flags.BoolVar(&f.asJSON, "json", false, "print what was made as JSON")
	suggest(cmd, "format", names...)
	suggest(cmd, "time-unit", "s", "ms", "us", "ns")
	return cmd
}

// imported is what `kvc trace import --json` prints.
type imported struct {
	writtenRequests
	Format           string `json:"format"`
	Model            string `json:"model,omitempty"`
	Rows             int    `json:"rows"` // read from the log
	Empty            int    `json:"rows_empty"`
	Failed           int    `json:"rows_failed"`
	Reordered        int    `json:"rows_reordered"`
	ShortenedPrompts int    `json:"shortened_prompts"`
	ShortenedOutputs int    `json:"shortened_outputs"`
	// Notes are the assumptions that were made, such as estimated lengths.
	Notes []string `json:"notes,omitempty"`
}

// whyNone says which requests of a source there were, if none is left.
func whyNone(source *requestSource, selected *trace.Selected) string {
	var why []string
	if source.log != nil && source.log.Stats.Empty+source.log.Stats.Failed > 0 {
		why = append(why, leftOut(&source.log.Stats))
	}
	if selected.Seen > 0 {
		why = append(why, words.Count(selected.Seen, "request")+" not selected by --from, --to or --sample")
	}
	if len(why) == 0 {
		return "; it has no rows"
	}
	return "; " + strings.Join(why, ", ")
}

func (f *importFlags) run(cmd *cobra.Command, path string) error {
	o, err := f.options(cmd)
	if err != nil {
		return err
	}
	bar := newBytesBar(cmd.ErrOrStderr(), path)
	defer bar.clear()
	o.Progress = bar.set
	source, err := openRequests(cmd.Context(), path, o)
	if err != nil {
		return err
	}
	defer source.close()
	if source.log != nil && !source.log.Timed {
		switch {
		case f.sel.Arrivals == nil:
			return usagef("%s has no arrival times: give a rule for them, such as --arrivals poisson:4/s", path)
		case f.sel.From > 0 || f.sel.To > 0:
			return usagef("%s has no arrival times, which --from and --to need", path)
		}
	}
	f.sel.PrefixBlockTokens = source.prefixBlock()
	var selected trace.Selected
	meta := func() trace.Meta {
		m := trace.Meta{Name: f.name, Model: source.modelName(), PrefixBlockTokens: source.prefixBlock()}
		if m.Name == "" {
			m.Name = folderName(f.out)
		}
		m.Source = trace.Source{Kind: trace.Imported, Description: f.sourceDescription(cmd, source), Licence: f.licence}
		return m
	}
	written, err := writeRequests(cmd.Context(), f.out, meta, f.sel.Apply(source.requests, &selected))
	bar.clear()
	if errors.Is(err, errNoRequests) {
		return fmt.Errorf("%s: %w%s", source.name, err, whyNone(source, &selected))
	}
	if err != nil {
		return err
	}
	done := imported{
		writtenRequests: written, Format: source.format, Model: source.modelName(), Rows: selected.Seen,
		ShortenedPrompts: selected.ShortenedPrompts, ShortenedOutputs: selected.ShortenedOutputs,
	}
	done.Format, _, _ = strings.Cut(source.format, ":")
	if source.log != nil {
		stats := source.log.Stats
		done.Rows, done.Empty, done.Failed, done.Reordered = stats.Rows, stats.Empty, stats.Failed, stats.Reordered
		done.Notes = source.log.Notes()
	}
	if f.asJSON {
		return printJSON(cmd.OutOrStdout(), done)
	}
	return done.print(cmd, source)
}

// options checks the flags, without opening the log, and returns the import's options.
func (f *importFlags) options(cmd *cobra.Command) (requestlog.Options, error) {
	o := requestlog.Options{
		Format: f.format, PrefixBlockTokens: f.prefixBlock, Run: f.take, Retimed: f.arrivals != "",
		BytesPerToken: f.bytesPerToken, PromptTokens: f.promptLen, OutputTokens: f.outputLen,
	}
	if f.out == "" {
		return o, usagef("-o is missing: the folder to write the trace to")
	}
	for _, name := range []string{"prefix-block", "run", "bytes-per-token", "prompt-tokens", "output-tokens", "to", "sample", "limit", "max-prompt", "max-output", "speedup"} {
		if flag := cmd.Flag(name); flag.Changed && (flag.Value.String() == "0" || flag.Value.String() == "0s") {
			return o, usagef("--%s 0: want more than 0, or leave it out", name)
		}
	}
	if f.prefixBlock < 0 {
		return o, usagef("--prefix-block is %d: want at least 1", f.prefixBlock)
	}
	for _, name := range []string{"fields", "time-unit", "tokenizer", "arrivals"} {
		if flag := cmd.Flag(name); flag.Changed && flag.Value.String() == "" {
			return o, usagef("--%s is empty", name)
		}
	}
	var err error
	if f.fields != "" {
		if o.Fields, err = requestlog.ParseFields(f.fields); err != nil {
			return o, usagef("--fields: %w", err)
		}
	}
	if f.tokenizer != "" {
		if f.bytesPerToken != 0 {
			return o, usagef("--tokenizer and --bytes-per-token exclude each other")
		}
		t, err := tokenizer.Load(f.tokenizer)
		if err != nil {
			return o, err
		}
		o.Tokenizer = t
	}
	if f.unit != "" {
		if o.TimeUnit, err = requestlog.ParseUnit(f.unit); err != nil {
			return o, usagef("--time-unit: %w", err)
		}
	}
	if f.arrivals != "" {
		arrivals, err := parseArrivals(f.arrivals)
		if err != nil {
			return o, usagef("--arrivals: %w", err)
		}
		f.sel.Arrivals = &arrivals
	}
	if f.sel.Speedup != 0 && f.sel.Arrivals != nil {
		return o, usagef("--speedup and --arrivals exclude each other")
	}
	if err := f.sel.Check(); err != nil {
		return o, usageError{err}
	}
	if err := trace.CheckFree(f.out); errors.Is(err, trace.ErrTaken) {
		return o, usageError{err}
	}
	return o, nil
}

// sourceDescription returns the text about the source for the trace to keep.
func (f *importFlags) sourceDescription(cmd *cobra.Command, source *requestSource) string {
	var b strings.Builder
	if f.description != "" {
		b.WriteString(f.description + "; ")
	}
	fmt.Fprintf(&b, "imported from %s (%s)", source.name, source.format)
	if log := source.log; log != nil && log.Timed {
		// The time by the log's clock, since the trace's arrivals count from 0.
		if log.Calendar {
			fmt.Fprintf(&b, ", whose first request came on %s", time.Unix(0, log.Stats.FirstNS).UTC().Format(time.RFC3339Nano))
		} else if log.Stats.FirstNS > 0 {
			fmt.Fprintf(&b, ", whose first request came at %v", time.Duration(log.Stats.FirstNS))
		}
	}
	if source.log != nil && source.log.Stats.Estimated > 0 {
		b.WriteString(", whose tokens are estimated from the length of texts")
	}
	if given := givenFlags(cmd, "format", "fields", "time-unit", "prefix-block", "out", "name", "description", "licence", "json"); given != "" {
		b.WriteString(", with" + given)
	}
	return b.String()
}

func (d imported) print(cmd *cobra.Command, source *requestSource) error {
	out := cmd.OutOrStdout()
	fmt.Fprintln(out, printableLine(d.String()))
	fmt.Fprintf(out, "  from %s (%s)\n", printableLine(source.name), source.format)
	if d.Empty+d.Failed > 0 {
		fmt.Fprintf(out, "  of %s, %s without prompt or output tokens and %s that failed are left out\n", words.Count(d.Rows, "row"), words.Number(d.Empty), words.Number(d.Failed))
	}
	if d.Reordered > 0 {
		fmt.Fprintf(out, "  %s put in order of arrival\n", words.Count(d.Reordered, "row"))
	}
	if d.ShortenedPrompts+d.ShortenedOutputs > 0 {
		fmt.Fprintf(out, "  %s and %s shortened\n", words.Count(d.ShortenedPrompts, "prompt"), words.Count(d.ShortenedOutputs, "output"))
	}
	for _, note := range d.Notes {
		fmt.Fprintf(out, "  note: %s\n", printableLine(note))
	}
	return nil
}
