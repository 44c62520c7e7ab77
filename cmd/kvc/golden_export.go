package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvcompress/internal/output"
	"kvcompress/internal/words"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/traces"
	"kvcompress/validate/kit"
)

// exportFlags are the flags of `kvc golden export` besides the options of the replay.
type exportFlags struct {
	dir    string
	format kit.Format
	steps  int
	stages []string
	dryRun bool
	json   bool
}

func newGoldenExportCmd() *cobra.Command {
	flags := exportFlags{format: kit.NPY}
	cmd := &cobra.Command{
		Use:   "export TRACE -o DIR",
		Short: "Write the inputs of a trace and the results of every stage, as arrays",
		Long: `Export replays a trace on the reference engine and writes arrays with which another
implementation can be tested: its inputs (Q, K and V of each sequence, and in manifest.json
the options and the stages in order) and the results of each stage (outputs, evicted KVs,
positions, keys, values, metrics). docs/ci.md describes the files; kvc golden compare
compares with them.

The size is printed first. DIR must be new or empty, and is written whole or not at all.
The options are those of the trace; flags override them.`,
		Example: `  kvc golden export story -o golden
  kvc golden export recall/snapkv -o golden --format safetensors --stages prefill,decide
  kvc golden export ./my-trace -o golden --steps 20 --method snapkv --max-cache-tokens 64
  kvc golden export six-stories --dry-run`,
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return completeReplays(cmd, args, prefix)
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "output" {
			name = "out" // the flag's old name
		}
		return pflag.NormalizedName(name)
	})
	fs.StringVarP(&flags.dir, "out", "o", "", "the new `folder`")
	writes(cmd, outputNew, "out")
	fs.Var(&enum[kit.Format]{&flags.format, kit.Formats()}, "format", "format of the arrays: npy (a file for each array) or safetensors (a file for each stage)")
	fs.IntVar(&flags.steps, "steps", 0, "export only this many steps of the scheduler, from the first; 0 is all")
	fs.StringSliceVar(&flags.stages, "stages", nil, "write only the results of these `stages`: "+stageNames()+"; the manifest lists all")
	fs.BoolVar(&flags.dryRun, "dry-run", false, "print the size, and write nothing")
	fs.BoolVar(&flags.json, "json", false, "print the size as JSON")
	override := addOptionFlags(fs)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return goldenExport(cmd, args[0], override, &flags) }
	readsOptions(cmd)
	return cmd
}

func stageNames() string {
	var names []string
	for _, s := range ref.Stages() {
		names = append(names, string(s))
	}
	return strings.Join(names, ", ")
}

// wanted returns the stages of --stages, nil for all.
func (f *exportFlags) wanted() ([]ref.Stage, error) {
	var stages []ref.Stage
	for _, name := range f.stages {
		if !slices.Contains(ref.Stages(), ref.Stage(name)) {
			return nil, usageError{fmt.Errorf("--stages: %q is none of %s", name, stageNames())}
		}
		stages = append(stages, ref.Stage(name))
	}
	return stages, nil
}

func goldenExport(cmd *cobra.Command, name string, override func(*sim.Options) error, flags *exportFlags) error {
	if (flags.dir == "") != flags.dryRun {
		return usageError{errors.New("want a folder with -o, or --dry-run")}
	}
	if flags.steps < 0 {
		return usageError{fmt.Errorf("--steps %d: want at least 0", flags.steps)}
	}
	stages, err := flags.wanted()
	if err != nil {
		return err
	}
	if flags.dir != "" {
		if err := output.CheckNewFolder(flags.dir); err != nil {
			return usageError{fmt.Errorf("-o: %w", err)}
		}
	}
	b, err := openTrace(cmd.Context(), name)
	if err != nil {
		return err
	}
	opt, err := overridden(b, override)
	if err != nil {
		return err
	}
	x := &kit.Export{Name: b.Name, Trace: b.Trace, Options: opt, Steps: flags.steps, Stages: stages, Arrays: flags.format}
	m, err := planExport(cmd, x)
	if err != nil {
		return fmt.Errorf("trace %s: %w", b.Name, err)
	}
	if err := sayExport(cmd.OutOrStdout(), m, flags); err != nil || flags.dryRun {
		return err
	}
	bar := newReplayBar(cmd.ErrOrStderr(), b.Trace)
	defer bar.clear()
	x.Progress = bar.progress
	if err := x.Write(cmd.Context(), flags.dir, m); err != nil {
		return interrupted(err, "nothing is left in "+flags.dir)
	}
	bar.clear()
	if !flags.json {
		fmt.Fprintf(cmd.OutOrStdout(), "\nWritten to %s. Compare with:\n  kvc golden compare %s --theirs DIR\n", filepath.Clean(flags.dir), quoted(flags.dir))
	}
	return nil
}

// overridden returns the options of a trace, overridden by the flags. The error is a usageError
// if the flags are wrong.
func overridden(b *traces.Bundle, override func(*sim.Options) error) (sim.Options, error) {
	opt := b.Options
	if err := override(&opt); err != nil {
		return opt, err
	}
	filled := opt
	filled.Fill(b.Trace.Meta, b.Trace.Requests())
	if err := filled.Validate(); err != nil {
		if checkOptions(b, b.Options) != nil {
			return opt, fmt.Errorf("%s: %s: %w", b.Name, traces.OptionsFile, err)
		}
		return opt, usageError{err}
	}
	return opt, nil
}

func planExport(cmd *cobra.Command, x *kit.Export) (*kit.Manifest, error) {
	bar := newReplayBar(cmd.ErrOrStderr(), x.Trace)
	defer bar.clear()
	x.Progress = bar.progress
	return x.Plan(cmd.Context())
}

// exportSizes is what `kvc golden export --json` prints.
type exportSizes struct {
	Trace  string     `json:"trace"`
	Dir    string     `json:"dir,omitempty"`
	Steps  int        `json:"steps"`
	Total  kit.Size   `json:"total"`
	Inputs kit.Size   `json:"inputs"`
	Stages []stageRow `json:"by_stage"`
}

// stageRow is the size of the stages of one name.
type stageRow struct {
	Stage  ref.Stage `json:"stage"`
	Stages int       `json:"stages"`
	kit.Size
}

// sayExport prints the size of an export.
func sayExport(out io.Writer, m *kit.Manifest, flags *exportFlags) error {
	inputs, stages := m.Sizes()
	sizes := exportSizes{Trace: m.Trace, Dir: flags.dir, Inputs: inputs, Total: inputs, Stages: []stageRow{}}
	number := map[ref.Stage]int{}
	for i := range m.Stages {
		number[m.Stages[i].Stage]++
		sizes.Steps = m.Stages[i].Step + 1
	}
	for _, s := range ref.Stages() {
		if number[s] == 0 {
			continue
		}
		sizes.Stages = append(sizes.Stages, stageRow{s, number[s], stages[s]})
		sizes.Total.Files += stages[s].Files
		sizes.Total.Bytes += stages[s].Bytes
	}
	if flags.json {
		return printJSON(out, sizes)
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "OF\tSTAGES\tFILES\tBYTES\t")
	fmt.Fprintf(table, "inputs\t\t%s\t%s\t\n", words.Number(inputs.Files), words.Number(inputs.Bytes))
	for _, s := range sizes.Stages {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t\n", s.Stage, words.Number(s.Stages), words.Number(s.Files), words.Number(s.Bytes))
	}
	fmt.Fprintf(table, "%s, %s\t%s\t%s\t%s\t\n", m.Trace, words.Count(sizes.Steps, "step"), words.Number(len(m.Stages)), words.Number(sizes.Total.Files), words.Number(sizes.Total.Bytes))
	return table.Flush()
}
