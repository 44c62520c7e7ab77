package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvcompress/internal/output"
	"kvcompress/internal/words"
	"kvcompress/report"
	"kvcompress/sim"
	"kvcompress/trace/regular"
	"kvcompress/traces"
	"kvcompress/validate"
)

func newGoldenUpdateCmd() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "update [TRACE…]",
		Short: "Rewrite golden results",
		Long: `Update replays each trace and writes its golden result into the trace's folder. The
golden results of bundled traces (all, if none is named) are written to the source tree,
--dir: run the command in the repository, look at the diff, and rebuild.

Options that are given as flags are written to the trace's options.json, so that kvc
golden check uses them too; docs/checking.md has its keys.`,
		Example: `  kvc golden update
  kvc golden update story
  kvc golden update ./my-trace --rate 0.5 --protected-window 16
  kvc golden update ./my-trace --method snapkv --max-cache-tokens 128 --set window=16`,
		ValidArgsFunction: completeReplays,
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().StringVar(&dir, "dir", "traces", "folder of the bundled traces in the source tree")
	override := addOptionFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return goldenUpdate(cmd, args, dir, override)
	}
	readsOptions(cmd)
	return cmd
}

func goldenUpdate(cmd *cobra.Command, names []string, dir string, override func(*sim.Options) error) error {
	if len(names) == 0 {
		var flag string
		cmd.Flags().Visit(func(f *pflag.Flag) {
			if f.Name != "dir" && cmd.InheritedFlags().Lookup(f.Name) == nil {
				flag = f.Name
			}
		})
		if flag != "" {
			return usageError{fmt.Errorf("--%s would change the options of every bundled trace: name the traces to change", flag)}
		}
	}
	bundles, err := openTraces(cmd.Context(), names)
	if err != nil {
		return err
	}
	for _, b := range bundles {
		if b.Dir == "" { // bundled: the source tree may be newer than the program
			if b, err = traces.OpenContext(cmd.Context(), filepath.Join(dir, b.Name)); err != nil {
				return fmt.Errorf("%w (run this in the repository, or name its folder with --dir)", err)
			}
		}
		if err := goldenUpdateOne(cmd, b, override); err != nil {
			return err
		}
	}
	return nil
}

// goldenUpdateOne writes the golden result of a trace, and its options if the flags change them.
func goldenUpdateOne(cmd *cobra.Command, b *traces.Bundle, override func(*sim.Options) error) error {
	opt, err := overridden(b, override)
	if err != nil {
		return err
	}
	changed := !reflect.DeepEqual(opt, b.Options)
	b.Options = opt
	for _, name := range []string{traces.OptionsFile, traces.GoldenFile} {
		if err := output.Check(filepath.Join(b.Dir, name)); err != nil {
			return err
		}
	}
	g, err := recordGolden(cmd, b, nil)
	if err != nil {
		return fmt.Errorf("trace %s: %w", b.Name, err)
	}
	out := cmd.OutOrStdout()
	if changed {
		text, err := json.MarshalIndent(opt, "", "  ")
		if err != nil {
			return err
		}
		if err := output.WriteBytes(filepath.Join(b.Dir, traces.OptionsFile), append(text, '\n')); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: written\n", filepath.Join(b.Dir, traces.OptionsFile))
	}
	what := fmt.Sprintf("written, %s", words.Count(len(g.Steps), "step"))
	if written, err := writeGolden(b, g); err != nil {
		return err
	} else if !written {
		what = "as before"
	}
	_, err = fmt.Fprintf(out, "%s: %s\n  %s\n", filepath.Join(b.Dir, traces.GoldenFile), what, strings.Join(evictedText(&g.Options, &g.Totals), "\n  "))
	return err
}

// evictedText returns a few lines about what a replay evicted.
func evictedText(opt *sim.Options, t *sim.Totals) []string {
	var lines []string
	switch {
	case !opt.Compresses():
		lines = append(lines, "nothing is evicted, as the options ask for no compression: try --rate 0.5, or --max-cache-tokens 64")
	case t.Compressions == 0:
		lines = append(lines, "nothing is evicted: these requests hold no more than the options keep")
	default:
		evicted := fmt.Sprintf("%s evicted %s and freed %s", words.Count(t.Compressions, "compression"), words.Count(t.KVsEvicted, "KV"), words.Count(t.BlocksFreed, "block"))
		if t.MaxHidden > 0 {
			evicted += fmt.Sprintf(", and hid at most %s of a sequence at a time", words.Count(t.MaxHidden, "KV"))
		}
		if did := report.Packed(t); did != "" {
			evicted = fmt.Sprintf("%s %s keys and values, took %s and freed %s", words.Count(t.Compressions, "compression"), did, words.Count(t.BlocksTaken, "block"), words.Count(t.BlocksFreed, "block"))
		}
		lines = append(lines, evicted)
	}
	lines = append(lines, fmt.Sprintf("at its peak the cache held %s in %s; uncompressed, %s in %s", words.Count(t.PeakKVs, "KV"), words.Count(t.PeakBlocks, "block"), words.Number(t.PeakDenseKVs), words.Number(t.PeakDenseBlocks)))
	if t.Refused > 0 {
		lines = append(lines, fmt.Sprintf("%s did not fit the cache of %s", words.Count(t.Refused, "request"), words.Count(opt.Blocks, "block")))
	}
	return lines
}

// writeGolden replaces a trace's golden result if it differs.
func writeGolden(b *traces.Bundle, g *validate.Golden) (written bool, err error) {
	var text bytes.Buffer
	if err := g.Write(&text); err != nil {
		return false, err
	}
	if f, err := regular.Open(b.FS, traces.GoldenFile); err == nil {
		old, err := io.ReadAll(io.LimitReader(f, int64(text.Len())+1))
		f.Close()
		if err == nil && bytes.Equal(old, text.Bytes()) {
			return false, nil
		}
	}
	return true, output.WriteBytes(filepath.Join(b.Dir, traces.GoldenFile), text.Bytes())
}
