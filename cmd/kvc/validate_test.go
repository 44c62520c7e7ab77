package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"kvcompress/internal/testsize"
	"kvcompress/kernels"
	"kvcompress/ref"
	"kvcompress/validate"
)

// withStart writes PTX whose attend_combine begins its sums at another number than 0.
func withStart(t *testing.T, file, bits string) {
	t.Helper()
	text, err := kernels.PTX("attention.ptx")
	if err != nil {
		t.Fatal(err)
	}
	before, kernel, ok := strings.Cut(string(text), ".entry attend_combine(")
	kernel, after, end := strings.Cut(kernel, "\n}\n")
	changed := strings.ReplaceAll(kernel, "mov.f32 \t%f72, 0f00000000", "mov.f32 \t%f72, 0f"+bits)
	if !ok || !end || changed == kernel {
		t.Fatal("attend_combine does not begin its sums at 0 where it did")
	}
	if err := os.WriteFile(file, []byte(before+".entry attend_combine("+changed+"\n}\n"+after), 0o600); err != nil {
		t.Fatal(err)
	}
}

// endless has the parameters of attend_combine.
const endless = `.version 7.8
.target sm_80
.address_size 64
.visible .entry spin(.param .u64 a, .param .u64 b, .param .u64 c, .param .u64 d, .param .u64 e, .param .u32 f,
	.param .u32 g, .param .u32 h, .param .u32 i, .param .u32 j, .param .u32 k)
{
	.reg .u32 %n;
	mov.u32 %n, 0;
L:	add.u32 %n, %n, 1;
	bra L;
}
`

// exits runs a command line, which must end with the given code, and returns what it
// printed.
func exits(t *testing.T, want int, line string) (stdout, stderr string) {
	t.Helper()
	code, stdout, stderr := kvc(strings.Fields(line)...)
	if code != want {
		t.Fatalf("kvc %s: exit code %d, want %d\n%s%s", line, code, want, stdout, stderr)
	}
	return stdout, stderr
}

// TestValidateKernel replaces a kernel of the engine by wrong ones, with large or small errors.
func TestValidateKernel(t *testing.T) {
	if testing.Short() {
		t.Skip("it replays traces on the PTX machine several times")
	}
	t.Chdir(t.TempDir())
	withStart(t, "wrong.ptx", "3F800000") // 1
	withStart(t, "near.ptx", "2F800000")  // 2^-32

	const wrong = "--kernel attend_combine=wrong.ptx:attend_combine"
	stdout, stderr := exits(t, exitFailed, "validate block-size-1 --dump found --checks none "+wrong)
	for _, want := range []string{"stage decode of sequences [0 1]: output", "layer 0, head 0, element 0", "reference", "engine", "ulp apart", "this stage differs in"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	_, again, ok := strings.Cut(stderr, "Run it again with:\n  kvc ")
	again, _, _ = strings.Cut(again, "\n")
	if !ok || !strings.Contains(again, "--checks=none --kernel=attend_combine=wrong.ptx:attend_combine") {
		t.Fatalf("no command in\n%s", stderr)
	}
	if stdout, _ := exits(t, exitFailed, again); !strings.Contains(stdout, "decode of sequences [0 1]\nfound: block-size-1, step ") {
		t.Error(stdout)
	}
	if stdout, _ := exits(t, exitDone, "validate --replay found"); !strings.Contains(stdout, "now agree in all") {
		t.Error(stdout)
	}

	stdout, _ = exits(t, exitFailed, "validate block-size-1 --json "+wrong)
	var got struct {
		Mismatches int                 `json:"mismatches"`
		First      validate.Divergence `json:"first_divergence"`
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || got.First.What != "output" || got.Mismatches != 1+got.First.More {
		t.Errorf("%v in %s", err, stdout)
	}

	const near = "validate block-size-1 --checks none --kernel attend_combine=near.ptx:attend_combine"
	exits(t, exitFailed, near)
	exits(t, exitFailed, near+" --rtol 1e-12")
	if stdout, _ := exits(t, exitDone, near+" --rtol 0.01"); !strings.Contains(stdout, "of them within the tolerance") {
		t.Error(stdout)
	}

	// A replaced kernel that was never launched has not passed.
	const elsewhere = " --checks none --kernel append_tokens_bf16=wrong.ptx:attend_combine"
	if _, stderr := exits(t, exitUsage, "validate block-size-1"+elsewhere); !strings.Contains(stderr, "append_tokens_bf16 was never launched") {
		t.Error(stderr)
	}
	if _, stderr := exits(t, exitDone, "validate --replay found"+elsewhere); !strings.Contains(stderr, "append_tokens_bf16 was never launched") {
		t.Error(stderr)
	}

	stdout, stderr = exits(t, exitFailed, "validate --random "+testsize.Of("1", "1", "9")+" --dump found2 --checks none "+wrong)
	if !strings.Contains(stdout, "fails; shrunk, it is\n{\"shape\":{\"layers\":1,\"kv_heads\":1,\"group\":1") || !strings.Contains(stderr, "--replay found2") {
		t.Errorf("%s%s", stdout, stderr)
	}
	exits(t, exitFailed, "validate --replay found2 "+wrong)
	exits(t, exitDone, "validate --replay found2")
}

// TestValidateRandomMethod runs random pipelines of one method, where the engine has it.
func TestValidateRandomMethod(t *testing.T) {
	n := testsize.Of(2, 3, 3)
	stdout, _ := exits(t, exitDone, fmt.Sprintf("validate --random %d --method streaming-llm --checks none", n))
	if !strings.Contains(stdout, fmt.Sprintf("streaming-llm          %d", n)) || !strings.Contains(stdout, fmt.Sprintf("of %d random pipelines", n)) {
		t.Error(stdout)
	}
	for args, want := range map[string]string{
		"--random 1 --method quest":  "cannot run",
		"--random 1 --method nobody": "there is no method",
		"story --method razor":       "--method has no effect without --random",
	} {
		if _, stderr := exits(t, exitUsage, "validate --device ptx "+args); !strings.Contains(stderr, want) {
			t.Errorf("%s: %s", args, stderr)
		}
	}
}

// TestValidateEndless replaces a kernel by one that does not end: it is found, and the case that
// finds it can be shrunk.
func TestValidateEndless(t *testing.T) {
	if testsize.Of(true, true, false) {
		t.Skip("a hundred pipelines end for want of instructions: KVC_TESTS=full")
	}
	t.Chdir(t.TempDir())
	if err := os.WriteFile("endless.ptx", []byte(endless), 0o600); err != nil {
		t.Fatal(err)
	}
	if stdout, _ := exits(t, exitFailed, "validate --random 1 --seed 2 --checks none --kernel attend_combine=endless.ptx:spin"); !strings.Contains(stdout, "an endless loop?") {
		t.Error(stdout)
	}
}

// TestNotRun skips a replay with a method that the engine does not run, unless it was named; a
// replay that failed is not skipped.
func TestNotRun(t *testing.T) {
	refused := fmt.Errorf("a replay: %w", &ref.UnsupportedError{Err: errors.New("no kernels")})
	for _, c := range []struct {
		names []string
		err   error
		left  bool
	}{
		{nil, refused, true},
		{[]string{"recall/..."}, refused, true},
		{[]string{"recall/razor"}, refused, false},
		{nil, errors.New("failed"), false},
		{nil, nil, false},
	} {
		if why := unsupported(c.names, c.err); (why != nil) != c.left {
			t.Errorf("%q, %v: %v, want it left out: %t", c.names, c.err, why, c.left)
		}
	}
	var out strings.Builder
	sayNotRun(&out, nil)
	if out.Len() > 0 {
		t.Errorf("%q of none", &out)
	}
	sayNotRun(&out, []notRun{{"a/b", "no kernels"}, {"a/c", "no kernels"}})
	if want := "\nNot run, as there are no kernels for their methods:\n  a/b, a/c\n"; out.String() != want {
		t.Errorf("%q, want %q", &out, want)
	}
}

func TestQuoted(t *testing.T) {
	for word, want := range map[string]string{
		"a=b/c.ptx:d": "a=b/c.ptx:d",
		"":            "''",
		"two words":   "'two words'",
		"it's":        `'it'\''s'`,
		"$(rm)":       "'$(rm)'",
	} {
		if got := quoted(word); got != want {
			t.Errorf("%q becomes %s, want %s", word, got, want)
		}
	}
}
