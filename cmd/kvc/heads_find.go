package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"kvcompress/bench/models"
	"kvcompress/heads"
	"kvcompress/internal/words"
	"kvcompress/trace"
	"kvcompress/trace/llama"
	"kvcompress/traces"
)

// findFlags are the flags of kvc heads find.
type findFlags struct {
	model string

	rep    heads.Repetition
	ratios heads.RazorOptions

	// The prompt of a model.
	distinct bool
	ids      string
	bos      int
	seed     uint64

	request string // of a trace
	out     string
	asJSON  bool
}

func newHeadsFindCmd() *cobra.Command {
	f := findFlags{rep: heads.Published(), ratios: heads.PublishedRatios()}
	cmd := &cobra.Command{
		Use:   "find {--model PATH | TRACE} -o MAP.json",
		Short: "Find the retrieval heads of a model, as RazorAttention does",
		Long: `Find runs a model over BOS and a random sequence of --period tokens, --repeats times over.
It scores each query head by the attention weight, averaged over the tokens after the
first period, that it gives
  echo       to earlier copies of the token,
  induction  to the tokens after these copies.
A KV head has the highest score of its query heads. Retrieval heads, which are full in the
map, are the fraction --induction-ratio of all KV heads with the highest induction score
and the fraction --echo-ratio with the highest echo score. The others are streaming.

A model is one that kvc trace record takes, or a bundled one: ` + strings.Join(models.Names(), ", ") + `.
It takes memory for the model, and in binary32 for twice the keys and once the values of
the prompt. (The keys may take at most 16 GiB.) Token ids are drawn from 10000 to
10000 + --period, or if the vocabulary is smaller, from all of it but BOS.

A TRACE, a folder or the name of a bundled one, must have been recorded on such a prompt.
Its first 1 + repeats × period tokens are read, layer by layer.`,
		Example: `  kvc heads find --model ./Llama-3.2-1B -o map.json
  kvc heads find --model recall-0 --period 200 --ids 8:255 --distinct -o map.json
  kvc heads find ./repeated --period 500 --repeats 4 -o map.json`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeTraces,
		RunE:              func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&f.model, "model", "", "`path` of a llama2.c checkpoint or of a Hugging Face folder, or the name of a bundled model")
	fs.IntVar(&f.rep.Period, "period", f.rep.Period, "`tokens` of the sequence")
	fs.IntVar(&f.rep.Repeats, "repeats", f.rep.Repeats, "`times` that the sequence occurs")
	fs.Float64Var(&f.ratios.InductionRatio, "induction-ratio", f.ratios.InductionRatio, "`fraction` of the KV heads selected by induction score")
	fs.Float64Var(&f.ratios.EchoRatio, "echo-ratio", f.ratios.EchoRatio, "`fraction` of the KV heads selected by echo score")
	fs.BoolVar(&f.distinct, "distinct", false, "draw the ids without replacement (the published code draws with replacement)")
	fs.StringVar(&f.ids, "ids", "", "draw from these ids: `FROM:TO`, both included")
	fs.IntVar(&f.bos, "bos", 0, "`id` of the first token (default: the model's BOS)")
	fs.Uint64Var(&f.seed, "seed", 0, "seed of the ids")
	fs.StringVar(&f.request, "request", "", "`id` of the trace's request (default: its first)")
	fs.StringVarP(&f.out, "out", "o", "", "`file` to write the map to")
	fs.BoolVar(&f.asJSON, "json", false, "print the map as JSON, head by head")
	writes(cmd, outputFile, "out", "json")
	return cmd
}

func (f *findFlags) run(cmd *cobra.Command, args []string) error {
	switch {
	case f.model == "" && len(args) == 0:
		return usagef("want a model, --model PATH, or a TRACE")
	case f.model != "" && len(args) > 0:
		return usagef("--model and a trace exclude each other")
	case f.out == "":
		return usagef("-o is missing: the file to write the map to")
	}
	for _, err := range []error{f.rep.Check(), f.ratios.Check()} {
		if err != nil {
			return usageError{err}
		}
	}
	find := f.inModel
	if len(args) > 0 {
		find = func(cmd *cobra.Command) (*heads.Map, error) { return f.inTrace(cmd, args[0]) }
	}
	m, err := find(cmd)
	switch {
	case errors.Is(err, context.Canceled):
		return interrupted(err, "nothing is written")
	case err != nil:
		return err
	}
	if err := printHeadMap(cmd, m, f.asJSON); err != nil {
		return err
	}
	return writeWhole(cmd, f.out, m.Write)
}

func (f *findFlags) inModel(cmd *cobra.Command) (*heads.Map, error) {
	if f.request != "" {
		return nil, usagef("--request needs a TRACE")
	}
	model, err := loadModel(f.model)
	if err != nil {
		return nil, err
	}
	cfg := model.Config()
	if tokens := f.rep.Tokens(); tokens > cfg.MaxPositions {
		return nil, usagef("1 + %d × %d = %s do not fit the model's %s: want a --period of at most %d",
			f.rep.Repeats, f.rep.Period, words.Count(tokens, "token"), words.Count(cfg.MaxPositions, "position"), (cfg.MaxPositions-1)/f.rep.Repeats)
	}
	for _, window := range cfg.Windows {
		if tokens := f.rep.Tokens(); window > 0 && tokens > window {
			return nil, usagef("1 + %d × %d = %s do not fit the sliding window of some of the model's layers, which is %d: want a --period of at most %d",
				f.rep.Repeats, f.rep.Period, words.Count(tokens, "token"), window, (window-1)/f.rep.Repeats)
		}
	}
	draw, err := f.draw(cmd, cfg)
	if err != nil {
		return nil, err
	}
	prompt, err := f.rep.Prompt(draw)
	if err != nil {
		return nil, usageError{err}
	}
	bar := newBar(cmd.ErrOrStderr(), int64(len(prompt)), "tokens", progressbar.OptionShowCount())
	scores, err := heads.FromModel(cmd.Context(), model.NewSession(), cfg.Shape(), f.rep, prompt, func(n int) { _ = bar.Add(n) })
	_ = bar.Clear()
	if err != nil {
		return nil, err
	}
	kind := "random"
	if f.distinct {
		kind = "distinct random"
	}
	source := fmt.Sprintf("%s, %d × %d %s tokens of %d–%d, seed %d", strings.TrimSuffix(folderName(f.model), ".bin"),
		f.rep.Repeats, f.rep.Period, kind, draw.First, draw.Last, f.seed)
	return heads.Razor(scores, cfg.KVHeads, f.ratios, source)
}

// draw returns how the tokens of a model's prompt are drawn.
func (f *findFlags) draw(cmd *cobra.Command, cfg llama.Config) (heads.Draw, error) {
	d := heads.Draw{BOS: cfg.BOS, Distinct: f.distinct, Seed: f.seed}
	if cmd.Flags().Changed("bos") {
		d.BOS = f.bos
	}
	switch {
	case d.BOS < 0 && !cmd.Flags().Changed("bos"):
		return d, usagef("the model's configuration has no BOS: name the first token of the prompt with --bos")
	case d.BOS < 0 || d.BOS >= cfg.Vocab:
		return d, usagef("--bos %d is not in the model's vocabulary of %d", d.BOS, cfg.Vocab)
	}
	d.First, d.Last = f.rep.PublishedIDs(cfg.Vocab)
	if f.ids == "" {
		return d, nil
	}
	from, to, _ := strings.Cut(f.ids, ":")
	var errFrom, errTo error
	d.First, errFrom = strconv.Atoi(from)
	d.Last, errTo = strconv.Atoi(to)
	if errFrom != nil || errTo != nil || d.First < 0 || d.Last < d.First || d.Last >= cfg.Vocab {
		return d, usagef("--ids %q: want FROM:TO, two ids of the model's vocabulary of %d in order", f.ids, cfg.Vocab)
	}
	return d, nil
}

func (f *findFlags) inTrace(cmd *cobra.Command, name string) (*heads.Map, error) {
	for _, flag := range []string{"distinct", "ids", "bos", "seed"} {
		if cmd.Flags().Changed(flag) {
			return nil, usagef("--%s needs --model: the tokens of a trace are given", flag)
		}
	}
	t, err := openTraceOnly(cmd.Context(), name)
	if err != nil {
		return nil, err
	}
	if t.Meta.RequestsOnly() || len(t.Requests()) == 0 {
		return nil, fmt.Errorf("%s: the trace has no tensors", name)
	}
	at, err := f.requestOf(t, name)
	if err != nil {
		return nil, err
	}
	tensors, err := t.Tensors(at)
	if err != nil {
		return nil, err
	}
	defer tensors.Close()
	id, shape := t.Requests()[at].ID, t.Meta.Shape
	if tokens := f.rep.Tokens(); tensors.Tokens() < tokens {
		return nil, usagef("%s: request %s has %s, want 1 + %d × %d = %d: --period and --repeats must be those of its prompt",
			name, id, words.Count(tensors.Tokens(), "token"), f.rep.Repeats, f.rep.Period, tokens)
	}
	repeats, err := heads.Repeats(tensors, shape, f.rep)
	if err != nil {
		return nil, err
	}
	if !repeats {
		fmt.Fprintf(cmd.ErrOrStderr(), "The values of layer 0 do not repeat every %s: is the prompt of request %s such a sequence?\n", words.Count(f.rep.Period, "token"), printableLine(id))
	}
	bar := newBar(cmd.ErrOrStderr(), int64(shape.Layers)*int64(f.rep.Tokens()), "tokens of a layer", progressbar.OptionShowCount())
	scores, err := heads.FromTensors(cmd.Context(), tensors, shape, f.rep, func(n int) { _ = bar.Add(n) })
	_ = bar.Clear()
	if err != nil {
		return nil, err
	}
	source := fmt.Sprintf("%s, request %s, %d × %d tokens", t.Meta.Name, id, f.rep.Repeats, f.rep.Period)
	return heads.Razor(scores, shape.KVHeads, f.ratios, strings.TrimPrefix(source, ", "))
}

// requestOf returns the index of the request of --request, by default the first.
func (f *findFlags) requestOf(t *trace.Trace, name string) (int, error) {
	if f.request == "" {
		return 0, nil
	}
	for i, r := range t.Requests() {
		if r.ID == f.request {
			return i, nil
		}
	}
	return 0, usagef("--request %q: %s has no such request", f.request, name)
}

// openTraceOnly opens a trace without its options and golden results.
func openTraceOnly(ctx context.Context, name string) (*trace.Trace, error) {
	files, dir, err := traces.Find(name)
	if err != nil {
		return nil, usageError{err}
	}
	return trace.OpenContext(ctx, files, dir)
}
