package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvcompress/dtype"
	"kvcompress/internal/words"
	"kvcompress/trace"
	"kvcompress/trace/llama"
	"kvcompress/trace/record"
	"kvcompress/trace/regular"
)

// recordFlags are the flags of kvc trace record.
type recordFlags struct {
	model, tokenizer string

	prompts     []string
	promptsFile string
	tokenIDs    []string

	maxTokens []int
	ignoreEOS bool
	sampling  record.Sampling

	arrival  []time.Duration
	arrivals string

	out, dtype, name, description, licence string
	asJSON                                 bool
}

func newTraceRecordCmd() *cobra.Command {
	var f recordFlags
	cmd := &cobra.Command{
		Use:   "record --model PATH --prompt TEXT… -o DIR",
		Short: "Run a language model and record its queries, keys and values",
		Long: `Record runs a model of the Llama family on the CPU, prints the text that it generates, and
writes the queries, keys and values of every token as a trace. Queries and keys are
recorded after the rotary embedding, as a KV cache holds them.

A model is either of
  - a llama2.c checkpoint (.bin), with its tokenizer.bin as --tokenizer;
  - a Hugging Face folder: config.json, model.safetensors (or several files and
    model.safetensors.index.json) in f32, f16 or bf16, and tokenizer.json.
    Llama, Mistral, Qwen2 and Qwen3 architectures are known, with
    sliding windows and linear, dynamic, Llama 3 and YaRN rotary scaling.

Each prompt becomes a request of the trace, with the ids 1, 2, 3, … A request ends at an
end-of-text token, at --max-tokens, or when all positions of the model are filled. Its
last token is not fed back, so p prompt and o output tokens make p+o-1 tokens in the
trace.

Stored numbers are rounded to --dtype (to nearest, ties to even), f16 unless it is
given; f32 stores exactly what was computed.`,
		Example: `  # a story by a small model
  kvc trace record --model stories260K.bin --tokenizer tok512.bin \
      --prompt "Once upon a time" --max-tokens 100 -o my-story

  # three requests, 50 ms apart, by a model in Hugging Face's format
  kvc trace record --model Llama-3.2-1B --prompts questions.txt --arrivals fixed:50ms -o questions

  # token ids made elsewhere, and random numbers to choose the next ones
  kvc trace record --model Llama-3.2-1B --token-ids 128000,9906,1917 --temperature 0.8 --seed 1 -o hello
  scripts/recall-prompt.py | kvc trace record --model recall --token-ids @- --max-tokens 24 -o recall`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.model, "model", "", "`path` of a llama2.c checkpoint or of a Hugging Face folder")
	flags.StringVar(&f.tokenizer, "tokenizer", "", "`path` of a tokenizer.bin or tokenizer.json (default: the one in the model's folder)")
	flags.StringArrayVar(&f.prompts, "prompt", nil, "`text` to continue; may be repeated")
	flags.StringVar(&f.promptsFile, "prompts", "", "`file` with a prompt on each line; - is standard input")
	flags.StringArrayVar(&f.tokenIDs, "token-ids", nil, "a prompt as token `ids`, such as 1,2,3, or @FILE for the ids in a file; @- is standard input; may be repeated")
	flags.IntSliceVar(&f.maxTokens, "max-tokens", []int{64}, "the most tokens to generate: one `number`, or one for each request: 50,80,…")
	flags.BoolVar(&f.ignoreEOS, "ignore-eos", false, "continue after the end-of-text token")
	flags.Float64Var(&f.sampling.Temperature, "temperature", 0, "`number` that divides the logits; 0 takes the likeliest token")
	flags.Float64Var(&f.sampling.TopP, "top-p", 1, "choose among the likeliest tokens that together have this `probability`")
	flags.Uint64Var(&f.sampling.Seed, "seed", 1, "seed of the random choices if the temperature is above 0, a `number`")
	flags.DurationSliceVar(&f.arrival, "arrival", nil, "`times` at which the requests arrive, such as 0s,50ms,90ms (default: all at 0)")
	flags.StringVar(&f.arrivals, "arrivals", "", "`rule` by which they arrive: fixed:TIME, poisson:TIME or gamma:TIME,CV, where TIME is the mean time between two, or a rate as in 20/s")
	flags.StringVarP(&f.out, "out", "o", "", "the trace's `folder`")
	writes(cmd, outputFolder, "out")
	flags.StringVar(&f.dtype, "dtype", "f16", "`format` of the stored numbers: f32, f16 or bf16")
	flags.StringVar(&f.name, "name", "", "`name` of the trace (default: that of its folder)")
	flags.StringVar(&f.description, "description", "", "`text` about the trace's source, before the command line that is put there")
	flags.StringVar(&f.licence, "licence", "", "`licence` of what the model says, for the trace's source")
	flags.BoolVar(&f.asJSON, "json", false, "print the results as JSON")
	return cmd
}

// usagef returns a usageError.
func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

func (f *recordFlags) run(cmd *cobra.Command) error {
	if err := f.check(cmd.Flags().Changed("top-p")); err != nil {
		return err
	}
	format, err := dtype.Parse(f.dtype)
	if err != nil || format != dtype.F32 && format != dtype.F16 && format != dtype.BF16 {
		return usagef("--dtype: %q: want f32, f16 or bf16", f.dtype)
	}
	// Check the command line before reading the model, which may take minutes.
	p, err := f.readPrompts(cmd.InOrStdin())
	if err != nil {
		return err
	}
	requests, err := f.requests(p.len())
	if err != nil {
		return err
	}
	if err := trace.CheckFree(f.out); err != nil {
		return usageError{err}
	}
	model, err := llama.Load(f.model)
	if err != nil {
		return err
	}
	if unused := model.Unused(); len(unused) > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s of the model's files %s not used, such as %s: a %s has no place for it.\n",
			words.Count(len(unused), "tensor"), words.Do(len(unused), "are"), unused[0], model.Config().Format)
	}
	tok, err := tokenizerOf(f.tokenizer, f.model, len(f.tokenIDs) == 0)
	if err != nil {
		return err
	}
	if tok != nil && tok.VocabSize() > model.Config().Vocab {
		fmt.Fprintf(cmd.ErrOrStderr(), "The tokenizer has %s and the model only %s: do they belong together?\n", words.Count(tok.VocabSize(), "token"), words.Number(model.Config().Vocab))
	}
	prompts, err := p.encode(requests, tok)
	if err != nil {
		return err
	}

	out := newRecordOutput(cmd, model.Config(), tok, prompts, f.asJSON)
	opts := record.Options{
		Name:        f.name,
		Model:       strings.TrimSuffix(filepath.Base(f.model), ".bin"),
		DType:       format,
		Description: f.sourceDescription(cmd),
		Licence:     f.licence,
		Sampling:    f.sampling,
		OnToken:     out.token,
		OnRequest:   out.request,
	}
	if opts.Name == "" {
		opts.Name = folderName(f.out)
	}
	if !f.ignoreEOS {
		opts.Stop = model.Config().EOS
	}
	if err := record.Check(model.Config(), prompts, opts); err != nil {
		if len(f.tokenIDs) > 0 {
			return usageError{err}
		}
		return err
	}
	err = record.Record(cmd.Context(), f.out, model, prompts, opts)
	if err != nil {
		out.abandon()
	}
	switch {
	case errors.Is(err, context.Canceled):
		return interrupted(err, "nothing is left in "+f.out)
	case errors.Is(err, trace.ErrTooLarge):
		return fmt.Errorf("%w; try --dtype bf16", err)
	case err != nil:
		return err
	}
	return out.finish(f.out)
}

// check returns the errors of the command line that can be found without reading a file.
func (f *recordFlags) check(topP bool) error {
	sources := 0
	for _, given := range []bool{len(f.prompts) > 0, f.promptsFile != "", len(f.tokenIDs) > 0} {
		if given {
			sources++
		}
	}
	switch {
	case f.model == "":
		return usagef("--model is missing")
	case f.out == "":
		return usagef("-o is missing: the folder to write the trace to")
	case sources != 1:
		return usagef("want prompts from one of --prompt, --prompts and --token-ids")
	case len(f.arrival) > 0 && f.arrivals != "":
		return usagef("--arrival and --arrivals exclude each other")
	case topP && f.sampling.TopP == 0:
		return usagef("--top-p 0: want more than 0, up to 1")
	}
	for flag, path := range map[string]string{"model": f.model, "tokenizer": f.tokenizer} {
		if _, err := os.Stat(path); path != "" && err != nil {
			return usagef("--%s %s: %w", flag, path, regular.Short(err))
		}
	}
	if err := f.sampling.Check(); err != nil {
		return usageError{err}
	}
	return nil
}
