package ptx

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// quoted returns the .global initializer of a string.
func quoted(name, text string) string {
	var list []string
	for _, c := range []byte(text + "\x00") {
		list = append(list, fmt.Sprint(c))
	}
	return fmt.Sprintf(".global .align 1 .b8 %s[%d] = {%s};\n", name, len(list), strings.Join(list, ", "))
}

const runtimeDecls = `.version 7.8
.target sm_80
.address_size 64
.extern .func (.param .b32 r) vprintf(.param .b64 a, .param .b64 b);
.extern .func __assertfail(.param .b64 a, .param .b64 b, .param .b32 c, .param .b64 d, .param .b64 e);
`

// printing is a kernel that stores arguments, each of 4 or 8 bytes, and prints them.
func printing(format string, args ...string) string {
	var stores strings.Builder
	at := 0
	for _, a := range args {
		typ, value, _ := strings.Cut(a, " ")
		size := 4
		if strings.HasSuffix(typ, "64") {
			size = 8
		}
		at = (at + size - 1) &^ (size - 1)
		if typ != "none32" {
			fmt.Fprintf(&stores, "\tst.local.%s [own+%d], %s;\n", typ, at, value)
		}
		at += size
	}
	return runtimeDecls + quoted("format", format) + quoted("word", "a word") + `.visible .entry k()
{
	.reg .pred %p<2>;
	.reg .b32 %r<4>;
	.reg .b64 %rd<4>;
	.local .align 8 .b8 own[128];
	mov.u32 %r1, %tid.x;
	mov.u64 %rd2, word;
` + stores.String() + `	mov.u64 %rd1, own;
	cvta.local.u64 %rd1, %rd1;
	mov.u64 %rd3, format;
	{
	.param .b64 a;
	st.param.b64 [a], %rd3;
	.param .b64 b;
	st.param.b64 [b], %rd1;
	.param .b32 r;
	call.uni (r), vprintf, (a, b);
	ld.param.b32 %r2, [r];
	}
	setp.ne.s32 %p1, %r2, ` + fmt.Sprint(len(args)) + `;
	@%p1 trap;
	ret;
}
`
}

// TestPrintf compares the output of kernels with that of C's printf.
func TestPrintf(t *testing.T) {
	const one, third = "0d3FF0000000000000", "0d3FD5555555555555"
	for _, c := range []struct {
		format string
		args   []string
		want   string
	}{
		{"no conversion, 100 %%\n", nil, "no conversion, 100 %\n"},
		{"%d %i %u", []string{"u32 -5", "u32 7", "u32 -1"}, "-5 7 4294967295"},
		{"[%5d|%-5d|%05d|%+d|% d|%.3d]", []string{"u32 42", "u32 42", "u32 42", "u32 42", "u32 42", "u32 42"}, "[   42|42   |00042|+42| 42|042]"},
		{"%x %X %#x %o %#x", []string{"u32 255", "u32 255", "u32 255", "u32 8", "u32 0"}, "ff FF 0xff 10 0"},
		{"%ld %llu %zu %hd %hhu", []string{"u64 -5", "u64 -1", "u64 9", "u32 65537", "u32 257"}, "-5 18446744073709551615 9 1 1"},
		{"%d %ld %d", []string{"u32 1", "u64 2", "u32 3"}, "1 2 3"},
		{"%c%c", []string{"u32 107", "u32 118"}, "kv"},
		{"%s, [%9s|%-9s|%.3s]", []string{"u64 %rd2", "u64 %rd2", "u64 %rd2", "u64 %rd2"}, "a word, [   a word|a word   |a w]"},
		{"%f %.2f %e %g", []string{"f64 " + one, "f64 " + third, "f64 " + third, "f64 " + third}, "1.000000 0.33 3.333333e-01 0.333333"},
		{"%8.3f|%-8.1f|%+.0f|%G", []string{"f64 " + third, "f64 " + one, "f64 " + one, "f64 0d4415AF1D78B58C40"}, "   0.333|1.0     |+1|1E+20"},
		{"%a", []string{"f64 0d3FF8000000000000"}, "0x1.8p+0"},
		{"%f %5f %F", []string{"f64 0dFFF0000000000000", "f64 0d7FF8000000000000", "f64 0d7FF0000000000000"}, "-inf   nan INF"},
		{"%p", []string{"u64 4096"}, "0x1000"},
		{"%*d|%-*d|%.*f", []string{"u32 4", "u32 7", "u32 4", "u32 7", "u32 1", "f64 " + one}, "   7|7   |1.0"},
		{"%k %", nil, "%k %"},
	} {
		for _, opt := range everyForm() {
			var out strings.Builder
			opt.Output = &out
			if err := launchOn(New(opt), printing(c.format, c.args...), 1); err != nil {
				t.Errorf("%q: %v", c.format, err)
			} else if out.String() != c.want {
				t.Errorf("%q prints %q, want %q", c.format, out.String(), c.want)
			}
		}
	}
	var out strings.Builder
	if err := launchOn(New(Options{Output: &out}), printing("%d\n", "u32 %r1"), 3); err != nil || out.String() != "0\n1\n2\n" {
		t.Errorf("three threads: %q, %v", out.String(), err)
	}
	if err := launchOn(New(Options{}), printing("%d\n", "u32 %r1"), 3); err != nil {
		t.Errorf("without an output: %v", err)
	}
	out.Reset()
	if err := launchOn(New(Options{Output: &out}), printing("%1000d\n", "u32 %r1"), 1024); err != nil || out.Len() < 1<<19 || out.Len() > maxPrinted+100 {
		t.Errorf("%d bytes, %v", out.Len(), err)
	}
}

// TestPrintfFaults prints missing or undefined arguments.
func TestPrintfFaults(t *testing.T) {
	for _, c := range []struct {
		format, arg, says string
	}{
		{"%d", "none32", "prints argument 1"},
		{"%s", "u64 5", "is no string"},
	} {
		err := launchOn(New(Options{Checks: AllChecks(), Output: new(strings.Builder)}), printing(c.format, c.arg), 1)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v, want: %s", c.format, err, c.says)
		}
	}
}

// TestAssert has an assertion that fails in one thread.
func TestAssert(t *testing.T) {
	text := runtimeDecls + quoted("what", "i < n && \"in range\"") + quoted("file", "kernel.cu") + quoted("function", "void k(int)") + `.visible .entry k()
{
	.reg .pred %p<2>;
	.reg .b32 %r<4>;
	.reg .b64 %rd<5>;
	mov.u32 %r1, %tid.x;
	setp.ne.u32 %p1, %r1, 5;
	@%p1 bra DONE;
	mov.u64 %rd1, what;
	cvta.global.u64 %rd1, %rd1;
	mov.u64 %rd2, file;
	mov.u64 %rd3, function;
	{
	.param .b64 a;
	st.param.b64 [a], %rd1;
	.param .b64 b;
	st.param.b64 [b], %rd2;
	.param .b32 c;
	st.param.b32 [c], 12;
	.param .b64 d;
	st.param.b64 [d], %rd3;
	.param .b64 e;
	st.param.b64 [e], 1;
	call.uni __assertfail, (a, b, c, d, e);
	}
DONE:
	ret;
}
`
	for _, opt := range everyForm() {
		err := launchOn(New(opt), text, 32)
		var r *Report
		const want = `assertion failed: i < n && "in range", at kernel.cu:12, in void k(int)`
		if !errors.As(err, &r) || r.Kind != Trapped || r.Detail != want || r.Thread != [3]int{5, 0, 0} {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestRefusals checks that errors name what is not supported.
func TestRefusals(t *testing.T) {
	const head = ".version 7.8\n.target sm_80\n.address_size 64\n"
	for _, c := range []struct{ text, says string }{
		{head + ".global .texref t;", "textures"},
		{head + ".tex .u64 t;", "textures"},
		{head + ".global .surfref t;", "surfaces"},
		{programOf("tex.1d.v4.f32.s32 {%r3, %r4, %r5, %r6}, [%rd1, {%r1}];"), "textures are not supported"},
		{programOf("suld.b.1d.b32.trap {%r3}, [%rd1, {%r1}];"), "surfaces are not supported"},
		{programOf("cp.async.bulk.tensor.1d.shared::cluster.global.mbarrier::complete_tx::bytes [tile], [%rd1, {%r1}], [tile];"), "tensor copies are not supported"},
		{programOf("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [tile], [%rd1], 16, [tile], %r1;"), "copies to several blocks of a cluster are not supported"},
		{programOf("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32 [%rd1], [tile], 16;"), "asynchronous reductions are not supported"},
		{programOf("stmatrix.sync.aligned.m16n8.x1.trans.shared.b8 [tile], {%r3};"), "is not supported"},
		{programOf("mov.u32 %r2, %envreg3;"), "%envreg3, which only a driver knows, is not supported"},
		{programOf("mov.u64 %rd1, early;"), "the address of early: function pointers are not supported"},
		{programOf("call %rd1, ();"), "%rd1 is a function pointer"},
		{programOf("P: .callprototype _ ();"), "function pointers"},
		{programOf("mov.u64 %rd1, nothing;"), `no register or variable "nothing"`},
	} {
		if _, err := Parse("k.ptx", []byte(c.text), false); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%.60s: %v, want: %s", c.text[len(head):], err, c.says)
		}
	}
}
