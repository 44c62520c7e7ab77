package traces

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestBundled(t *testing.T) {
	t.Chdir(t.TempDir()) // away from the folders of the same names
	names := Names()
	if !slices.Contains(names, Default) {
		t.Errorf("the default trace %q is not among %v", Default, names)
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
		b.Options.Fill(b.Trace.Meta.Shape, b.Trace.Requests())
		if err := b.Options.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDirectoryFirst checks that a trace of one's own is found before a bundled
// one of the same name.
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
	for name, want := range map[string]string{
		"nowhere":    "neither a directory nor one of the bundled: block-size-1, ",
		"../story":   "neither a directory",
		"file":       "not a directory",
		"bad":        "trace.json",
		"bad/mha":    "bad/mha: options.json",
		"":           "neither a directory",
		".":          "trace.json",
		"six\x00bad": "neither a directory",
	} {
		if _, err := Open(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", name, err, want)
		}
	}
}
