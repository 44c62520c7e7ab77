package docstest

import (
	"os"
	"path/filepath"
	"testing"
)

// failing is a testing.TB that records a failure and continues.
type failing struct {
	testing.TB
	failed bool
}

func (f *failing) Helper()               {}
func (f *failing) Errorf(string, ...any) { f.failed = true }

func TestBetween(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(path, []byte("a <b>old</b> c"), 0o600); err != nil {
		t.Fatal(err)
	}
	Between(t, path, "<b>", "</b>", "old", false, "")
	f := &failing{TB: t}
	if Between(f, path, "<b>", "</b>", "new", false, ""); !f.failed {
		t.Error("another text passes")
	}
	Between(t, path, "<b>", "</b>", "new", true, "")
	if text, err := os.ReadFile(path); err != nil || string(text) != "a <b>new</b> c" {
		t.Errorf("%q, %v", text, err)
	}
}
