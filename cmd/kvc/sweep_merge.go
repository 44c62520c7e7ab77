package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"kvcompress/internal/words"
	"kvcompress/journal"
	"kvcompress/sim/sweep"
	"kvcompress/strictjson"
)

func newSweepMergeCmd() *cobra.Command {
	var out sweepOutput
	var partial bool
	cmd := &cobra.Command{
		Use:   "merge DIR | FILE…",
		Short: "Join the shards of a sweep, and check that none is missing",
		Long: `Merge reads the files that the shards of a sweep have written, checks that they are of
the same sweep and that every point is there, and prints what one machine would have
printed. If points are missing it says which shards lack them: exit code 2. With
--partial it prints the outcomes that there are, unfinished shards included. Exit code 2
also if no point has a result, as in kvc sweep.`,
		Example: `  kvc sweep merge results --html sweep.html
  kvc sweep merge results/shard-*.jsonl --json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runMerge(cmd, args, &out, partial) },
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().BoolVar(&partial, "partial", false, "print the table even if points are missing")
	out.add(cmd)
	return cmd
}

func runMerge(cmd *cobra.Command, args []string, out *sweepOutput, partial bool) error {
	if err := out.check(); err != nil {
		return err
	}
	paths, err := shardFiles(args, "sweep", partial)
	if err != nil {
		return err
	}
	var files []*sweep.File
	for _, path := range paths {
		f, err := sweep.ReadFile(path)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	merged, err := sweep.Merge(files)
	var missing *journal.IncompleteError
	if err != nil && !(errors.As(err, &missing) && partial) {
		return ofShards(args, err)
	}
	var inputs sweepInputs
	if err := json.Unmarshal(merged.Header.Inputs, &inputs); err != nil {
		return fmt.Errorf("%s: its inputs cannot be read: %w", paths[0], strictjson.Plain(err))
	}
	if err := out.print(cmd, &inputs, merged.Header.Items, merged.Items); err != nil {
		return err
	}
	if missing != nil {
		return ofShards(args, missing)
	}
	return withoutResult(merged.Items)
}

// ofShards says of which files the error of a merge is, and how to go on if items are missing.
func ofShards(args []string, err error) error {
	name := args[0]
	if n := len(args) - 1; n > 0 {
		name += fmt.Sprintf(" and %s more", words.Count(n, "file"))
	}
	if missing := new(journal.IncompleteError); errors.As(err, &missing) {
		return fmt.Errorf("%s: %w: run the command that made the files again to continue it, or print the finished part with --partial", name, err)
	}
	return fmt.Errorf("%s: %w", name, err)
}

// shardFiles returns the result files that are named, or those of a job in a folder; with
// partial, those of unfinished shards too.
func shardFiles(args []string, job string, partial bool) ([]string, error) {
	info, err := os.Stat(args[0])
	if err != nil || !info.IsDir() {
		return args, nil
	}
	if len(args) > 1 {
		return nil, usagef("want one folder, or files")
	}
	patterns := []string{"shard-*.jsonl", job + ".jsonl"}
	if partial {
		patterns = append(patterns, "shard-*.jsonl.part", job+".jsonl.part")
	}
	var paths []string
	for _, pattern := range patterns {
		found, err := filepath.Glob(filepath.Join(args[0], pattern))
		if err != nil {
			return nil, err
		}
		paths = append(paths, found...)
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("%s has no results of a finished shard", args[0])
	}
	return paths, nil
}
