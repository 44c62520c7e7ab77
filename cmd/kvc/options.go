package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvcompress/dtype"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/strictjson"
	"kvcompress/trace/regular"
)

// addOptionFlags adds a flag for each option of a replay, and returns a function
// that sets in the options, after parsing, what was given on the command line;
// all else stays as the options have it. Its error is a usageError.
func addOptionFlags(fs *pflag.FlagSet) func(*sim.Options) error {
	b := &binder{fs: fs, given: sim.DefaultOptions()}
	file := fs.String("options", "", "read all options from a JSON `file`, in the form of a trace's options.json; flags override it")

	method := addMethodFlags(fs)
	bind(b, fs.IntVar, "max-cache-tokens", func(o *sim.Options) *int { return &o.Compression.MaxCacheTokens },
		"compress to this many KVs a head: kvc methods NAME says on what average (clears the options' rate)")
	b.also(func(o *sim.Options) { o.Compression.Rate = 0 })
	bind(b, fs.Float64Var, "rate", func(o *sim.Options) *float64 { return &o.Compression.Rate },
		"compress to this part, in (0, 1]: kvc methods NAME says of what (clears the options' max_cache_tokens)")
	b.also(func(o *sim.Options) { o.Compression.MaxCacheTokens = 0 })
	none := fs.Bool("no-compression", false, "compress nothing, whatever the options say")
	bind(b, fs.IntVar, "protected-window", func(o *sim.Options) *int { return &o.Compression.ProtectedWindow },
		"never evict this many of the newest tokens")
	bind(b, fs.IntVar, "sinks", func(o *sim.Options) *int { return &o.Compression.Sinks },
		"never evict this many of the oldest tokens")

	bind(b, fs.BoolVar, "even-layers", func(o *sim.Options) *bool { return &o.Compression.EvenLayers },
		"evict as many blocks from every layer (clears the options' uniform)")
	b.also(func(o *sim.Options) { o.Compression.Uniform = o.Compression.Uniform && !o.Compression.EvenLayers })
	bind(b, fs.BoolVar, "uniform", func(o *sim.Options) *bool { return &o.Compression.Uniform },
		"evict as many blocks from every head (clears the options' even_layers)")
	b.also(func(o *sim.Options) { o.Compression.EvenLayers = o.Compression.EvenLayers && !o.Compression.Uniform })
	bind(b, fs.IntSliceVar, "control-layers", func(o *sim.Options) *[]int { return &o.Compression.ControlLayers },
		"with even layers, the `layers` that lose nothing, as in 0,31")
	bind(b, fs.BoolVar, "random", func(o *sim.Options) *bool { return &o.Compression.Random },
		"evict at random: the baseline")
	bind(b, fs.Uint64Var, "seed", func(o *sim.Options) *uint64 { return &o.Compression.Seed },
		"seed of --random")
	biasFile := fs.String("head-bias", "", "add a bias to every KV's cost by layer, head and position: a JSON `file`, {\"bins\": [0, …], \"bias\": [L][H][bins]}")
	bind(b, fs.Float32Var, "bias-weight", func(o *sim.Options) *float32 { return &o.Compression.BiasWeight },
		"weight of the head bias; where the options have none, --head-bias makes it 1")

	bind(b, fs.BoolVar, "compress-once", func(o *sim.Options) *bool { return &o.Schedule.Once },
		"compress each sequence a single time")
	bind(b, fs.IntVar, "interval", func(o *sim.Options) *int { return &o.Schedule.Interval },
		"decode steps between compressions; with 0, only a prefill or a full cache forces one")
	bind(b, fs.IntVar, "new-token-limit", func(o *sim.Options) *int { return &o.Schedule.NewTokenLimit },
		"compress when more tokens than this have entered; 0 is no limit")
	bind(b, fs.IntVar, "max-kv-per-compression", func(o *sim.Options) *int { return &o.Schedule.MaxKVPerCompression },
		"slots that one compression sorts at most; 0 is no limit")

	bind(b, fs.IntVar, "block-size", func(o *sim.Options) *int { return &o.BlockSize },
		"KVs of one block: 1, 2, 4, 8, 16 or 32")
	bind(b, fs.IntVar, "blocks", func(o *sim.Options) *int { return &o.Blocks },
		"blocks of the cache; 0 is as many as hold all requests uncompressed")
	bind(b, enumVar(fs, dtype.F32, dtype.F16, dtype.BF16, dtype.E4M3, dtype.E5M2), "kv-dtype", func(o *sim.Options) *dtype.DType { return &o.DType },
		"format of keys and values in the cache: f32, f16, bf16, fp8_e4m3 or fp8_e5m2")

	bind(b, enumVar(fs, ref.L2, ref.L1), "norm", func(o *sim.Options) *ref.Norm { return &o.Metric.Norm },
		"what a KV gains from an attention weight: its square (L2) or itself (L1)")
	bind(b, enumVar(fs, ref.Sum, ref.Avg), "reduction", func(o *sim.Options) *ref.Reduction { return &o.Metric.Reduction },
		"how its gains over many queries become one: sum or avg")
	bind(b, fs.IntVar, "max-pool", func(o *sim.Options) *int { return &o.Metric.MaxPool },
		"tokens that a prompt's metric is max-pooled over, an odd number; 0 is none")
	bind(b, fs.IntVar, "window", func(o *sim.Options) *int { return &o.Metric.Window },
		"last queries of a prompt that the metric observes")
	bind(b, fs.IntVar, "buffer", func(o *sim.Options) *int { return &o.Metric.Buffer },
		"a query counts only for keys at least this many tokens back")

	bind(b, fs.IntVar, "max-num-seqs", func(o *sim.Options) *int { return &o.Limits.MaxNumSeqs },
		"sequences that run at a time")
	bind(b, fs.IntVar, "max-num-batched-tokens", func(o *sim.Options) *int { return &o.Limits.MaxNumBatchedTokens },
		"tokens of one prefill batch")
	bind(b, fs.Float64Var, "watermark", func(o *sim.Options) *float64 { return &o.Limits.Watermark },
		"part of the blocks that an admission leaves free")
	step := fs.Duration("step-time", time.Duration(b.given.StepTimeNS), "time of each step on the serving clock")

	return func(o *sim.Options) error {
		for _, pair := range [][2]string{
			{"rate", "max-cache-tokens"}, {"no-compression", "rate"}, {"no-compression", "method"}, {"no-compression", "max-cache-tokens"}, {"even-layers", "uniform"},
		} {
			if asked(fs, pair[0]) && asked(fs, pair[1]) {
				return usageError{fmt.Errorf("--%s and --%s exclude each other", pair[0], pair[1])}
			}
		}
		for _, name := range []string{"rate", "max-cache-tokens"} {
			if fs.Changed(name) && fs.Lookup(name).Value.String() == "0" {
				return usageError{fmt.Errorf("--%s 0: to compress nothing, say --no-compression", name)}
			}
		}
		if fs.Changed("options") {
			read, err := readOptionsFile(*file)
			if err != nil {
				return usageError{fmt.Errorf("--options %s: %w", *file, err)}
			}
			*o = read
		}
		if err := method.apply(o); err != nil {
			return err
		}
		c := &o.Compression
		if fs.Changed("head-bias") {
			bias, err := readHeadBias(*biasFile)
			if err != nil {
				return usageError{fmt.Errorf("--head-bias %s: %w", *biasFile, err)}
			}
			c.HeadBias, c.BiasWeight = bias, cmp.Or(c.BiasWeight, 1)
		}
		for _, set := range b.set {
			set(o)
		}
		if *none {
			o.UseMethod(ref.KVCompress)
			c.Rate, c.MaxCacheTokens = 0, 0
		}
		if !c.EvenLayers && !fs.Changed("control-layers") && (fs.Changed("even-layers") || fs.Changed("uniform")) {
			c.ControlLayers = nil // they belonged to the even layers that a flag turned off
		}
		if fs.Changed("step-time") {
			o.StepTimeNS = step.Nanoseconds()
		}
		return nil
	}
}

// asked reports whether a flag was given, and not to be off.
func asked(fs *pflag.FlagSet, name string) bool {
	return fs.Changed(name) && fs.Lookup(name).Value.String() != "false"
}

// binder ties flags to options.
type binder struct {
	fs    *pflag.FlagSet
	given sim.Options // what --help shows as defaults, and then what was parsed
	last  string      // flag
	set   []func(*sim.Options)
}

// bind defines the flag of one option, which at finds among all.
func bind[T any](b *binder, define func(p *T, name string, value T, usage string), name string, at func(*sim.Options) *T, usage string) {
	given := at(&b.given)
	define(given, name, *given, usage)
	b.last = name
	b.also(func(o *sim.Options) { *at(o) = *given })
}

// also has done what the last flag entails besides, where it is given.
func (b *binder) also(set func(*sim.Options)) {
	name := b.last
	b.set = append(b.set, func(o *sim.Options) {
		if b.fs.Changed(name) {
			set(o)
		}
	})
}

// completeOptionFlags teaches the shell the values of the flags that
// addOptionFlags has added to a command.
func completeOptionFlags(cmd *cobra.Command) error {
	var errs []error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if e, ok := f.Value.(interface{ names() []string }); ok {
			errs = append(errs, cmd.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(e.names(), cobra.ShellCompDirectiveNoFileComp)))
		}
	})
	for _, name := range []string{"options", "head-bias"} {
		errs = append(errs, cmd.MarkFlagFilename(name, "json"))
	}
	errs = append(errs,
		cmd.RegisterFlagCompletionFunc("block-size", cobra.FixedCompletions([]string{"1", "2", "4", "8", "16", "32"}, cobra.ShellCompDirectiveNoFileComp)))
	return errors.Join(errs...)
}

func readOptionsFile(path string) (sim.Options, error) {
	f, err := os.Open(path)
	if err != nil {
		return sim.Options{}, regular.Short(err)
	}
	defer f.Close()
	return sim.ReadOptions(f)
}

// maxBiasBytes bounds a file of head biases: 128 layers, 128 heads and 64 bins fit.
const maxBiasBytes = 32 << 20

func readHeadBias(path string) (*ref.HeadBias, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, regular.Short(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxBiasBytes+1))
	if err != nil {
		return nil, regular.Short(err)
	}
	if len(text) > maxBiasBytes {
		return nil, fmt.Errorf("the file is longer than %d MiB", maxBiasBytes>>20)
	}
	bias := new(ref.HeadBias)
	return bias, strictjson.Unmarshal(text, bias)
}

// enumVar returns what defines a flag whose value is one of a few.
func enumVar[T ~string | dtype.DType](fs *pflag.FlagSet, values ...T) func(p *T, name string, value T, usage string) {
	return func(p *T, name string, _ T, usage string) {
		fs.Var(&enum[T]{p, values}, name, usage)
	}
}

// enum is a flag's value, one of a few.
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
	if e.value == nil { // of a zero enum, which pflag makes to know its default
		return ""
	}
	return fmt.Sprint(*e.value)
}

// Type is what --help calls the value.
func (e *enum[T]) Type() string { return "name" }

func (e *enum[T]) names() []string {
	names := make([]string, len(e.values))
	for i, v := range e.values {
		names[i] = fmt.Sprint(v)
	}
	return names
}
