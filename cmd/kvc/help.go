package main

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpWidth is the number of columns to which the flags of a help text are wrapped.
const helpWidth = "120"

// readableHelp wraps the flags of all help texts, and writes defaults as they would be typed:
// 1,2 and not [1.000000,2.000000].
func readableHelp(root *cobra.Command) {
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), "Flags.FlagUsages ", "Flags.FlagUsagesWrapped "+helpWidth+" "))
	eachFlag(root, func(f *pflag.Flag) { f.DefValue = typed(f) })
}

func eachFlag(cmd *cobra.Command, do func(f *pflag.Flag)) {
	cmd.Flags().VisitAll(do)
	for _, sub := range cmd.Commands() {
		eachFlag(sub, do)
	}
}

// typed returns a flag's default as it would be typed.
func typed(f *pflag.Flag) string {
	list, isList := strings.CutPrefix(f.DefValue, "[")
	list, closed := strings.CutSuffix(list, "]")
	if !isList || !closed {
		return f.DefValue
	}
	if list == "" {
		switch f.Value.Type() {
		case "stringSlice", "stringArray", "intSlice":
			return f.DefValue // which pflag omits
		}
		return ""
	}
	if !strings.HasPrefix(f.Value.Type(), "float") {
		return list
	}
	numbers := strings.Split(list, ",")
	for i, n := range numbers {
		if x, err := strconv.ParseFloat(n, 64); err == nil {
			numbers[i] = strconv.FormatFloat(x, 'g', -1, 64)
		}
	}
	return strings.Join(numbers, ",")
}
