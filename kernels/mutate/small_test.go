package mutate

import "testing"

// TestSmall: a 32 for 64 bits is not planted where the offset is a number of threads, or a few bits, times a constant.
func TestSmall(t *testing.T) {
	text := []string{
		"mov.u32 %r1, %tid.x;",
		"mov.u32 %r2, %ctaid.x;",
		"and.b32 %r3, %r2, 31;",
		"and.b32 %r4, %r2, 0x7fffffff;",
		"shr.u32 %r5, %r1, 5;",
		"cvt.u64.u32 %rd1, %r5;",
		"mov.u32 %r6, %ntid.x;",
		"add.s32 %r6, %r6, %r2;",
		"@%p1 mov.u32 %r7, %tid.x;",
	}
	var instructions []written
	for _, s := range text {
		instructions = append(instructions, read(s))
	}
	known := smallOf(instructions)
	for s, want := range map[string]bool{
		"mul.wide.u32 %rd9, %r1, 4;":     true,
		"mul.wide.u32 %rd9, %r2, 4;":     false,
		"mul.wide.u32 %rd9, %r3, 2048;":  true,
		"mul.wide.u32 %rd9, %r3, 2049;":  false,
		"mul.wide.s32 %rd9, %r3, -4;":    false,
		"mul.wide.u32 %rd9, %r4, 4;":     false,
		"mul.wide.u32 %rd9, %r6, 4;":     false,
		"mul.wide.u32 %rd9, %r7, 4;":     false,
		"shl.b64 %rd9, %rd1, 11;":        true,
		"shl.b64 %rd9, %rd1, 12;":        false,
		"add.s64 %rd9, %rd1, 4;":         false,
		"mul.wide.u32 %rd9, %r1, %r1;":   false,
		"mad.wide.u32 %rd9, %r1, 4, %rd": false,
	} {
		if got := known.fits(read(s)); got != want {
			t.Errorf("%s: %v", s, got)
		}
	}
}
