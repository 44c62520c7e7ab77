package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvcompress/bench"
	"kvcompress/bench/models"
	"kvcompress/bench/task"
	"kvcompress/internal/near"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
)

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
	if name := near.Name(args[0], names); name != "" {
		return fmt.Errorf("%w: did you mean %s %s?", err, cmd.CommandPath(), name)
	}
	return err
}

// completes registers shell completion of a flag's value from a list, for a flag whose values depend on the
// command; knownValues has those of other flags. It panics if the command does not have the flag.
func completes(cmd *cobra.Command, flag string, directive cobra.ShellCompDirective, values ...string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, directive)); err != nil {
		panic(err)
	}
}

// reads registers shell completion of a flag's value by files, with one of the extensions if there are
// any. It panics if the command does not have the flag.
func reads(cmd *cobra.Command, flag string, extensions ...string) {
	if err := cmd.MarkFlagFilename(flag, extensions...); err != nil {
		panic(err)
	}
}

// completed registers shell completion for all other flags with a fixed list of values.
func completed(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if _, ok := cmd.GetFlagCompletionFunc(f.Name); ok {
			return
		}
		if values := knownValues(f); values != nil {
			directive := cobra.ShellCompDirectiveNoFileComp
			switch f.Name {
			case "spread", "tasks", "models":
				directive = cobra.ShellCompDirectiveDefault // the value may also be a file
			}
			completes(cmd, f.Name, directive, values...)
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
	case "block-size":
		var sizes []string
		for _, size := range kv.BlockSizes() {
			sizes = append(sizes, strconv.Itoa(size))
		}
		return sizes
	case "usage-context":
		return asStrings(sim.V1Usages())
	case "prefill":
		return []string{fullPrefill, windowedPrefill}
	case "modes", "quality-mode":
		return []string{string(bench.Aware), string(bench.Agnostic)}
	case "categories":
		return task.Categories()
	case "tasks":
		return []string{recallTasks, madeTasks}
	case "models":
		return models.Names()
	case "methods":
		var names []string
		for _, r := range bench.Rows() {
			names = append(names, r.Name)
		}
		return names
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
