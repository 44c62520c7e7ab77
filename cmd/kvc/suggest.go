package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvcompress/ref"
	"kvcompress/sim"
)

// nearEnough is the largest distance of a mistyped word from the suggested one.
const nearEnough = 2

// commandError adds to the error about an unknown command which one may be meant.
func commandError(cmd *cobra.Command, args []string, err error) error {
	if !cmd.HasSubCommands() || len(args) == 0 {
		return err
	}
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(append(names, sub.Name()), sub.Aliases...)
		}
	}
	if near := nearest(args[0], names); near != "" {
		return fmt.Errorf("%w: did you mean %s %s?", err, cmd.CommandPath(), near)
	}
	return err
}

// nearest returns the name that a mistyped word may stand for: one that begins with it, or else
// the one at the smallest distance; "" if none is near.
func nearest(word string, names []string) string {
	best, least := "", nearEnough+1
	for _, name := range slices.Sorted(slices.Values(names)) {
		d := distance(strings.ToLower(word), name)
		if d > 0 && len(word) >= 3 && strings.HasPrefix(name, strings.ToLower(word)) {
			d = 1
		}
		if d < least && d < len(name) {
			best, least = name, d
		}
	}
	return best
}

// distance returns the number of insertions, deletions, substitutions and swaps of neighboring
// letters that turn a into b (optimal string alignment).
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			change := 1
			if a[i] == b[j] {
				change = 0
			}
			row[j+1] = min(last[j]+change, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// completed registers shell completion for all flags with a fixed list of values.
func completed(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if _, ok := cmd.GetFlagCompletionFunc(f.Name); ok {
			return
		}
		if values := knownValues(f); values != nil {
			directive := cobra.ShellCompDirectiveNoFileComp
			if f.Name == "spread" {
				directive = cobra.ShellCompDirectiveDefault // the value may also be a file
			}
			// It fails only for a flag that does not exist or has completion already.
			_ = cmd.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(values, directive))
		}
	})
	for _, sub := range cmd.Commands() {
		completed(sub)
	}
}

// knownValues returns the values that a flag may have, nil if they cannot be listed.
func knownValues(f *pflag.Flag) []string {
	if e, ok := f.Value.(interface{ names() []string }); ok {
		return e.names()
	}
	switch f.Name {
	case "method":
		return methodNames()
	case "spread":
		return []string{"spared", "even"}
	case "engine":
		return asStrings(sim.Schedulers())
	case "checks":
		return append([]string{"all", "none"}, strings.Split(allChecks(), ",")...)
	case "arrivals":
		return []string{"fixed:", "poisson:", "gamma:"}
	case "dtype":
		return []string{"f32", "f16", "bf16"}
	case "weights":
		return weights()
	case "stages":
		return asStrings(ref.Stages())
	case "compression":
		var values []string
		for _, method := range methodNames() {
			if method != ref.KVCompress {
				values = append(values, method)
			}
		}
		return append([]string{"none", "rate:", "tokens:"}, values...)
	}
	return nil
}
