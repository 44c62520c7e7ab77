package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvcompress/internal/near"
	"kvcompress/sim"
	"kvcompress/sim/cost"
)

// ofVLLM has flags of vLLM's server and benchmarks that have other names here.
var ofVLLM = map[string]string{
	"tensor-parallel-size": "tensor-parallel", "pipeline-parallel-size": "pipeline-parallel",
	"kv-cache-dtype": "kv-dtype", "quantization": "weights", "num-gpu-blocks-override": "num-gpu-blocks",
	"no-enable-prefix-caching": "enable-prefix-caching=false", "no-enable-chunked-prefill": "enable-chunked-prefill=false",
	"max-concurrency": "concurrency",
}

// flagError rewrites the errors of parsed flags: it suggests a name for an unknown flag, and
// says what an invalid value should be.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "":
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		name := near.Name(unknown.GetSpecifiedName(), names)
		if same := ofVLLM[unknown.GetSpecifiedName()]; slices.Contains(names, strings.TrimSuffix(same, "=false")) {
			name = same
		}
		if name != "" {
			err = fmt.Errorf("%w: did you mean --%s?", err, name)
		}
	case errors.As(err, &invalid):
		f := invalid.GetFlag()
		cause := invalid.Unwrap()
		if want := wanted(cmd, f); want != "" {
			cause = errors.New("want " + want)
		}
		if strings.Contains(invalid.GetValue(), ",") && slices.Contains([]string{"int", "int64", "float64"}, f.Value.Type()) {
			cause = fmt.Errorf("%w; it takes no list%s", cause, listsOf(cmd, f.Name))
		}
		err = fmt.Errorf("--%s %q: %w", f.Name, invalid.GetValue(), cause)
	}
	return usageError{err}
}

// listsOf says which other command has the flag with a list of values; "" if none has.
func listsOf(cmd *cobra.Command, name string) string {
	for _, other := range cmd.Root().Commands() {
		if f := other.Flags().Lookup(name); other.Name() == "sweep" && f != nil && strings.HasSuffix(f.Value.Type(), "Slice") {
			return ": kvc sweep does"
		}
	}
	return ""
}

// boundsOf returns the bounds of an integer flag, as the commands check them after parsing; ok is false for a
// flag whose bounds are not known here.
func boundsOf(cmd *cobra.Command, name string) (least, most int, ok bool) {
	switch name {
	case "tensor-parallel":
		return 1, cost.MaxTP, true
	case "pipeline-parallel":
		return 1, cost.MaxPP, true
	case "prefill-replicas", "decode-replicas":
		return 1, sim.MaxReplicas, true
	case "max-num-seqs", "max-num-batched-tokens":
		if cmd.Flags().Lookup("gpu") == nil { // a replay has no card, whose memory a cost model would fill
			return 1, math.MaxInt32, true
		}
		return 1, 1 << 24, true
	}
	return 0, 0, false
}

// wanted describes the values of a flag of one of pflag's own types; "" for other types, whose errors say
// it themselves.
func wanted(cmd *cobra.Command, f *pflag.Flag) string {
	switch f.Value.Type() {
	case "int":
		if least, most, ok := boundsOf(cmd, f.Name); ok {
			return fmt.Sprintf("an integer from %d to %d", least, most)
		}
		return "an integer of less than 20 digits"
	case "int64":
		return fmt.Sprintf("an integer from %d to %d", math.MinInt64, math.MaxInt64)
	case "uint64":
		return fmt.Sprintf("an integer from 0 to %d", uint64(math.MaxUint64))
	case "float32", "float64":
		return "a number, such as 0.5"
	case "bool":
		return "true or false"
	case "duration":
		return "a time with its unit, such as 50ms, 2s or 1h30m"
	case "durationSlice":
		return "times with their units and commas between them, such as 0s,50ms,90ms"
	case "intSlice":
		return "integers with commas between them, such as 1,2,4"
	case "float32Slice", "float64Slice":
		return "numbers with commas between them, such as 0.5,1,2"
	case "stringSlice":
		return "values with commas between them; one with a comma or a quote in it is quoted as in CSV"
	}
	return ""
}

// positive is the value of a flag that takes an integer of at least 1. The default may be 0.
type positive[T int | int64] struct{ to *T }

// Set takes an integer of at least 1.
func (p positive[T]) Set(text string) error {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		return fmt.Errorf("want an integer from 1 to %d", math.MaxInt64)
	}
	*p.to = T(n)
	return nil
}

func (p positive[T]) String() string {
	if p.to == nil { // pflag calls String of a zero value to recognize the default
		return "0"
	}
	return fmt.Sprint(*p.to)
}

// Type returns the name of the value in --help.
func (p positive[T]) Type() string { return "number" }

// needsAnnotation is the key of a flag's annotation with the flags that it needs one of.
const needsAnnotation = "kvc_needs"

// needs declares that a flag has no effect unless one of others is given too. The command
// refuses the flag alone.
func needs(fs *pflag.FlagSet, name string, others ...string) {
	// It fails only for a flag that does not exist.
	_ = fs.SetAnnotation(name, needsAnnotation, others)
}

// checkNeeds returns an error for the first flag that has no effect because none of the flags it needs is given.
func checkNeeds(cmd *cobra.Command) error {
	fs := cmd.Flags()
	var err error
	fs.Visit(func(f *pflag.Flag) {
		others := f.Annotations[needsAnnotation]
		if err == nil && len(others) > 0 && !slices.ContainsFunc(others, fs.Changed) {
			err = usagef("--%s has no effect without --%s", f.Name, strings.Join(others, " or --"))
		}
	})
	return err
}

// checked makes the command and its subcommands check, before they begin, that no flag lacks
// another, and that their outputs can be written and would not overwrite their inputs or each
// other.
func checked(cmd *cobra.Command) {
	if work := cmd.RunE; work != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if err := checkNeeds(cmd); err != nil {
				return err
			}
			if err := checkOutputs(cmd, args); err != nil {
				return err
			}
			return work(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		checked(sub)
	}
}
