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

// completed registers shell completion for all flags with a fixed list of values.
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
