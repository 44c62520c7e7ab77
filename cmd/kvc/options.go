package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvcompress/dtype"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/trace/regular"
	"kvcompress/traces"
)

// addOptionFlags adds a flag for each option of a replay. It returns a function that, after
// parsing, overrides options by the flags that were given. Its error is a usageError.
func addOptionFlags(fs *pflag.FlagSet) func(*sim.Options) error {
	b := newBinder(fs, sim.DefaultOptions())
	file := fs.String("options", "", "read all options from a JSON `file`, in the form of a trace's options.json; flags override it")
	b.addMethod()
	b.addEviction()
	b.addRanking()
	b.addSchedule()
	b.addPages()
	b.addScales()
	b.addBlocks()
	b.addMetric()
	b.addWindow()
	b.addSequences()
	b.addBatch()
	b.addRules()
	step := fs.Duration("step-time", time.Duration(b.given.StepTimeNS), "time of each step on the serving clock")

	return func(o *sim.Options) error {
		if fs.Changed("options") {
			read, err := readOptionsFile(*file)
			if err != nil {
				return usageError{fmt.Errorf("--options %s: %w", *file, err)}
			}
			*o = read
		}
		if fs.Changed("step-time") {
			o.StepTimeNS = step.Nanoseconds()
		}
		return b.apply(o)
	}
}

// apply overrides options by the flags that were given. Its error is a usageError.
func (b *binder) apply(o *sim.Options) error {
	fs := b.fs
	for _, pair := range [][2]string{
		{"rate", "max-cache-tokens"}, {"no-compression", "rate"}, {"no-compression", "method"}, {"no-compression", "max-cache-tokens"}, {"even-layers", "uniform"},
	} {
		if asked(fs, pair[0]) && asked(fs, pair[1]) {
			return usageError{fmt.Errorf("--%s and --%s exclude each other", pair[0], pair[1])}
		}
	}
	for _, f := range []struct {
		name, want  string
		least, most float64
	}{
		{"rate", "a fraction in (0, 1]", math.SmallestNonzeroFloat64, 1}, {"max-cache-tokens", "at least 1", 1, math.Inf(1)},
	} {
		if !fs.Changed(f.name) {
			continue
		}
		text := fs.Lookup(f.name).Value.String()
		if value, err := strconv.ParseFloat(text, 64); err != nil || !(value >= f.least && value <= f.most) {
			return usageError{fmt.Errorf("--%s %s: want %s; to compress nothing, leave it out or give --no-compression", f.name, text, f.want)}
		}
	}
	if b.method != nil {
		if err := b.method.apply(o); err != nil {
			return err
		}
	}
	c := &o.Compression
	if fs.Changed("head-bias") {
		bias, err := readHeadBias(b.biasFile)
		if err != nil {
			return usageError{fmt.Errorf("--head-bias %s: %w", b.biasFile, err)}
		}
		c.HeadBias, c.BiasWeight = bias, cmp.Or(c.BiasWeight, 1)
	}
	for _, set := range b.set {
		set(o)
	}
	if b.none {
		o.UseMethod(ref.KVCompress)
		c.Rate, c.MaxCacheTokens = 0, 0
	}
	if !c.EvenLayers && !fs.Changed("control-layers") && (fs.Changed("even-layers") || fs.Changed("uniform")) {
		c.ControlLayers = nil // they need even layers, which a flag has turned off
	}
	return nil
}

// asked reports whether a flag was given with a value other than false.
func asked(fs *pflag.FlagSet, name string) bool {
	return fs.Changed(name) && fs.Lookup(name).Value.String() != "false"
}

// binder binds flags to options. Each command adds the groups of flags that it needs, so that a
// flag means the same in all commands; defaults may differ.
type binder struct {
	fs    *pflag.FlagSet
	given sim.Options // the defaults, and after parsing the values of the flags
	last  string      // the flag that was bound last
	set   []func(*sim.Options)

	method   *methodFlags // nil without addMethod
	none     bool
	biasFile string
}

// newBinder returns a binder without flags. defaults are shown by --help.
func newBinder(fs *pflag.FlagSet, defaults sim.Options) *binder {
	return &binder{fs: fs, given: defaults}
}

// bind defines the flag of one option. at returns a pointer to the option.
func bind[T any](b *binder, define func(p *T, name string, value T, usage string), name string, at func(*sim.Options) *T, usage string) {
	given := at(&b.given)
	define(given, name, *given, usage)
	b.last = name
	b.also(func(o *sim.Options) { *at(o) = *given })
}

// also adds a change of the options that is made if the last flag was given.
func (b *binder) also(set func(*sim.Options)) {
	name := b.last
	b.set = append(b.set, func(o *sim.Options) {
		if b.fs.Changed(name) {
			set(o)
		}
	})
}

// readsOptions is reads for the flags of addOptionFlags.
func readsOptions(cmd *cobra.Command) {
	reads(cmd, "options", "json")
	reads(cmd, "head-bias", "json", "safetensors", "npz")
}

// checkOptions checks options of a trace, filled from it. The error names the trace's
// options.json.
func checkOptions(b *traces.Bundle, opt sim.Options) error {
	opt.Fill(b.Trace.Meta, b.Trace.Requests())
	if err := opt.Validate(); err != nil {
		return fmt.Errorf("%s: %w", traces.OptionsFile, err)
	}
	return nil
}

// ofOptionsFile says of an error in options that they are, or may be, of the file that
// --options names.
func ofOptionsFile(fs *pflag.FlagSet, err error) error {
	for _, name := range []string{"options", "head-bias"} {
		if f := fs.Lookup(name); f != nil && f.Changed {
			return fmt.Errorf("--%s %s: %w", name, f.Value, err)
		}
	}
	return err
}

func readOptionsFile(path string) (sim.Options, error) {
	f, err := regular.OpenFile(path)
	if err != nil {
		return sim.Options{}, err
	}
	defer f.Close()
	return sim.ReadOptions(f)
}

// enumVar returns a function, for bind, that defines a flag with one of these values.
func enumVar[T ~string | dtype.DType](fs *pflag.FlagSet, values ...T) func(p *T, name string, value T, usage string) {
	return func(p *T, name string, _ T, usage string) {
		fs.Var(&enum[T]{p, values}, name, usage)
	}
}

// enum is the value of a flag that takes one of a fixed list of values.
type enum[T ~string | dtype.DType] struct {
	value  *T
	values []T
}

// Set takes one of the enum's names, in any case, or the alias of a format.
func (e *enum[T]) Set(s string) error {
	names := e.names()
	at := slices.IndexFunc(names, func(name string) bool { return strings.EqualFold(name, s) })
	if format, err := dtype.Parse(s); at < 0 && err == nil {
		at = slices.Index(names, format.String())
	}
	if at < 0 {
		return fmt.Errorf("want %s", strings.Join(names, ", "))
	}
	*e.value = e.values[at]
	return nil
}

func (e *enum[T]) String() string {
	if e.value == nil { // pflag calls String of a zero value to recognize the default
		return ""
	}
	return fmt.Sprint(*e.value)
}

// Type returns the name of the value in --help.
func (e *enum[T]) Type() string { return "name" }

func (e *enum[T]) names() []string {
	names := make([]string, len(e.values))
	for i, v := range e.values {
		names[i] = fmt.Sprint(v)
	}
	return names
}
