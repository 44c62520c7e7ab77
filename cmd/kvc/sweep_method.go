package main

import (
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"kvcompress/ref"
	"kvcompress/sim/sweep"
)

// sweepMethod is the single compression of a sweep, given by the flags of kvc sim in place of
// --compression.
type sweepMethod struct {
	fs        *pflag.FlagSet
	name      string
	rate      float64
	maxTokens int
	none      bool
}

func (m *sweepMethod) add(fs *pflag.FlagSet) {
	m.fs = fs
	fs.StringVar(&m.name, "method", "", "with --rate or --max-cache-tokens, a single compression in place of --compression, as in kvc sim: a `name` of kvc methods")
	fs.Float64Var(&m.rate, "rate", 0, "compress to this `fraction`, in (0, 1]; kvc methods NAME says of what")
	fs.IntVar(&m.maxTokens, "max-cache-tokens", 0, "compress to this many KVs per head (`tokens`), averaged as kvc methods NAME says")
	fs.BoolVar(&m.none, "no-compression", false, "do not compress")
}

// flags returns those of these flags that were given.
func (m *sweepMethod) flags() []string {
	return slices.DeleteFunc([]string{"method", "rate", "max-cache-tokens", "no-compression"}, func(name string) bool { return !asked(m.fs, name) })
}

// list returns the compressions of --compression, or the one of the other flags.
func (m *sweepMethod) list(compressions []string) ([]sweep.Compression, error) {
	flags := m.flags()
	if len(flags) > 0 {
		if m.fs.Changed("compression") {
			return nil, usagef("--%s and --compression exclude each other: --compression %s says the same", flags[0], m.text())
		}
		if m.none && len(flags) > 1 || m.fs.Changed("rate") && m.fs.Changed("max-cache-tokens") {
			return nil, usagef("--%s and --%s exclude each other", flags[0], flags[len(flags)-1])
		}
		compressions = []string{m.text()}
	}
	var list []sweep.Compression
	for _, text := range compressions {
		c, err := sweep.ParseCompression(text)
		switch {
		case err != nil && len(flags) > 0:
			return nil, usagef("--%s: %w", strings.Join(flags, ", --"), err)
		case err != nil:
			return nil, usagef("--compression: %w", err)
		}
		if !slices.Contains(list, c) {
			list = append(list, c)
		}
	}
	return list, nil
}

// text returns the single compression as a value of --compression.
func (m *sweepMethod) text() string {
	if m.none {
		return "none"
	}
	parts := []string{}
	if m.name != "" {
		parts = append(parts, m.name)
	}
	switch {
	case m.fs.Changed("rate"):
		parts = append(parts, "rate:"+strconv.FormatFloat(m.rate, 'g', -1, 64))
	case m.fs.Changed("max-cache-tokens"):
		parts = append(parts, "tokens:"+strconv.Itoa(m.maxTokens))
	}
	return strings.Join(parts, ":")
}

// setOptions reads the values of --set: METHOD.KEY=VALUE, or KEY=VALUE with --method.
func (m *sweepMethod) setOptions(texts []string) (map[string]ref.Settings, error) {
	var set map[string]ref.Settings
	for _, text := range texts {
		key, _, _ := strings.Cut(text, "=")
		method, _, named := strings.Cut(key, ".")
		option := text[min(len(text), len(method)+1):]
		switch {
		case !named && m.name != "":
			method, option = m.name, text
		case !named:
			return nil, usagef("--set %s: want METHOD.KEY=VALUE, or KEY=VALUE with --method", text)
		}
		if _, err := ref.FindMethod(method); err != nil {
			return nil, usagef("--set %s: %w", text, err)
		}
		if method == ref.KVCompress {
			return nil, usagef("--set %s: the options of %s are flags: see --help", text, method)
		}
		if set[method] == nil {
			if set == nil {
				set = map[string]ref.Settings{}
			}
			set[method] = ref.Settings{}
		}
		if err := setOption(set[method], method, option); err != nil {
			return nil, usagef("--set %s: %w", text, err)
		}
	}
	return set, nil
}
