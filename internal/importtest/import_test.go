// Package importtest checks that a program of another module can import this one.
package importtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// want is what testdata/program prints.
const want = `steps replayed: 61
8 threads write 8 elements, an error: false
9 threads write 8 elements, an error: true
engines agree: true
requests of the azure log served: 3, output tokens: 45
`

// TestImport builds and runs testdata/program in another module, which imports this one through
// a replace directive. The build is offline, from the module cache. It uses this test's GOFLAGS, so
// that it can reuse the packages in the build cache.
func TestImport(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles most of this module again")
	}
	command, err := exec.LookPath("go")
	if err != nil {
		t.Skipf("no go command to build with: %v", err)
	}
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"main.go", "log.csv"} {
		copyFile(t, filepath.Join(dir, name), filepath.Join("testdata", "program", name))
	}
	copyFile(t, filepath.Join(dir, "go.sum"), filepath.Join(root, "go.sum"))
	mod := "module example.com/program\n\ngo 1.26.0\n\nrequire kvcompress v0.0.0\n\nreplace kvcompress => " + strconv.Quote(root) + "\n"
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o644); err != nil {
		t.Fatal(err)
	}

	program := filepath.Join(dir, "program.exe")
	build := exec.Command(command, "build", "-mod=mod", "-o", program, ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "GOPROXY=off", "GOWORK=off", "GOTOOLCHAIN=local")
	if out, err := build.CombinedOutput(); err != nil {
		if strings.Contains(string(out), "module lookup disabled by GOPROXY=off") {
			t.Skipf("the module cache lacks a dependency, and this test downloads nothing:\n%s", out)
		}
		t.Fatalf("go build: %v\n%s", err, out)
	}
	run := exec.Command(program)
	run.Dir = dir
	out, err := run.CombinedOutput()
	if err != nil || string(out) != want {
		t.Errorf("the program ends with %v and prints\n%swant\n%s", err, out, want)
	}
}

func copyFile(t *testing.T, to, from string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o644); err != nil {
		t.Fatal(err)
	}
}
