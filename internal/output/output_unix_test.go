//go:build unix

package output_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"kvcompress/internal/output"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func TestWriteIsWholeOrNotAtAll(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := output.WriteBytes("a", []byte("first")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod("a", 0o640); err != nil {
		t.Fatal(err)
	}
	failed := errors.New("failed")
	err := output.Write("a", func(w io.Writer) error {
		fmt.Fprint(w, strings.Repeat("x", 1<<20))
		return failed
	})
	if !errors.Is(err, failed) || read(t, "a") != "first" || names(t, ".") != "a" {
		t.Errorf("%v: %q in %s", err, read(t, "a"), names(t, "."))
	}
	if err := output.WriteBytes("a", []byte("second")); err != nil || read(t, "a") != "second" {
		t.Errorf("%v: %q", err, read(t, "a"))
	}
	if info, err := os.Stat("a"); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestLinks(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, dir := range []string{"one", "two"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(output.WriteBytes("one/real", []byte("old")), os.Symlink("../one/real", "two/link"), os.Symlink("link", "two/chain"),
		os.Symlink("loop", "loop"), os.Symlink("one/new", "dangling"), os.Link("one/real", "hard"), os.Symlink("one", "dir")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"one/real", "two/link", true}, {"two/chain", "one/../one/real", true}, {"hard", "two/link", true}, {"one", "dir", true},
		{"dangling", "one/new", true}, {"dir/new", "dangling", true}, {"dir/nowhere/x", "one/nowhere/x", true},
		{"one/new", "two/new", false}, {"one/real", "one/new", false}, {"loop", "loop", false}, {"nowhere/a", "nowhere/b", false},
	} {
		if got := output.Same(c.a, c.b); got != c.same {
			t.Errorf("Same(%s, %s) = %v", c.a, c.b, got)
		}
	}
	if err := output.WriteBytes("two/chain", []byte("new")); err != nil || read(t, "one/real") != "new" {
		t.Errorf("%v: %q", err, read(t, "one/real"))
	}
	if err := output.WriteBytes("dangling", []byte("made")); err != nil || read(t, "one/new") != "made" {
		t.Error(err)
	}
	if err := output.WriteBytes("loop", nil); err == nil || !strings.Contains(err.Error(), "loop: more than 40 symbolic links") {
		t.Error(err)
	}
}

func TestCheck(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := errors.Join(os.Mkdir("dir", 0o755), os.Mkdir("locked", 0o555), syscall.Mkfifo("fifo", 0o644), output.WriteBytes("file", nil),
		output.WriteBytes("fixed", nil), os.Chmod("fixed", 0o444)); err != nil {
		t.Fatal(err)
	}
	root := os.Geteuid() == 0
	for _, c := range []struct {
		path, err string
		skip      bool
	}{
		{"file", "", false}, {"dir/new", "", false}, {"", "empty", false},
		{"dir", "dir: this is a folder", false}, {"fifo", "fifo: this is a device, pipe or socket", false}, {"/dev/full", "/dev/full: this is a device", false},
		{"nowhere/new", "nowhere/new: the folder nowhere does not exist", false}, {"file/new", "file/new: not a directory", false}, {"/proc/new", "/proc/new: no file can be made in the folder /proc", runtime.GOOS != "linux"},
		{"locked/new", "locked/new: permission denied", root}, {"fixed", "fixed: permission denied", root},
	} {
		if err := output.Check(c.path); !c.skip && (c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err))) {
			t.Errorf("Check(%s): %v, want %q", c.path, err, c.err)
		}
	}
	for _, c := range []struct {
		path, err string
		skip      bool
	}{
		{"dir", "", false}, {"dir/a/b", "", false}, {".", "", false}, {"new", "", false},
		{"file", "file: file is a file", false}, {"file/a/b", "file/a/b: ", false}, {"locked/a", "locked/a: permission denied", root},
	} {
		if err := output.CheckFolder(c.path); !c.skip && (c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err))) {
			t.Errorf("CheckFolder(%s): %v, want %q", c.path, err, c.err)
		}
	}
	if got := names(t, "."); got != "dir fifo file fixed locked" {
		t.Errorf("left: %s", got)
	}
}

// TestDiscardFolder discards a folder with many folders in it.
func TestDiscardFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	f, err := output.CreateFolder("folder")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		dir := filepath.Join(f.Temp, fmt.Sprint(i), "inner")
		if err := os.MkdirAll(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{filepath.Join(dir, "a"), filepath.Join(f.Temp, fmt.Sprint("file", i))} {
			if err := os.WriteFile(name, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	f.Discard()
	f.Discard()
	if left := names(t, "."); left != "" {
		t.Errorf("left: %s", left)
	}
}

// TestLeftovers has a process killed while it writes: the next writer of the same file
// cleans up, while one that still writes is left alone.
func TestLeftovers(t *testing.T) {
	if dir := os.Getenv("OUTPUT_TEST_WRITE"); dir != "" {
		t.Chdir(dir)
		f, err := output.Create("result")
		if err != nil {
			t.Fatal(err)
		}
		d, err := output.CreateFolder("folder")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(f, "half")
		if err := os.WriteFile(filepath.Join(d.Temp, "part"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		fmt.Println("writing")
		select {}
	}
	dir := t.TempDir()
	start := func() *exec.Cmd {
		cmd := exec.Command(os.Args[0], "-test.run", "TestLeftovers$")
		cmd.Env = append(os.Environ(), "OUTPUT_TEST_WRITE="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, len("writing"))); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	kill := func(cmd *exec.Cmd) {
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
	}
	kill(start())
	if n := len(strings.Fields(names(t, dir))); n != 2 {
		t.Fatalf("a killed writer left %s", names(t, dir))
	}
	other := start() // removes the files that the killed one left
	if n := len(strings.Fields(names(t, dir))); n != 2 {
		t.Fatalf("the second writer left %s", names(t, dir))
	}
	t.Chdir(dir)
	if err := output.WriteBytes("result", nil); err != nil {
		t.Fatal(err)
	}
	if n := output.Clean(".", func(string) bool { return true }); n != 2 {
		t.Errorf("%d are being written", n)
	}
	if n := len(strings.Fields(names(t, "."))); n != 3 {
		t.Errorf("a writer's files were removed: %s", names(t, "."))
	}
	kill(other)
	d, err := output.CreateFolder("folder")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.Temp, "part"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	d.Discard()
	if err := output.WriteBytes("result", nil); err != nil || names(t, ".") != "folder result" || names(t, "folder") != "part" {
		t.Errorf("%v: %s", err, names(t, "."))
	}
	if _, err := output.CreateFolder("folder"); !errors.Is(err, output.ErrNotEmpty) {
		t.Error(err)
	}
}
