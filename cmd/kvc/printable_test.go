package main

import "testing"

func TestPrintable(t *testing.T) {
	if got := printable("a\x1b[31mb\n\tc\u009bd\u202ee é 漢 🙂\u00a0"); got != "a\uFFFD[31mb\n\tc\uFFFDd\uFFFDe é 漢 🙂\u00a0" {
		t.Errorf("%q", got)
	}
	if got := printableLine("a\nb\tc\x07"); got != "a b c\uFFFD" {
		t.Errorf("%q", got)
	}
}
