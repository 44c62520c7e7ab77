package main

import (
	"bytes"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"kvcompress/heads"
	"kvcompress/internal/output"
	"kvcompress/report"
)

func newHeadsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "heads",
		Short: "Find, show and import maps of retrieval heads",
		Long: `A retrieval head attends to matching tokens anywhere in the context. RazorAttention and
DuoAttention keep all KVs of these heads ("full"), and of the others ("streaming") only
the sinks and the newest. A map of heads says which heads are full; docs/heads.md has its
format, and the scores.`,
		Example: `  kvc heads find --model ./Llama-3.2-1B -o map.json
  kvc heads show map.json --plot map.svg
  kvc heads import full_attention_heads.tsv --sparsity 0.5 -o map.json
  kvc heads scope ./bloom-560m
  kvc heads build -o built`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newHeadsFindCmd(), newHeadsShowCmd(), newHeadsImportCmd(), newHeadsScopeCmd(), newHeadsBuildCmd())
	return cmd
}

func newHeadsShowCmd() *cobra.Command {
	var (
		plot   string
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "show MAP.json",
		Short: "Print and draw a map of heads",
		Long: `Show prints how many heads are full, a heat map of each score, layers across and KV
heads down, and the full heads with their scores.`,
		Example: `  kvc heads show map.json
  kvc heads show map.json --plot map.svg
  kvc heads show map.json --json | jq '.full, .heads[0]'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("plot") {
				if err := report.CheckPlot(plot); err != nil {
					return usagef("--plot: %w", err)
				}
			}
			text, err := readSmall(args[0])
			if err != nil {
				return err
			}
			m, err := heads.ReadMap(bytes.NewReader(text))
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if err := printHeadMap(cmd, m, asJSON); err != nil || plot == "" {
				return err
			}
			picture, err := report.HeadMapPlot(plot, shownHeadMap(m))
			if err != nil {
				return err
			}
			return writeWhole(cmd, plot, func(w io.Writer) error {
				_, err := w.Write(picture)
				return err
			})
		},
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().StringVar(&plot, "plot", "", "draw the map to a .png or .svg `file`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the map as JSON, head by head")
	writes(cmd, outputFile, "plot", "png", "svg")
	return cmd
}

// headsImportFlags are the flags of kvc heads import.
type headsImportFlags struct {
	sparsity, threshold, ratio float64
	kvHeads                    int
	out                        string
	asJSON                     bool
}

func newHeadsImportCmd() *cobra.Command {
	var f headsImportFlags
	cmd := &cobra.Command{
		Use:   "import FILE.tsv {--sparsity S | --threshold X | --ratio R} -o MAP.json",
		Short: "Make a map from published scores",
		Long: `Import reads a table of scores, with a line for each layer and tab-separated numbers for
its heads, and selects the full heads by one of three rules:
  --sparsity S   heads with a score of at least the S-quantile of all scores; all heads
                 for S = 0, none for S = 1. DuoAttention uses it for its trained gates,
                 full_attention_heads.tsv.
  --threshold X  heads with a score above X; Retrieval_Head uses 0.1.
  --ratio R      the round(N·R) highest of all N KV heads, and those with the same score
                 as the last of them.

If the table has a score for each query head and query heads share KV heads, --kv-heads
is the number of KV heads in a layer. Each gets the highest score of its query heads.`,
		Example: `  kvc heads import full_attention_heads.tsv --sparsity 0.5 -o duo.json
  kvc heads import Mistral-7B-v0.2.tsv --threshold 0.1 --kv-heads 8 -o mistral.json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.Float64Var(&f.sparsity, "sparsity", 0, "`fraction` of the heads that is streaming, by the quantile")
	fs.Float64Var(&f.threshold, "threshold", 0, "`score` above which a head is full")
	fs.Float64Var(&f.ratio, "ratio", 0, "`fraction` of the heads that is full")
	fs.IntVar(&f.kvHeads, "kv-heads", 0, "`number` of KV heads in a layer (default: the number of heads in the table)")
	fs.StringVarP(&f.out, "out", "o", "", "`file` to write the map to")
	fs.BoolVar(&f.asJSON, "json", false, "print the map as JSON, head by head")
	writes(cmd, outputFile, "out", "json")
	return cmd
}

func (f *headsImportFlags) run(cmd *cobra.Command, path string) error {
	given := cmd.Flags().Changed
	rules := 0
	for _, flag := range []string{"sparsity", "threshold", "ratio"} {
		if given(flag) {
			rules++
		}
	}
	switch {
	case rules != 1:
		return usagef("want one of --sparsity, --threshold and --ratio")
	case !(f.sparsity >= 0 && f.sparsity <= 1):
		return usagef("--sparsity %v: want 0 to 1", f.sparsity)
	case !(f.ratio >= 0 && f.ratio <= 1):
		return usagef("--ratio %v: want 0 to 1", f.ratio)
	case f.threshold-f.threshold != 0: // NaN or infinite
		return usagef("--threshold %v: want a finite number", f.threshold)
	case f.out == "":
		return usagef("-o is missing: the file to write the map to")
	}
	text, err := readSmall(path)
	if err != nil {
		return err
	}
	scores, err := heads.ReadTSV(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	kvHeads := len(scores[0])
	if given("kv-heads") {
		if kvHeads = f.kvHeads; kvHeads < 1 || len(scores[0])%kvHeads != 0 {
			return usagef("--kv-heads %d: want a divisor of the %d heads of a layer in %s", kvHeads, len(scores[0]), path)
		}
	}
	var m *heads.Map
	source := folderName(path)
	switch {
	case given("sparsity"):
		m, err = heads.Gates(scores, kvHeads, f.sparsity, source)
	case given("threshold"):
		m, err = heads.Retrieval(scores, kvHeads, heads.Above, f.threshold, source)
	default:
		m, err = heads.Retrieval(scores, kvHeads, heads.TopRatio, f.ratio, source)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := printHeadMap(cmd, m, f.asJSON); err != nil {
		return err
	}
	return writeWhole(cmd, f.out, m.Write)
}

// writeWhole writes a file, whole or not at all, and prints its name.
func writeWhole(cmd *cobra.Command, path string, write func(io.Writer) error) error {
	if err := output.Write(path, write); err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "Written to %s.\n", printableLine(path))
	return nil
}
