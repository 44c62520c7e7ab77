package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// kvc heads find finds the heads that kvc heads build made.
func TestHeadsBuildAndFind(t *testing.T) {
	t.Chdir(t.TempDir())
	code, out, stderr := kvc("heads", "build", "--heads", "previous,sink;local,induction;echo,uniform", "--group", "1", "--noise", "0.2", "--seed", "3", "-o", "model")
	if code != exitDone || !strings.Contains(out, "3 layers × 2 KV heads: 2 of 6 full") || stderr != "Written to model.\n" {
		t.Fatalf("%d\n%s\n%s", code, out, stderr)
	}
	code, _, stderr = kvc("heads", "find", "--model", "model", "--period", "40", "--distinct", "--ids", "1:255",
		"--induction-ratio", "0.17", "--echo-ratio", "0.17", "-o", "found.json")
	if code != exitDone {
		t.Fatalf("%d\n%s", code, stderr)
	}
	if want, got := readHeadMap(t, "model/heads.json"), readHeadMap(t, "found.json"); !cmp.Equal(want.Classes, got.Classes) {
		t.Errorf("built %v, found %v", want.Classes, got.Classes)
	}
}

func TestHeadsBuildErrors(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "-o is missing"},
		{[]string{"-o", "m", "--heads", "previous;magic"}, `--heads: built: head 0 of layer 1: there is no kind "magic"`},
		{[]string{"-o", "m", "--heads", "induction"}, "needs a previous-token head in an earlier layer"},
		{[]string{"-o", "m", "--noise", "-1"}, "built: a noise of -1"},
		{[]string{"-o", "m", "--vocab", "9999"}, "built: a vocabulary of 9999"},
	} {
		if code, _, stderr := kvc(append([]string{"heads", "build"}, c.args...)...); code != exitUsage || !strings.Contains(stderr, c.want) {
			t.Errorf("%v: %d, %s, want %q", c.args, code, stderr, c.want)
		}
	}
}
