// Package docstest holds the parts of documentation that a program can write to what it
// would write, in tests.
package docstest

import (
	"strings"
	"testing"

	"kvcompress/internal/output"
	"kvcompress/trace/regular"
)

// maxPage bounds a page, in bytes.
const maxPage = 1 << 20

// Between fails the test if what stands in a file between two texts, each there for the first
// time, is not want; with update it writes want there instead. command is what updates it.
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
		t.Fatalf("%s has no place for it between %q and %q", path, begin, end)
	case updated == string(text):
	case !update:
		t.Errorf("%s is not up to date: %s", path, command)
	default:
		if err := output.WriteBytes(path, []byte(updated)); err != nil {
			t.Fatal(err)
		}
	}
}
