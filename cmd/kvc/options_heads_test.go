package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSetMap gives methods a map of heads as a file: of the model's shape, of another's,
// no map, and to a method that has no use for it.
func TestSetMap(t *testing.T) {
	write := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	row := `["full","streaming","streaming","full"]`
	right := write("right.json", `{"format_version":1,"layers":5,"kv_heads":4,"classes":[`+strings.Join([]string{row, row, row, row, row}, ",")+`]}`)
	other := write("other.json", `{"format_version":1,"layers":1,"kv_heads":4,"classes":[`+row+`]}`)
	broken := write("broken.json", `{"format_version":1}`)
	for _, test := range []struct {
		method, file, want string
		code               int
	}{
		{"duo-attention", right, "", 0},
		{"duo-attention", other, "full has 1 layers, the model has 5", 2},
		{"duo-attention", broken, "head map: layers: 0", 2},
		{"duo-attention", right + ".not", "no such file", 2},
		{"razor", right, "", 0},
		{"razor", other, "full has 1 layers, the model has 5", 2},
		{"random", right, `no option "map"`, 2},
	} {
		code, _, err := kvc("run", "story", "--method", test.method, "--max-cache-tokens", "32", "--set", "map="+test.file, "--set", "sinks=4")
		if test.method == "random" {
			code, _, err = kvc("run", "story", "--method", test.method, "--set", "map="+test.file)
		}
		if code != test.code || !strings.Contains(err, test.want) {
			t.Errorf("%s, %s: exit code %d, want %d: %s", test.method, filepath.Base(test.file), code, test.code, err)
		}
	}
}
