package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"kvcompress/internal/words"
	"kvcompress/trace/llama"
	"kvcompress/trace/record"
	"kvcompress/trace/tokenizer"
)

// recordOutput prints the text of each request, and a progress bar while it is generated.
type recordOutput struct {
	out    io.Writer
	cfg    llama.Config
	tok    tokenizer.Tokenizer // nil: print token ids
	asJSON bool

	bar      *progressbar.ProgressBar
	expected []int // most tokens to be fed for each request
	fed      int   // tokens fed for the current request
	results  []recordedRequest
}

// recordedRequest is a request as `kvc trace record --json` prints it.
type recordedRequest struct {
	ID           string `json:"id"`
	ArrivalNS    int64  `json:"arrival_ns"`
	PromptTokens int    `json:"prompt_tokens"`
	OutputTokens int    `json:"output_tokens"`
	CachedTokens int    `json:"cached_tokens"`
	End          string `json:"end"`
	Text         string `json:"text"`
	Tokens       []int  `json:"tokens"`
}

func newRecordOutput(cmd *cobra.Command, cfg llama.Config, tok tokenizer.Tokenizer, prompts []record.Prompt, asJSON bool) *recordOutput {
	o := &recordOutput{out: cmd.OutOrStdout(), cfg: cfg, tok: tok, asJSON: asJSON}
	total := 0
	for _, p := range prompts {
		// The sum could overflow: the limit may be the largest int.
		n := min(len(p.Tokens)-1+min(p.MaxOutput, cfg.MaxPositions), cfg.MaxPositions)
		o.expected = append(o.expected, n)
		total += n
	}
	o.bar = newBar(cmd.ErrOrStderr(), int64(total), "tokens recorded", progressbar.OptionShowCount())
	return o
}

// token is called after each token that was fed. Errors of the bar are ignored.
func (o *recordOutput) token() {
	o.fed++
	_ = o.bar.Add(1)
}

// request is called after each request.
func (o *recordOutput) request(r record.Result) error {
	_ = o.bar.Add(o.expected[len(o.results)] - o.fed)
	o.fed = 0
	tokens := slices.Concat(r.Prompt.Tokens, r.Output)
	done := recordedRequest{
		ID:           r.Prompt.ID,
		ArrivalNS:    r.Prompt.ArrivalNS,
		PromptTokens: len(r.Prompt.Tokens),
		OutputTokens: len(r.Output),
		CachedTokens: len(tokens) - 1,
		End:          r.End.String(),
		Text:         o.text(tokens),
		Tokens:       tokens,
	}
	o.results = append(o.results, done)
	if o.asJSON {
		return nil
	}
	_ = o.bar.Clear()
	text := done.Text
	if text == "" {
		text = "tokens " + strings.Trim(fmt.Sprint(tokens), "[]")
	}
	_, err := fmt.Fprintf(o.out, "[%s] %s\n(%s prompt + %s output tokens: %s)\n\n",
		done.ID, printable(text), words.Number(done.PromptTokens), words.Number(done.OutputTokens), done.End)
	return err
}

// text returns the text of the tokens, with an empty line between two texts; "" if they cannot
// be decoded.
func (o *recordOutput) text(tokens []int) string {
	if o.tok == nil {
		return ""
	}
	var texts []string
	for len(tokens) > 0 {
		end := slices.IndexFunc(tokens, func(t int) bool { return t == o.cfg.BOS || slices.Contains(o.cfg.EOS, t) })
		if end < 0 {
			end = len(tokens)
		}
		text, err := o.tok.Decode(tokens[:end])
		if err != nil {
			return ""
		}
		if text != "" {
			texts = append(texts, text)
		}
		tokens = tokens[min(end+1, len(tokens)):]
	}
	return strings.Join(texts, "\n\n")
}

// abandon clears the progress after an error.
func (o *recordOutput) abandon() { _ = o.bar.Clear() }

// finish prints a summary of the trace.
func (o *recordOutput) finish(dir string) error {
	_ = o.bar.Clear()
	if o.asJSON {
		return printJSON(o.out, map[string]any{"trace": dir, "requests": o.results})
	}
	tokens := 0
	for _, r := range o.results {
		tokens += r.CachedTokens
	}
	_, err := fmt.Fprintf(o.out, "%s: %s, %s; %d layers × %d KV heads × %d, %d query heads each\n",
		dir, words.Count(len(o.results), "request"), words.Count(tokens, "token"),
		o.cfg.Layers, o.cfg.KVHeads, o.cfg.HeadSize, o.cfg.QueryHeads/o.cfg.KVHeads)
	return err
}
