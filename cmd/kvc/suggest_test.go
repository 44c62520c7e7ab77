package main

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func TestDidYouMean(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"rnu", "did you mean kvc run?"}, {"valdate", "did you mean kvc validate?"}, {"trace imprt x", "did you mean kvc trace import?"},
		{"golden chekc", "did you mean kvc golden check?"}, {"versoin", "did you mean kvc version?"},
		{"run --rat 0.5", "did you mean --rate?"}, {"run --block_size 3", "did you mean --block-size?"}, {"sim --request x", "did you mean --requests?"},
		{"sweep --wrokers 3", "did you mean --workers?"}, {"sim --kv-cache-dtype fp8", "did you mean --kv-dtype?"}, {"plan --tensor-parallel-size 2", "did you mean --tensor-parallel?"},
		{"plan --no-enable-prefix-caching", "did you mean --enable-prefix-caching=false?"},
	} {
		var errs bytes.Buffer
		if code := run(strings.Fields(c.line), io.Discard, &errs); code != exitUsage || !strings.Contains(errs.String(), c.want) {
			t.Errorf("kvc %s: %d: %s", c.line, code, &errs)
		}
	}
	for _, line := range []string{"xyzzy", "run --xyzzy", "run -Q"} {
		var errs bytes.Buffer
		if code := run(strings.Fields(line), io.Discard, &errs); code != exitUsage || strings.Contains(errs.String(), "did you mean") {
			t.Errorf("kvc %s: %d: %s", line, code, &errs)
		}
	}
}

func TestVersion(t *testing.T) {
	var out, flag bytes.Buffer
	if code := run([]string{"version"}, &out, io.Discard); code != exitDone || !strings.HasPrefix(out.String(), "kvc version ") {
		t.Errorf("%d: %s", code, &out)
	}
	if code := run([]string{"--version"}, &flag, io.Discard); code != exitDone || flag.String() != out.String() {
		t.Errorf("%q and %q", &flag, &out)
	}
	out.Reset()
	if code := run([]string{"version", "--json"}, &out, io.Discard); code != exitDone || !strings.Contains(out.String(), `"go": "go1.`) {
		t.Errorf("%d: %s", code, &out)
	}
}

// unlike lists the flags whose kind or default differs between commands, with the reasons.
var unlike = map[string]string{
	"budgets":                "bench needle shows one budget, by length and depth",
	"digits":                 "of bench needle, several, by turns",
	"methods":                "bench needle shows a map of each, so it has a few",
	"models":                 "bench needle runs many lengths, of one model",
	"max-tokens":             "of bench, of an answer; by default what its dataset says",
	"block-size":             "bench has contexts of 512 tokens, of which a block of 16 would be too large a step",
	"check":                  "of ptx mutate, the command that checks",
	"checks":                 "bench compares what its sample gives with the reference, to the bit",
	"device":                 "what it may be is the same; by default a replay is the reference's, ptx runs on the PTX machine, and validate takes a GPU where there is one",
	"format":                 "of what each command writes or reads",
	"gpu-memory-utilization": "sweep and plan have --memory, in whose place it is",
	"heads":                  "heads build needs one of each kind",
	"max-kv-per-compression": "sim, sweep and plan have KV-Compress's limit; a replay has none",
	"memory":                 "of ptx script, bytes of buffers",
	"method":                 "of one compression; sweep, plan and validate have none or all where it is left out",
	"model":                  "synth needs a shape of some model; a model that is run or served is named",
	"out":                    "demo alone has a folder of its own",
	"prompt":                 "of a model, a text; of a trace that is made up, its tokens",
	"prompts":                "of record, a file of them; of bench, how many",
	"random":                 "of validate, how many random pipelines",
	"replicas":               "plan finds how many are needed",
	"requests":               "of sim, sweep and plan, where they are; of synth, few, since each has tensors; of generate, many",
	"router":                 "plan asks what a fleet can do at its best",
	"sample":                 "of bench, how many generations; of import, which part of a log",
	"seed":                   "of a replay it is an option, and 0 where options.json has none; heads find and build give the maps and models that docs/heads.md shows",
	"steps":                  "of run and generate, rows of a table, which may be all",
}

// TestFlagsAreAlike checks that a flag which several commands have is of one kind, or a list of that
// kind, with one default and one shorthand. Exceptions are listed with their reasons. It also
// checks that flags with a few known values are completed.
func TestFlagsAreAlike(t *testing.T) {
	type use struct{ path, kind, value, short string }
	first := map[string]use{}
	differ := map[string]bool{}
	root := newRootCmd(io.Discard, nil)
	completed(root)
	everyCommand(root, func(cmd *cobra.Command) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Name == "workers" && strings.Contains(f.Usage, "`time`") {
				t.Errorf("%s --%s: %s", cmd.CommandPath(), f.Name, f.Usage)
			}
			if _, ok := cmd.GetFlagCompletionFunc(f.Name); !ok && knownValues(f) != nil {
				t.Errorf("%s --%s is not completed", cmd.CommandPath(), f.Name)
			}
			if kindOf(f) != "" && f.Shorthand == "o" && f.Name != "out" {
				t.Errorf("%s -o is --%s, and --out elsewhere", cmd.CommandPath(), f.Name)
			}
			now := use{cmd.CommandPath(), kindOfValue(f), strings.Trim(f.DefValue, "[]"), f.Shorthand}
			if now.kind != "string" && now.value == "0" {
				now.value = "" // nothing, as an empty list is
			}
			was, ok := first[f.Name]
			switch {
			case !ok:
				first[f.Name] = now
			case was.short != now.short:
				t.Errorf("--%s has the shorthand %q in %s, and %q in %s", f.Name, was.short, was.path, now.short, now.path)
			case was.kind != now.kind || was.value != now.value:
				if differ[f.Name] = true; unlike[f.Name] == "" {
					t.Errorf("--%s is %s, by default %q, in %s, and %s, by default %q, in %s", f.Name, was.kind, was.value, was.path, now.kind, now.value, now.path)
				}
			}
		})
	})
	for name := range unlike {
		if !differ[name] {
			t.Errorf("--%s is listed as unlike, and is not", name)
		}
	}
}

// kindOfValue is a flag's type; for a list, that of its elements.
func kindOfValue(f *pflag.Flag) string {
	kind := f.Value.Type()
	for _, list := range []string{"Slice", "Array"} {
		kind = strings.TrimSuffix(kind, list)
	}
	if kind == "name" { // one of a few strings
		kind = "string"
	}
	return kind
}

// TestCompletedValues completes flags whose help text lists their values.
func TestCompletedValues(t *testing.T) {
	for line, want := range map[string]string{
		"run --block-size": "32", "bench --block-size": "32", "bench --modes": "query-agnostic", "plan --quality-mode": "query-aware",
		"bench --categories": "needle", "bench --methods": "snapkv", "bench needle --models": "recall-1", "bench --tasks": "text",
		"generate --prefill": "windowed", "sim --usage-context": "engine",
	} {
		_, out, _ := kvc(append(append([]string{"__complete"}, strings.Fields(line)...), "")...)
		if !slices.Contains(strings.Split(out, "\n"), want) {
			t.Errorf("%s is completed by %q, want one of %s", line, out, want)
		}
	}
}

// TestFlagsOfVLLM checks that each flag that stands for one of vLLM's is there, and vLLM's is not.
func TestFlagsOfVLLM(t *testing.T) {
	flags := newSimCmd().Flags()
	for theirs, ours := range ofVLLM {
		if flags.Lookup(theirs) != nil || flags.Lookup(strings.TrimSuffix(ours, "=false")) == nil {
			t.Errorf("--%s for --%s", ours, theirs)
		}
	}
}
