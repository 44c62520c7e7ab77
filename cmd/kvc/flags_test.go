package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestInvalidValues gives every flag a value that its type does not accept: the error names the
// flag and the expected form, without the words of Go's parsers.
func TestInvalidValues(t *testing.T) {
	raw := regexp.MustCompile(`strconv|parsing|invalid syntax|invalid argument|out of range|time: |parse error`)
	refused := 0
	everyCommand(newRootCmd(io.Discard, nil), func(cmd *cobra.Command) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			for _, value := range []string{"x", "-1", "0x", "1e999", "99999999999999999999999", "1,,2", `"`, "1 2", ""} {
				err := cmd.Flags().Set(f.Name, value)
				if err == nil {
					continue
				}
				refused++
				err = flagError(cmd, err)
				if text := err.Error(); raw.MatchString(text) || !strings.Contains(text, "want") || !strings.HasPrefix(text, fmt.Sprintf("--%s %q: ", f.Name, value)) {
					t.Errorf("%s --%s=%q: %v", cmd.CommandPath(), f.Name, value, err)
				}
			}
		})
	})
	if refused < 1000 {
		t.Errorf("%d values are refused", refused)
	}
}

// TestUnknownCommands checks that every command with subcommands refuses an unknown subcommand.
func TestUnknownCommands(t *testing.T) {
	everyCommand(newRootCmd(io.Discard, nil), func(cmd *cobra.Command) {
		if !cmd.HasSubCommands() {
			return
		}
		line := append(strings.Fields(cmd.CommandPath())[1:], "foo")
		var out, errs bytes.Buffer
		if code := run(line, &out, &errs); code != exitUsage || out.Len() > 0 || !strings.Contains(errs.String(), `"foo"`) {
			t.Errorf("kvc %s: exit code %d: %s%s", strings.Join(line, " "), code, &out, &errs)
		}
	})
}

// TestUnknownNamesAreShort checks that the list of known models or cards appears once, although
// several names are unknown.
func TestUnknownNamesAreShort(t *testing.T) {
	for _, command := range []string{"sweep", "plan"} {
		for _, names := range []string{"--model a,b,c --gpu l4", "--model llama-3.1-8b --gpu a,b,c"} {
			if command == "plan" {
				names = strings.ReplaceAll(names, "--model a,b,c", "--model a")
			}
			code, _, errs := kvc(strings.Fields(command + " --requests x " + names)...)
			if code != exitUsage || len(errs) > 1000 || !strings.Contains(errs, `"a"`) {
				t.Errorf("kvc %s %s: exit code %d: %s", command, names, code, errs)
			}
		}
	}
}

// TestNeeds checks that a flag without the one that it goes with is refused, and accepted with
// it.
func TestNeeds(t *testing.T) {
	type flag struct{ path, name, other string }
	var flags []flag
	everyCommand(newRootCmd(io.Discard, nil), func(cmd *cobra.Command) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			for _, other := range f.Annotations[needsAnnotation] {
				flags = append(flags, flag{cmd.CommandPath(), f.Name, other})
			}
		})
	})
	if len(flags) < 10 {
		t.Errorf("%d flags need another", len(flags))
	}
	for _, f := range flags {
		cmd, _, err := newRootCmd(io.Discard, nil).Find(strings.Fields(f.path)[1:])
		if err != nil {
			t.Fatal(err)
		}
		set := func(name string) {
			if err := cmd.Flags().Set(name, cmp.Or(map[string]string{"device": "ptx", "checks": "none"}[name], "1s")); err != nil {
				if err := cmd.Flags().Set(name, "1"); err != nil {
					t.Fatal(err)
				}
			}
		}
		set(f.name)
		if err := checkNeeds(cmd); err == nil || !strings.Contains(err.Error(), "--"+f.name+" has no effect without --") {
			t.Errorf("%s --%s: %v", f.path, f.name, err)
		}
		set(f.other)
		if err := checkNeeds(cmd); err != nil {
			t.Errorf("%s --%s --%s: %v", f.path, f.name, f.other, err)
		}
	}
}

// TestLimitsWithWhichVLLMDoesNotStart checks that fewer tokens of a batch than sequences are
// refused in every path, unless the number of sequences is the server's own.
func TestLimitsWithWhichVLLMDoesNotStart(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{
		"log.csv":      "arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,100,10\n0.75,100,10\n",
		"measured.csv": "arrival_s,input_tokens,output_tokens,ttft_ms\n1,100,5,10\n2,100,5,10\n",
		"runs.csv":     "model,gpu,isl,osl,concurrency,tpot_ms,max_num_seqs,max_num_batched_tokens\nllama-3.1-8b,h100,50,50,2,10,64,16\n",
		"sizes.csv":    "model,card,utilization,max_num_batched_tokens,max_num_seqs\nllama-3.1-8b,h100,0.9,16,64\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const served = " --requests log.csv --model llama-3.1-8b --gpu h100 "
	for line, code := range map[string]int{
		"sim" + served + "--max-num-seqs 64 --max-num-batched-tokens 63":                              exitUsage,
		"sim" + served + "--max-num-seqs 64 --max-num-batched-tokens 64":                              exitDone,
		"sim" + served + "--max-num-batched-tokens 63":                                                exitDone,
		"sim" + served + "--max-num-seqs 10000":                                                       exitUsage, // the card's default is 8192 tokens
		"sweep" + served + "--max-num-seqs 16,64 --max-num-batched-tokens 63":                         exitUsage,
		"sweep" + served + "--max-num-seqs 16,63 --max-num-batched-tokens 63":                         exitDone,
		"sweep" + served + "--max-num-batched-tokens 63":                                              exitDone,
		"plan" + served + "--slo-ttft 10s --max-num-seqs 64 --max-num-batched-tokens 63":              exitUsage,
		"plan" + served + "--slo-ttft 10s --engine own --max-num-seqs 64 --max-num-batched-tokens 63": exitUsage,
		"plan" + served + "--slo-ttft 10s --max-num-batched-tokens 63":                                exitDone,
		"sim --cases runs.csv":  exitUsage,
		"sim --cases sizes.csv": exitUsage,
		"sim --cases measured.csv --model llama-3.1-8b --gpu h100 --max-num-seqs 64 --max-num-batched-tokens 63":                  exitUsage,
		"sim --cases measured.csv --model llama-3.1-8b --gpu h100 --max-num-batched-tokens 63":                                    exitDone,
		"calibrate --measurements runs.csv -o new.json":                                                                           exitUsage,
		"calibrate --measurements measured.csv,model=llama-3.1-8b,gpu=h100,max-num-seqs=64,max-num-batched-tokens=63 -o new.json": exitUsage,
	} {
		var out, errs bytes.Buffer
		got := run(strings.Fields(line), &out, &errs)
		if got != code || code == exitUsage && !strings.Contains(errs.String(), "with which vLLM does not start: want max_num_batched_tokens of at least") {
			t.Errorf("kvc %s: exit code %d, want %d: %s", line, got, code, &errs)
		}
	}
}

// TestNoLoadMeetsTheObjectives checks that a search for the largest load that finds none at any
// point has the exit code of a sweep without results; a search that finds one has exit code 0.
func TestNoLoadMeetsTheObjectives(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("log.csv", []byte("arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,1000,10\n0.75,1000,10\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const line = "sweep --requests log.csv --model llama-3.1-8b --gpu l4,h100 --max-load "
	for objective, code := range map[string]int{"--slo-ttft 1ns": exitUsage, "--slo-ttft 200ms": exitDone} {
		var out, errs bytes.Buffer
		if got := run(strings.Fields(line+objective), &out, &errs); got != code || (code != exitDone) != strings.Contains(errs.String(), "no point has a load that meets the objectives") {
			t.Errorf("kvc %s%s: exit code %d: %s", line, objective, got, &errs)
		} else if code != exitDone && !strings.Contains(out.String(), "no load meets") {
			t.Errorf("kvc %s%s:\n%s", line, objective, &out)
		}
	}
	if code := run(strings.Fields(line+"--slo-ttft 1ns -o sweep"), io.Discard, io.Discard); code != exitUsage {
		t.Errorf("with -o: exit code %d", code)
	}
	if code := run(strings.Fields("sweep merge sweep"), io.Discard, io.Discard); code != exitUsage {
		t.Errorf("merged: exit code %d", code)
	}
}

// TestBoundsOfIntegers checks that the error for a value that is no integer has the bounds by which integers are refused,
// and says which command takes a list.
func TestBoundsOfIntegers(t *testing.T) {
	const served = "sim --requests six-stories --model llama-3.1-8b --gpu l4 "
	bound := regexp.MustCompile(`want (?:an integer from )?([0-9]+) to ([0-9]+)`)
	for _, c := range []struct{ command, flag, list string }{
		{served, "max-num-batched-tokens", "it takes no list\n"},
		{served + "--max-num-batched-tokens 16777216 ", "max-num-seqs", "it takes no list: kvc sweep does\n"},
		{served, "tensor-parallel", "it takes no list: kvc sweep does\n"},
		{served, "pipeline-parallel", "it takes no list\n"},
		{"run story ", "max-num-seqs", "it takes no list: kvc sweep does\n"},
		{"run story ", "max-num-batched-tokens", "it takes no list\n"},
	} {
		code, _, errs := kvc(strings.Fields(c.command + "--" + c.flag + " 16,64")...)
		m := bound.FindStringSubmatch(errs)
		if code != exitUsage || m == nil || !strings.HasSuffix(errs, c.list) {
			t.Errorf("%s--%s 16,64: %d: %s", c.command, c.flag, code, errs)
			continue
		}
		most, err := strconv.Atoi(m[2])
		if err != nil {
			t.Fatal(err)
		}
		for _, value := range []int{0, most + 1} {
			code, _, errs := kvc(strings.Fields(fmt.Sprintf("%s--%s %d", c.command, c.flag, value))...)
			if refused := bound.FindStringSubmatch(errs); code != exitUsage || refused == nil || refused[1] != m[1] || refused[2] != m[2] {
				t.Errorf("%s--%s %d: %d: %s, and the bounds are said to be %v", c.command, c.flag, value, code, errs, m[1:])
			}
		}
	}
	if code, _, errs := kvc(strings.Fields(served + "--limit 3,4")...); code != exitUsage || !strings.Contains(errs, "want an integer of less than 20 digits") {
		t.Errorf("%d: %s", code, errs)
	}
}
