package ptx

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the reports in docs/checkers.md")

// A report in docs/checkers.md follows a comment with its run: the kernel of bugs.cu (grid/NAME: of grid.cu),
// number of blocks, threads per block, and arguments for bugArgs.
var documented = regexp.MustCompile("(?m)^<!-- (\\S+) (\\d+) (\\d+) (.*) -->\n(?:\n```\n(?s:.*?)```\n)?")

// TestDocs checks that the reports in docs/checkers.md are what the checkers print.
func TestDocs(t *testing.T) {
	const path = "../../docs/checkers.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	reports := 0
	want := documented.ReplaceAllFunc(text, func(match []byte) []byte {
		m := documented.FindSubmatch(match)
		var grid, block int
		fmt.Sscan(string(m[2]), &grid)
		fmt.Sscan(string(m[3]), &block)
		r := runBug(t, Options{Checks: AllChecks()}, string(m[1]), grid, block, string(m[4]))
		if r == nil {
			t.Fatalf("%s reports nothing", m[0])
		}
		reports++
		head, _, _ := strings.Cut(string(match), "\n")
		return fmt.Appendf(nil, "%s\n\n```\n%s```\n", head, r.String())
	})
	if reports < 8 {
		t.Errorf("%d reports", reports)
	}
	if bytes.Equal(text, want) {
		return
	}
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("%s is not what the checkers report; go test ./kernels/ptx -run TestDocs -update rewrites it", path)
}
