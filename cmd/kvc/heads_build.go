package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"kvcompress/bench/built"
)

func newHeadsBuildCmd() *cobra.Command {
	var (
		o    = built.Default()
		text string
		out  string
	)
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build a model whose heads are known, as a Hugging Face folder",
		Long: `Build computes the weights of a Llama model in which the function of every head is known:

  previous    attends to the previous token
  induction   to the tokens after earlier copies of the current one, which the model predicts;
              needs a previous head in an earlier layer
  echo        to the copies of the current token
  local       to the nearest tokens
  sink        to the first token
  uniform     to all tokens equally

heads.json in the folder is the true map of heads, with which the result of kvc heads find
can be compared. The model has no tokenizer; token 0 is BOS.`,
		Example: `  kvc heads build -o built
  kvc heads build --heads 'previous,sink;induction,local' --noise 0.5 -o built
  kvc heads find --model built --period 100 --distinct --ids 1:255 \
      --induction-ratio 0.125 --echo-ratio 0.125 -o found.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return usagef("-o is missing: the folder to write the model to")
			}
			if cmd.Flags().Changed("heads") {
				var err error
				if o.Heads, err = built.ParseHeads(text); err != nil {
					return usagef("--heads: %w", err)
				}
			}
			if err := o.Check(); err != nil {
				return usageError{err}
			}
			m, err := o.Build()
			if err != nil {
				return err
			}
			if err := m.Write(out); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "Written to %s.\n", printableLine(out))
			return printHeadMap(cmd, m.Truth, false)
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&text, "heads", "previous,local,sink,uniform;local,induction,sink,echo",
		"`kinds` of the KV heads: commas between those of a layer, semicolons between layers")
	fs.IntVar(&o.Group, "group", 2, "query heads of each KV head")
	fs.IntVar(&o.Vocab, "vocab", 256, "number of `tokens` in the vocabulary")
	fs.IntVar(&o.MaxPositions, "positions", 4096, "most `tokens` of a sequence")
	fs.Float64Var(&o.Noise, "noise", 0, "noise of queries, keys and values, as a `fraction` of a head's root mean square")
	fs.Uint64Var(&o.Seed, "seed", 0, "seed of the tokens' codes and of the noise")
	fs.StringVarP(&out, "out", "o", "", "new `folder` to write the model to")
	writes(cmd, outputNew, "out")
	return cmd
}
