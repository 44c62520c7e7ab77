//go:build unix

package regular

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", filepath.Join(dir, "zero")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("file", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "dangling")); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		most int64
		want error  // one of these,
		text string // or neither
	}{
		{"file", 5, nil, ""}, {"link", 99, nil, ""},
		{"file", 4, nil, "longer than 4 bytes"},
		{"pipe", 5, ErrNotRegular, ""}, {"zero", 5, ErrNotRegular, ""}, {".", 5, ErrNotRegular, ""},
		{"missing", 5, fs.ErrNotExist, ""}, {"dangling", 5, ErrBrokenLink, ""},
	} {
		a, errA := Read(os.DirFS(dir), tc.name, tc.most)
		b, errB := ReadFile(filepath.Join(dir, tc.name), tc.most)
		for _, got := range []struct {
			data []byte
			err  error
		}{{a, errA}, {b, errB}} {
			switch {
			case tc.want != nil:
				if !errors.Is(got.err, tc.want) || strings.Contains(got.err.Error(), dir) {
					t.Errorf("%s: %v, want %v", tc.name, got.err, tc.want)
				}
			case tc.text != "":
				if got.err == nil || !strings.Contains(got.err.Error(), tc.text) {
					t.Errorf("%s: %v, want %q", tc.name, got.err, tc.text)
				}
			case got.err != nil || string(got.data) != "12345":
				t.Errorf("%s: %q, %v", tc.name, got.data, got.err)
			}
		}
	}
}
