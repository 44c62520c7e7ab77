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

// Annotations of a flag: values that shell completion suggests.
const (
	suggestion       = "kvc_suggestion"
	suggestionOrFile = "kvc_suggestion_or_file" // the value may also be a file
)

// suggest sets the values that shell completion suggests for a flag, in place of its known values. It
// panics if the command does not have the flag.
func suggest(cmd *cobra.Command, flag string, values ...string) {
	annotate(cmd, flag, suggestion, values)
}

// suggestOrFile is suggest for a flag whose value may also be a file.
func suggestOrFile(cmd *cobra.Command, flag string, values ...string) {
	annotate(cmd, flag, suggestionOrFile, values)
}

func annotate(cmd *cobra.Command, flag, key string, values []string) {
	if err := cmd.Flags().SetAnnotation(flag, key, values); err != nil {
		panic(err)
	}
}

// reads makes shell completion suggest files for a flag, with one of the extensions if there are any. It
// panics if the command does not have the flag.
func reads(cmd *cobra.Command, flag string, extensions ...string) {
	if err := cmd.MarkFlagFilename(flag, extensions...); err != nil {
		panic(err)
	}
}

// completes says whether a command line asks for shell completion.
func completes(args []string) bool {
	return len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd)
}

// completed registers shell completion for all flags with a list of values. cobra keeps what is
// registered, and so the commands, for as long as the program runs.
func completed(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if values := knownValues(f); values != nil {
			directive := cobra.ShellCompDirectiveNoFileComp
			switch {
			case f.Name == "spread", f.Name == "tasks", f.Name == "models", f.Annotations[suggestionOrFile] != nil:
				directive = cobra.ShellCompDirectiveDefault // the value may also be a file
			}
			if err := cmd.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(values, directive)); err != nil {
				panic(err) // cannot happen: the command has the flag, and is completed once
			}
		}
	})
	for _, sub := range cmd.Commands() {
		completed(sub)
	}
}

// knownValues returns the values that a flag may have, nil if they cannot be listed.
func knownValues(f *pflag.Flag) []string {
	for _, annotation := range []string{suggestion, suggestionOrFile} {
		if values := f.Annotations[annotation]; values != nil {
			return values
		}
	}
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
