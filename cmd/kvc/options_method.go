package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"kvcompress/ref"
	"kvcompress/sim"
)

// methodFlags are --method and --set.
type methodFlags struct {
	fs   *pflag.FlagSet
	name string
	set  []string
}

// addMethodFlags adds the flags that choose a method and set its own options.
func addMethodFlags(fs *pflag.FlagSet) *methodFlags {
	m := &methodFlags{fs: fs}
	fs.StringVar(&m.name, "method", ref.KVCompress, "compression method, a `name` of kvc methods (removes the options of the method that it replaces)")
	fs.StringArrayVar(&m.set, "set", nil, "one of the method's own options, `KEY=VALUE`, as kvc methods NAME lists them; may be repeated")
	return m
}

// kvCompressFlags are the flags of options that only KV-Compress has.
var kvCompressFlags = []string{
	"protected-window", "sinks", "even-layers", "uniform", "control-layers", "random", "seed", "head-bias", "bias-weight",
	"norm", "reduction", "max-pool", "window", "buffer", "prefill-metrics-only",
}

// apply sets the method and its options from the flags, and refuses options of another method.
// Its error is a usageError.
func (m *methodFlags) apply(o *sim.Options) error {
	if m.fs.Changed("method") {
		e, err := ref.FindMethod(m.name)
		if err != nil {
			return usageError{fmt.Errorf("--method: %w", err)}
		}
		o.UseMethod(m.name)
		if e.OwnPages { // the method has no budget: drop that of another
			if !m.fs.Changed("max-cache-tokens") {
				o.Compression.MaxCacheTokens = 0
			}
			if !m.fs.Changed("rate") {
				o.Compression.Rate = 0
			}
		}
	}
	name := o.Method
	if name == "" {
		name = ref.KVCompress
	}
	if name != ref.KVCompress {
		for _, flag := range kvCompressFlags {
			if m.fs.Changed(flag) {
				return usageError{fmt.Errorf("--%s is an option of %s: see kvc methods %s for those of %s", flag, ref.KVCompress, name, name)}
			}
		}
	}
	if len(m.set) == 0 {
		return nil
	}
	if name == ref.KVCompress {
		return usageError{fmt.Errorf("--set %s: the options of %s are flags: see --help", m.set[0], ref.KVCompress)}
	}
	set := ref.Settings{}
	for key, value := range o.Set {
		set[key] = value
	}
	for _, text := range m.set {
		if err := setOption(set, name, text); err != nil {
			return usageError{fmt.Errorf("--set %s: %w", text, err)}
		}
	}
	o.Set = set
	return nil
}

// setOption sets an option of a method, given as KEY=VALUE.
func setOption(set ref.Settings, method, text string) error {
	key, value, ok := strings.Cut(text, "=")
	if !ok || key == "" {
		return errors.New("want KEY=VALUE")
	}
	if key == mapKey && takesMap(method) {
		full, err := fullHeads(value)
		if err != nil {
			return err
		}
		set["full"] = full
		return nil
	}
	set.Set(key, value)
	return nil
}
