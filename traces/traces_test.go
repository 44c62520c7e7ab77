package traces

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kvcompress/trace"
)

func TestBundled(t *testing.T) {
	t.Chdir(t.TempDir()) // away from the folders of the same names
	names := Replays()
	if !slices.Contains(names, Default) || !slices.Contains(names, "recall/snapkv") {
		t.Errorf("the default trace %q, or recall/snapkv, is not among %v", Default, names)
	}
	for _, name := range names {
		b, err := Open(name)
		if err != nil {
			t.Error(err)
			continue
		}
		if b.Name != name || b.Dir != "" {
			t.Errorf("trace %q is named %q in %q", name, b.Name, b.Dir)
		}
		if f, err := b.FS.Open(GoldenFile); err != nil {
			t.Error(err)
		} else {
			f.Close()
		}
		b.Options.Fill(b.Trace.Meta, b.Trace.Requests())
		if err := b.Options.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestMethods opens a method of a trace outside the bundle, and the replays that NAME/... stands
// for.
func TestMethods(t *testing.T) {
	source, err := filepath.Abs("gqa")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if err := os.CopyFS("mine", os.DirFS(source)); err != nil {
		t.Fatal(err)
	}
	b, err := Open("./mine/tova")
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join("mine", MethodsDir, "tova"); filepath.Clean(b.Dir) != want || b.Name != "gqa/tova" || b.Options.Method != "tova" {
		t.Errorf("opened %q of %q in %q, want it in %q", b.Options.Method, b.Name, b.Dir, want)
	}
	for name, wants := range map[string][]string{
		"./mine/...": {"./mine", "./mine/ada-snapkv", "./mine/tova"},
		"gqa/...":    {"gqa", "gqa/ada-snapkv", "gqa/tova"},
		"mha/...":    {"mha"},
		"gqa/tova":   {"gqa/tova"},
	} {
		names, err := Expand(name)
		if err != nil {
			t.Error(err)
		}
		for _, want := range wants {
			if !slices.Contains(names, want) {
				t.Errorf("%s is %v, want %s among them", name, names, want)
			}
		}
	}
	if _, err := Expand("nowhere/..."); err == nil {
		t.Error("nowhere/... is no error")
	}
}

// TestDirectoryFirst checks that a directory is opened rather than a bundled trace of the same
// name.
func TestDirectoryFirst(t *testing.T) {
	source, err := filepath.Abs("mha")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if err := os.CopyFS(Default, os.DirFS(source)); err != nil {
		t.Fatal(err)
	}
	b, err := Open(Default)
	if err != nil {
		t.Fatal(err)
	}
	if b.Dir != Default || b.Name != "mha" {
		t.Errorf("opened %q in %q", b.Name, b.Dir)
	}
}

func TestOpenRefused(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS("bad", bundled); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("bad/mha/options.json", []byte(`{"rats": 1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("bad/gqa/methods/tova/options.json", []byte(`{"method": "tova", "rats": 1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"nowhere":    "neither a directory nor one of the bundled: block-size-1, ",
		"../story":   "neither a directory",
		"file":       "a trace is a folder",
		"bad":        "trace.json",
		"bad/mha":    "bad/mha: options.json",
		"":           "neither a directory",
		".":          "trace.json",
		"six\x00bad": "neither a directory",

		"gqa/nothing":     `no replay "nothing" among its methods: ada-snapkv, `,
		"gqa/snapkv/more": "neither a directory",
		"nowhere/snapkv":  "neither a directory",
		"bad/gqa/tova":    "bad/gqa/tova: options.json",
	} {
		if _, err := Open(name); (Check(name) == nil) != strings.Contains(want, ".json") || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", name, err, want)
		}
	}
}

// TestRecall checks that the trace shows a model retrieving from its context: when the token of a
// heading's section is fed, some head attends to that heading, whatever its position, since the
// value after the section comes next. `scripts/recall-prompt.py --answer` prints the positions of
// the headings.
func TestRecall(t *testing.T) {
	headings := []int{29, 68, 101, 314, 318, 418, 428, 937}
	const headingTokens, atLeast = 3, 0.5
	b, err := Bundled("recall")
	if err != nil {
		t.Fatal(err)
	}
	x, err := b.Trace.Tensors(0)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	s, prompt := b.Trace.Meta.Shape, b.Trace.Requests()[0].PromptTokens
	for i, heading := range headings {
		position := prompt + 2*i // of the section that the answer gives
		best := 0.0
		for layer := range s.Layers {
			q := make([]float32, s.QueryHeads()*s.HeadSize)
			k := make([]float32, (position+1)*s.KVHeads*s.HeadSize)
			if err := errors.Join(x.Read(q, trace.Q, layer, position, 1), x.Read(k, trace.K, layer, 0, position+1)); err != nil {
				t.Fatal(err)
			}
			for head := range s.QueryHeads() {
				sum, there := 0.0, 0.0
				for p := range position + 1 {
					dot := 0.0
					for d := range s.HeadSize {
						dot += float64(q[head*s.HeadSize+d]) * float64(k[(p*s.KVHeads+head/s.Group)*s.HeadSize+d])
					}
					weight := math.Exp(dot / math.Sqrt(float64(s.HeadSize)))
					sum += weight
					if p >= heading && p < heading+headingTokens {
						there += weight
					}
				}
				best = max(best, there/sum)
			}
		}
		if best < atLeast {
			t.Errorf("heading %d at position %d: the head that attends to it most gives it %.3f of its attention, want at least %g", i, heading, best, atLeast)
		}
		t.Logf("heading %d: %.3f", i, best)
	}
}
