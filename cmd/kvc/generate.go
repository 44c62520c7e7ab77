package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"kvcompress/bench/live"
	"kvcompress/bench/models"
	"kvcompress/internal/words"
	"kvcompress/kernels/ptx"
	"kvcompress/ref"
	"kvcompress/report"
	"kvcompress/sim"
	"kvcompress/trace/llama"
	"kvcompress/trace/tokenizer"
)

// continueFlags are the flags of kvc generate.
type continueFlags struct {
	model, tokenizer string
	prompt, question input
	maxTokens        int
	ignoreEOS        bool
	prefill          string
	engine           engineFlags
	steps            stepCount
	asJSON           bool
}

// input is a text, or token ids.
type input struct{ text, ids string }

// given reports whether there is an input.
func (i *input) given() bool { return i.text != "" || i.ids != "" }

// tokens returns the token ids. text and ids are the names of the flags, for errors.
func (i *input) tokens(text, ids string, tok tokenizer.Tokenizer, stdin io.Reader) ([]int, error) {
	switch {
	case i.text != "" && i.ids != "":
		return nil, usagef("--%s and --%s exclude each other", text, ids)
	case i.ids != "":
		return readTokenIDs("--"+ids, i.ids, stdin)
	case i.text == "":
		return nil, nil
	}
	tokens, err := tok.Encode(i.text)
	if err == nil && len(tokens) == 0 {
		err = errors.New("it has no tokens")
	}
	if err != nil {
		return nil, usagef("--%s: %w", text, err)
	}
	return tokens, nil
}

func newGenerateCmd(parsed *ptx.Cache) *cobra.Command {
	f := continueFlags{engine: engineFlags{device: deviceFlags{options: ptx.Options{Checks: ptx.AllChecks(), Cache: parsed}}}}
	cmd := &cobra.Command{
		Use:   "generate --model PATH --prompt TEXT",
		Short: "Continue a text through a compressed cache, and print the cache's memory by step",
		Long: `Generate runs a model of the Llama family through a KV cache that a method compresses,
so that the compression affects every token that follows. The prompt is read with full
attention. It is compressed before the first token is decoded, and later wherever the
method asks for it. Tokens are chosen greedily.

A method that observes the prompt's attention can keep what a question needs if the
question is part of the prompt. A --question is fed after the compression instead.
Without one the prompt's last token is computed once more through the compressed cache,
since the first token would otherwise come from full attention.

PATH is a model that kvc trace record takes, or a bundled one, which has token ids and
no tokenizer: ` + strings.Join(models.Names(), ", ") + `.
With --prefill windowed the prompt too is read through the compressed cache, token by
token, as longctx_bench ran StreamingLLM: each token attends only to the KVs that the
cache holds. That is for methods that compress whenever a head holds too much, and do
not observe the prompt's attention.

With --device it runs on the CUDA engine, which gives the same logits, to the bit.`,
		Example: `  kvc generate --model ./Llama-3.2-1B --prompt "Once upon a time" --method snapkv --max-cache-tokens 64
  kvc generate --model stories260K.bin --tokenizer tok512.bin --prompt "Once upon a time" --method streaming-llm --max-cache-tokens 32
  scripts/recall-prompt.py | kvc generate --model recall-0 --token-ids @- --max-tokens 16 --method snapkv --max-cache-tokens 128
  kvc generate --model recall-0 --token-ids 0,160,20,70,71,180,1,20 --max-tokens 2 --device ptx --json`,
		Args: cobra.NoArgs,
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&f.model, "model", "", "`path` of a llama2.c checkpoint or of a Hugging Face folder, or the name of a bundled model")
	fs.StringVar(&f.tokenizer, "tokenizer", "", "`path` of a tokenizer.bin or tokenizer.json (default: the one in the model's folder)")
	fs.StringVar(&f.prompt.text, "prompt", "", "`text` to continue")
	fs.StringVar(&f.prompt.ids, "token-ids", "", "the prompt as token `ids`, such as 1,2,3, or @FILE for the ids in a file; @- is standard input")
	fs.StringVar(&f.question.text, "question", "", "`text` that is fed after the prompt has been compressed")
	fs.StringVar(&f.question.ids, "question-ids", "", "the question as token `ids`")
	fs.IntVar(&f.maxTokens, "max-tokens", 64, "the most tokens to generate")
	fs.BoolVar(&f.ignoreEOS, "ignore-eos", false, "continue after an end-of-text token")
	fs.StringVar(&f.prefill, "prefill", fullPrefill, "how the prompt is read: "+fullPrefill+" (full attention) or "+windowedPrefill+" (through the compressed cache)")
	b := newBinder(fs, sim.DefaultOptions())
	b.addMethod()
	b.addEviction()
	b.addRanking()
	b.addPages()
	b.addScales()
	b.addMetric()
	b.addWindow()
	f.engine.device.add(fs)
	f.engine.device.optional(fs)
	fs.Var(&f.steps, "steps", "most rows of the memory ledger to print, or all (default 30)")
	fs.BoolVar(&f.asJSON, "json", false, "print the result as JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return f.run(cmd, b.apply) }
	return cmd
}

func (f *continueFlags) run(cmd *cobra.Command, override func(*sim.Options) error) error {
	switch {
	case f.model == "":
		return usagef("--model is missing")
	case !f.prompt.given():
		return usagef("--prompt or --token-ids is missing")
	case f.maxTokens < 1:
		return usagef("--max-tokens %d: want at least 1", f.maxTokens)
	}
	if f.prefill != fullPrefill && f.prefill != windowedPrefill {
		return usagef("--prefill %q: want %s or %s", f.prefill, fullPrefill, windowedPrefill)
	}
	opt := sim.DefaultOptions()
	if err := override(&opt); err != nil {
		return err
	}
	model, err := loadModel(f.model)
	if err != nil {
		return err
	}
	tok, err := tokenizerOf(f.tokenizer, f.model, f.prompt.text != "" || f.question.text != "")
	if err != nil {
		return err
	}
	prompt, err := f.prompt.tokens("prompt", "token-ids", tok, cmd.InOrStdin())
	if err != nil {
		return err
	}
	question, err := f.question.tokens("question", "question-ids", tok, cmd.InOrStdin())
	if err != nil {
		return err
	}
	cfg, err := liveConfig(opt.Config, model.Config(), len(prompt)+len(question), f.maxTokens)
	if err != nil {
		return usageError{err}
	}
	engine, closeEngine, err := f.open(cmd, cfg)
	if err != nil {
		return err
	}
	ctx, clear := watched(cmd, "tokens")
	g, err := f.generate(ctx, engine, model, prompt, question)
	clear()
	if err = errors.Join(err, closeEngine()); err != nil {
		if errors.Is(err, context.Canceled) {
			return interrupted(err, "nothing is printed")
		}
		return err
	}
	g.text(tok)
	return f.print(cmd, g)
}

// liveConfig completes a configuration for one sequence of a model, with a prompt of tokens
// tokens and at most output more.
func liveConfig(cfg ref.Config, model llama.Config, tokens, output int) (ref.Config, error) {
	if tokens > model.MaxPositions {
		return cfg, fmt.Errorf("the prompt has %s, the model has %s", words.Count(tokens, "token"), words.Count(model.MaxPositions, "position"))
	}
	cfg.Rope, cfg.Shape = model.RopeWithin(tokens+output), cfg.CacheShape(model.Shape())
	if problems := cfg.Shape.Problems(); len(problems) > 0 {
		return cfg, errors.Join(problems...)
	}
	cfg.Blocks = 1
	if err := cfg.Validate(); err != nil {
		return cfg, err
	}
	cfg.Blocks = live.Room(&cfg, min(tokens+output, model.MaxPositions))
	return cfg, cfg.Validate()
}

// open returns the engine that the flags name, and a function that closes it.
func (f *continueFlags) open(cmd *cobra.Command, cfg ref.Config) (live.Engine, func() error, error) {
	if !cmd.Flags().Changed("device") {
		e, err := ref.NewEngine(cfg, nil, nil)
		if err != nil {
			return nil, nil, err
		}
		return live.Reference(e), e.Close, nil
	}
	engines, err := f.engine.open(cmd.Context())
	if err != nil {
		return nil, nil, err
	}
	e, err := engines.live(cfg)
	if err != nil {
		return nil, nil, err
	}
	return live.CUDA(e.Engine), e.Close, nil
}

// generate reads the prompt and continues it.
func (f *continueFlags) generate(ctx context.Context, engine live.Engine, model *llama.Model, prompt, question []int) (*generation, error) {
	s, err := f.begin(ctx, engine, model, prompt)
	if err != nil {
		return nil, err
	}
	var stop []int
	if !f.ignoreEOS {
		stop = model.Config().EOS
	}
	out, err := s.Generate(ctx, question, f.maxTokens, stop, nil)
	if err != nil {
		return nil, err
	}
	cfg := engine.Config()
	g := &generation{Model: f.model, Method: ref.KVCompress, Prompt: len(prompt), Question: len(question), Output: out.Output, Ending: out.Ending, cfg: cfg}
	if cfg.Method != "" {
		g.Method = cfg.Method
	}
	if !cfg.Compresses() {
		g.Method = ""
	}
	g.Compressions, g.Evicted, g.Moved = s.Compressions, s.Done.Evicted, s.Done.Moved
	for i := range out.Steps {
		st := &out.Steps[i]
		held, dense := s.Bytes(st)
		g.Steps = append(g.Steps, heldStep{st.Tokens, st.Usage.KVs, st.Usage.Allocated, held, dense})
		g.MeanBytes += float64(held) / float64(len(out.Steps))
		g.MeanDenseBytes += float64(dense) / float64(len(out.Steps))
		g.PeakBytes = max(g.PeakBytes, held)
	}
	return g, nil
}

// The ways to read a prompt.
const (
	fullPrefill     = "full"
	windowedPrefill = "windowed"
)

// begin reads the prompt.
func (f *continueFlags) begin(ctx context.Context, engine live.Engine, model *llama.Model, prompt []int) (*live.Sequence, error) {
	if f.prefill == windowedPrefill {
		return live.Stream(ctx, engine, 0, model, prompt, model.NewStepper())
	}
	p, err := live.Read(ctx, model, prompt)
	if err != nil {
		return nil, err
	}
	return live.Begin(engine, 0, p, model.NewStepper())
}

// generation is what kvc generate --json prints.
type generation struct {
	Model          string      `json:"model"`
	Method         string      `json:"method,omitempty"` // empty without compression
	Prompt         int         `json:"prompt_tokens"`
	Question       int         `json:"question_tokens"`
	Output         []int       `json:"output"`
	Text           string      `json:"text,omitempty"`
	Ending         live.Ending `json:"ending"`
	Compressions   int         `json:"compressions"`
	Evicted        int         `json:"kvs_evicted"`
	Moved          int         `json:"kvs_moved"`
	MeanBytes      float64     `json:"mean_bytes"` // over the steps; PeakBytes is the maximum
	PeakBytes      int64       `json:"peak_bytes"`
	MeanDenseBytes float64     `json:"mean_dense_bytes"` // of a cache that holds every token
	Steps          []heldStep  `json:"steps"`

	cfg ref.Config
}

// heldStep is the size of the cache after a token was computed.
type heldStep struct {
	Tokens     int   `json:"tokens"`
	KVs        int   `json:"kvs"`
	Blocks     int   `json:"blocks"`
	Bytes      int64 `json:"bytes"`
	DenseBytes int64 `json:"dense_bytes"`
}

// text decodes the output without an end-of-text token.
func (g *generation) text(tok tokenizer.Tokenizer) {
	if tok == nil {
		return
	}
	output := g.Output
	if g.Ending == live.AtStop {
		output = output[:len(output)-1]
	}
	if text, err := tok.Decode(output); err == nil {
		g.Text = text
	}
}

func (f *continueFlags) print(cmd *cobra.Command, g *generation) error {
	out := cmd.OutOrStdout()
	if f.asJSON {
		return printJSON(out, g)
	}
	said := printable(g.Text)
	if said == "" {
		said = strings.Trim(fmt.Sprint(g.Output), "[]")
	}
	opt := textOptions(out)
	opt.Steps = int(f.steps)
	held := report.Generation{
		Said: said, Method: g.Method, Prompt: g.Prompt, Question: g.Question, Output: len(g.Output),
		Compressions: g.Compressions, Evicted: g.Evicted, Mean: g.MeanBytes, Peak: g.PeakBytes, MeanDense: g.MeanDenseBytes,
	}
	for _, s := range g.Steps {
		held.Steps = append(held.Steps, report.GenerationStep(s))
	}
	return held.Text(out, opt)
}
