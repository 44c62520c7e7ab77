package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"kvcompress/internal/testsize"
	"kvcompress/kernels/mutate"
)

// TestValidateCoverage checks the coverage of a trace and of a random pipeline.
func TestValidateCoverage(t *testing.T) {
	stdout, _ := exits(t, exitDone, "validate block-size-1 --coverage --random 1 --checks none --json"+testsize.Of(" --method tova", "", ""))
	var r struct {
		Instructions int                                              `json:"instructions"`
		Executed     int                                              `json:"executed"`
		Kernels      []struct{ Executed, Instructions, Launches int } `json:"kernels"`
		Validation   struct{ Traces int }
		Random       struct{ Pipelines int }
	}
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, k := range r.Kernels {
		sum += k.Executed
		if k.Executed > k.Instructions || (k.Executed > 0) != (k.Launches > 0) {
			t.Errorf("%+v", k)
		}
	}
	if r.Instructions < 50000 || r.Executed < 1000 || r.Executed != sum || r.Validation.Traces != 1 || r.Random.Pipelines != 1 {
		t.Errorf("%d of %d instructions, by kernels %d; %+v, %+v", r.Executed, r.Instructions, sum, r.Validation, r.Random)
	}
	stdout, stderr := exits(t, exitFailed, "validate block-size-1 --coverage --complete --checks none")
	if !strings.Contains(stdout, "Not executed, by line of the source:\n") || !strings.Contains(stderr, "instructions not executed, though expected to be") {
		t.Errorf("%s%s", stdout, stderr)
	}
}

// TestValidateMutate plants a few faults.
func TestValidateMutate(t *testing.T) {
	if testsize.Of(true, true, false) {
		t.Skip("it runs the pipelines of eight seeds: KVC_TESTS=full")
	}
	const planted = 2
	stdout, _ := exits(t, exitDone, fmt.Sprintf("validate --mutate %d --seed 2 --json", planted))
	var r mutate.Result
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || r.Mutants != planted || r.Noticed+len(r.Survivors) != planted {
		t.Errorf("%v in %s", err, stdout)
	}
}

// TestCoverageAndMutateUsage checks the flags that --coverage and --mutate exclude or need.
func TestCoverageAndMutateUsage(t *testing.T) {
	for args, want := range map[string]string{
		"--mutate 0":               "want at least 1",
		"--mutate 1 --random 2":    "exclude each other",
		"--mutate 1 --least 2":     "want 0 to 1",
		"--least 0.5":              "no effect without --mutate",
		"--complete":               "no effect without --coverage",
		"--coverage --cases x":     "exclude each other",
		"--coverage --device cuda": "needs the PTX machine",
		"--mutate 1 --device cuda": "needs the PTX machine",
	} {
		if _, stderr := exits(t, exitUsage, "validate "+args); !strings.Contains(stderr, want) {
			t.Errorf("%s: %s", args, stderr)
		}
	}
}
