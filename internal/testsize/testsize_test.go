package testsize

import (
	"flag"
	"testing"
)

func TestOf(t *testing.T) {
	for _, c := range []struct{ short, variable, want string }{
		{"false", "", "usual"},
		{"false", "full", "full"},
		{"false", "FULL", "usual"},
		{"true", "", "short"},
		{"true", "full", "short"},
	} {
		before := flag.Lookup("test.short").Value.String()
		t.Cleanup(func() { flag.Set("test.short", before) })
		t.Setenv(Variable, c.variable)
		if err := flag.Set("test.short", c.short); err != nil {
			t.Fatal(err)
		}
		if got := Of("short", "usual", "full"); got != c.want {
			t.Errorf("-short=%s, %s=%q: %s, want %s", c.short, Variable, c.variable, got, c.want)
		}
	}
}
