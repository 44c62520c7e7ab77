// Package docstest compares, in tests, generated parts of documentation pages with what the program
// generates.
package docstest

import (
	"strings"
	"testing"

	"kvcompress/internal/output"
	"kvcompress/trace/regular"
)

// maxPage bounds the size of a page in bytes.
const maxPage = 1 << 20

// Between fails the test if the text between the first begin and the following end in a file is not want;
// with update it writes want there instead. command is the command that updates the file.
func Between(t testing.TB, path, begin, end, want string, update bool, command string) {
	t.Helper()
	text, err := regular.ReadFile(path, maxPage)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	switch updated := before + begin + want + end + after; {
	case !ok || !ok2:
		t.Fatalf("%s has no generated part between %q and %q", path, begin, end)
	case updated == string(text):
	case !update:
		t.Errorf("%s is not up to date: %s", path, command)
	default:
		if err := output.WriteBytes(path, []byte(updated)); err != nil {
			t.Fatal(err)
		}
	}
}
