package main

import (
	"bytes"
	"io"
	"regexp"
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
		{"sweep --wrokers 3", "did you mean --workers?"},
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

// TestFlagsAreAlike sees that a flag of several commands is of one type, and with the same
// shorthand; that what lists its values in its usage is completed; and that the word in its
// help is a noun for its value.
func TestFlagsAreAlike(t *testing.T) {
	type use struct{ path, kind, short string }
	first := map[string]use{}
	odd := regexp.MustCompile("`(time)`")
	everyCommand(newRootCmd(io.Discard), func(cmd *cobra.Command) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Name == "workers" && odd.MatchString(f.Usage) {
				t.Errorf("%s --%s: %s", cmd.CommandPath(), f.Name, f.Usage)
			}
			if _, ok := cmd.GetFlagCompletionFunc(f.Name); !ok && knownValues(f) != nil {
				t.Errorf("%s --%s is not completed", cmd.CommandPath(), f.Name)
			}
			if kindOf(f) != "" && f.Shorthand == "o" && f.Name != "out" {
				t.Errorf("%s -o is --%s, and --out elsewhere", cmd.CommandPath(), f.Name)
			}
			now := use{cmd.CommandPath(), f.Value.Type(), f.Shorthand}
			was, ok := first[f.Name]
			switch {
			case !ok:
				first[f.Name] = now
			case was.short != now.short:
				t.Errorf("--%s has the shorthand %q in %s, and %q in %s", f.Name, was.short, was.path, now.short, now.path)
			case f.Name == "json" && now.kind != "bool":
				t.Errorf("%s --json is a %s", now.path, now.kind)
			}
		})
	})
}
