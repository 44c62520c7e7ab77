package cuda

import (
	"strings"
	"testing"
)

func TestParameters(t *testing.T) {
	const text = `.version 7.8 // of .entry none(.param .u64 x)
.target sm_80
.visible .entry longer_name(.param .u64 a, .param .u32 b) { ret; }
/* .entry name(.param .u64 x) */
.visible .entry name(
	.param .u64 name_param_0, // the first (of three)
	.param .f32 /* ) */ name_param_1,
	.param .u64 .ptr .global .align 16 name_param_2
)
.maxntid 128, 1, 1
{ ret; }
.entry bare { ret; }
.entry empty() { ret; }
.entry struct(.param .align 8 .b8 s[16]) { ret; }
.entry open(.param .u64 a`
	for _, c := range []struct {
		entry string
		want  int
		err   string
	}{
		{"name", 3, ""},
		{"longer_name", 2, ""},
		{"bare", 0, ""},
		{"empty", 0, ""},
		{"struct", 0, "an array"},
		{"open", 0, "unterminated parameter list"},
		{"none", 0, "no entry point none"},
		{"longer", 0, "no entry point longer"},
		{"", 0, "no entry point"},
	} {
		got, err := parameters([]byte(text), c.entry)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %d, %v; want %d, %q", c.entry, got, err, c.want, c.err)
		}
	}
}

func FuzzParameters(f *testing.F) {
	f.Add("/* */ .entry f(.param .u64 a, .param .u32 b) // c", "f")
	f.Add(".entry f(.param .b8 a[8]", "f")
	f.Fuzz(func(t *testing.T, text, entry string) {
		if n, err := parameters([]byte(text), entry); n < 0 || n > len(text) || err != nil && n != 0 {
			t.Errorf("%d, %v", n, err)
		}
	})
}
