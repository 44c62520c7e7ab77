package ptx

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestParseErrors checks every parse error and its line.
func TestParseErrors(t *testing.T) {
	const head = ".version 7.8\n.target sm_80\n.address_size 64\n" // lines 1 to 3
	kernel := func(body string) string {
		return head + ".visible .entry k(.param .u64 a)\n{\n.reg .pred %p<4>; .reg .b32 %r<4>; .reg .b64 %rd<4>; .reg .f32 %f<4>; .reg .b16 %h<4>; .reg .f64 %fd<4>;\n" + body + "\n}\n" // body from line 7 on
	}
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "x.ptx:1: a PTX text begins with .version"},
		{"no PTX", "hello", "x.ptx:1: a PTX text begins with .version"},
		{"version", ".version 12.0\n", "x.ptx:1: PTX version 12.0"},
		{"32 bits", ".version 7.0\n.target sm_80\n.address_size 32\n", "x.ptx:3: address size 32"},
		{"directive", head + ".texref t;", `x.ptx:4: unknown directive ".texref"`},
		{"character", head + "\n#", "x.ptx:5: unexpected character '#'"},
		{"comment", head + "/* ", "unterminated comment"},
		{"string", head + ".file 1 \"a\n\"", "unterminated string"},
		{"opcode", kernel("\nfrobnicate %r1, %r2;"), `x.ptx:8: unknown opcode "frobnicate"`},
		{"modifier", kernel("add.zz.u32 %r1, %r2, %r3;"), "x.ptx:7: add: modifier .zz is not supported"},
		{"type", kernel("add.b32 %r1, %r2, %r3;"), "x.ptx:7: add.b32 is not supported"},
		{"no type", kernel("add %r1, %r2, %r3;"), "x.ptx:7: add: no type"},
		{"width", kernel("add.u32 %r1, %r2, %rd3;"), "x.ptx:7: add.u32: %rd3 is .b64, not of .u32"},
		{"operands", kernel("add.u32 %r1, %r2;"), "x.ptx:7: add.u32 has 3 operands, not 2"},
		{"register", kernel("add.u32 %r1, %r2, %r4;"), `x.ptx:7: no register or variable "%r4"`},
		{"label", kernel("bra NOWHERE;"), `x.ptx:7: no label "NOWHERE"`},
		{"label twice", kernel("A:\nA:"), `x.ptx:8: label "A" is defined twice`},
		{"guard", kernel("@%r1 ret;"), "x.ptx:7: guard %r1 is not a predicate"},
		{"constant", kernel("add.u32 %r1, %r2, 0x100000000;"), "does not fit in 32 bits"},
		{"number", kernel("add.u32 %r1, %r2, 18446744073709551616;"), "is not an integer of 64 bits"},
		{"float bits", kernel("mov.f32 %f1, 0f3f8;"), "8 hexadecimal digits"},
		{"integer as float", kernel("mov.f32 %f1, 1;"), "want a floating-point number"},
		{"contraction", kernel("add.f32 %f1, %f2, %f3;"), "x.ptx:7: add.f32: without .rn it may be fused"},
		{"f64 contraction", kernel("mul.f64 %fd1, %fd2, %fd3;"), "may be fused"},
		{"f16 contraction", kernel("add.f16 %h1, %h2, %h3;"), "may be fused"},
		{"ftz", kernel("add.rn.ftz.f32 %f1, %f2, %f3;"), ".ftz flushes"},
		{"approx", kernel("ex2.approx.f32 %f1, %f2;"), "approximate"},
		{"division", kernel("div.full.f32 %f1, %f2, %f3;"), "approximate"},
		{"rounding", kernel("cvt.f16.f32 %h1, %f1;"), "a rounding modifier .rn, .rz, .rm or .rp is needed"},
		{"integer rounding", kernel("cvt.rn.s32.f32 %r1, %f1;"), "a rounding modifier .rni, .rzi, .rmi or .rpi is needed"},
		{"no rounding", kernel("cvt.rn.f32.f16 %f1, %h1;"), "is not supported"},
		{"address", kernel("ld.global.u32 %r1, [%r2];"), "an address of 32 bits in global memory"},
		{"space", kernel("ld.global.u32 %r1, [a];"), "a is in param memory"},
		{"read only", kernel("st.param.u32 [a], %r1;"), "param memory is read only"},
		{"vector", kernel("ld.global.v2.u32 {%r1, %r2, %r3}, [%rd1];"), "a vector of 2 is wanted"},
		{"too wide", kernel("ld.local.v4.u64 {%rd1, %rd2, %rd3, %rd1}, [%rd1];"), "a vector of 32 bytes has to be in global memory"},
		{"shuffle without sync", kernel("shfl.bfly.b32 %r1, %r2, 1, 31;"), "without .sync it is not supported by PTX"},
		{"call", kernel("call nothing;"), `no function "nothing"`},
		{"shared", head + ".shared .b8 big[50000];\n.visible .entry k()\n{ .reg .b32 %r<2>; mov.u32 %r1, big; }", "x.ptx:5: \"k\" has 50000 bytes of static shared memory"},
		{"huge", head + ".global .b8 big[100000][100000];", "larger than"},
		{"a row too long", head + ".global .b8 x[2][2] = {{1, 2, 3}};", "more values than elements"},
		{"a row too many", head + ".global .b8 x[2][2] = {{1}, {2}, {3}};", "a list where no row begins"},
		{"a list in a row", head + ".global .b8 x[2][2] = {1, {2}};", "a list where no row begins"},
		{"lists too deep", head + ".global .b8 x[2][2] = {{{1}}};", "nested deeper than its dimensions"},
		{"no rows", head + ".global .b8 x[][0] = {{}, {1}};", "more values than elements"},
		{"initialiser", head + ".global .b8 x[2] = {1, 2, 3};", "more values than elements"},
		{"recursion", head + ".func f() { call f; }\n.visible .entry k() { call f; }", `"f" calls itself`},
		{"variable twice", head + ".global .b32 x;\n.global .b32 x;", `x.ptx:5: "x" is declared twice`},
		{"a function's name", head + ".global .b32 x;\n.func x() { ret; }", `x.ptx:5: "x" is declared twice`},
		{"a variable's name", head + ".func x() { ret; }\n.global .b32 x;", `x.ptx:5: "x" is declared twice`},
		{"unfinished", head + ".visible .entry k() {", "x.ptx:4: \"k\" has no end"},
		{"nested addresses", kernel("tex.1d.v4.f32.s32 " + strings.Repeat("[%r1, ", 1000)), "nested too deep"},
		{"an address of two parts", kernel("ld.global.u32 %r1, [%rd1, {%r1}];"), "an address has one part"},
		{"nested", head + ".visible .entry k() " + strings.Repeat("{", 100), "nested deeper"},
		{"extern", head + ".extern .global .b32 x;\n.visible .entry k() { .reg .b64 %rd<2>; mov.u64 %rd1, x; }", "nowhere defined"},
		{"many operands", kernel("add.u32 " + strings.Repeat("x,", 100) + "x;"), "add: more than 16 operands"},
		{"a long list", kernel("call f, (" + strings.Repeat("x,", 5000) + "x);"), "more than 4096 operands"},
		{"many instructions", head + ".func f() {" + strings.Repeat("ret;", maxItems+1) + "}", "more than 524288"},
		{"long", head + strings.Repeat("\n", maxText), "the limit is"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := New(Options{}).Load("x.ptx", []byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "ptx: x.ptx:") {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

// TestManyCallers checks that a text cannot cause unbounded decoding.
func TestManyCallers(t *testing.T) {
	p, err := Parse("x.ptx", []byte(".version 7.8\n.target sm_80\n"+manyCallers(1000)), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Refused("k0"); err != nil {
		t.Error(err)
	}
	if err := p.Refused("k1999"); err == nil || !strings.Contains(err.Error(), "more than 1048576") {
		t.Error(err)
	}
}

// manyCallers declares many registers in a function and calls it from many kernels, each of which decodes the
// function again.
func manyCallers(n int) string {
	var b strings.Builder
	b.WriteString(".func f() {\n")
	for i := range n {
		fmt.Fprintf(&b, ".reg .b32 r%d;\n", i)
	}
	b.WriteString("ret; }\n")
	for i := range 2 * n {
		fmt.Fprintf(&b, ".entry k%d() { call f; }\n", i)
	}
	return b.String()
}

// TestInitialisers reads arrays with short lists: the rest of a row is zero.
func TestInitialisers(t *testing.T) {
	for _, c := range []struct {
		text string
		want []byte
		size int64
	}{
		{"x[4] = {1, 2}", []byte{1, 2}, 4},
		{"x = 7", []byte{7}, 1},
		{"x = {7}", []byte{7}, 1},
		{"x[3][2] = {{1, 2}, {3}}", []byte{1, 2, 3}, 6},
		{"x[3][2] = {{1}, {2, 3}}", []byte{1, 0, 2, 3}, 6},
		{"x[3][2] = {1, 2, {3}, 4}", []byte{1, 2, 3, 0, 4}, 6},
		{"x[][2] = {{1}, {2}, {}}", []byte{1, 0, 2}, 6},
		{"x[][2] = {1, 2, 3}", []byte{1, 2, 3}, 4},
		{"x[2][2][2] = {{{1}, {2}}, {{}, {3, 4}}}", []byte{1, 0, 2, 0, 0, 0, 3, 4}, 8},
		{"x[][0] = {{}}", nil, 0},
		{"x[0] = {}", nil, 0},
	} {
		m, err := parseModule("x.ptx", []byte(".version 7.8\n.target sm_80\n.global .b8 "+c.text+";"))
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if x := m.globals["x"]; !bytes.Equal(x.init, c.want) || x.size != c.size {
			t.Errorf("%s: %v of %d bytes, want %v of %d", c.text, x.init, x.size, c.want, c.size)
		}
	}
	m, err := parseModule("x.ptx", []byte(".version 7.8\n.target sm_80\n.const .v2 .u8 x[2] = {{1}, {2, 3}};"))
	if err != nil || !bytes.Equal(m.globals["x"].init, []byte{1, 0, 2, 3}) {
		t.Errorf("vectors: %v", err)
	}
}

// TestParseNumbers reads every form of constant.
func TestParseNumbers(t *testing.T) {
	for _, c := range []struct {
		text string
		want uint32
	}{
		{"17", 17}, {"0x1F", 31}, {"0X1fU", 31}, {"017", 15}, {"0b101", 5}, {"0", 0}, {"12U", 12},
		{"-1", 0xffffffff}, {"~0", 0xffffffff}, {"-0x80000000", 0x80000000}, {"+3", 3}, {"- -3", 3},
		{"0xffffffffffffffff", 0xffffffff}, {"WARP_SZ", 32},
	} {
		got, err := execute(programOf("mov.u32 %r2, "+c.text+";"), oneThread, Options{})
		if err != nil || got[0] != c.want {
			t.Errorf("%s: %#x, %v; want %#x", c.text, got, err, c.want)
		}
	}
	for _, c := range []struct {
		text string
		want uint32
	}{
		{"0f3F800000", 0x3f800000}, {"-0f3F800000", 0xbf800000}, {"0d3FF8000000000000", 0x3fc00000}, {"1.5", 0x3fc00000},
		{"1e2", 0x42c80000}, {"2.5e-1", 0x3e800000}, {"-0.0", 0x80000000},
	} {
		got, err := execute(programOf(".reg .f32 %f<2>; mov.f32 %f1, "+c.text+"; mov.b32 %r2, %f1;"), oneThread, Options{})
		if err != nil || got[0] != c.want {
			t.Errorf("%s: %#x, %v; want %#x", c.text, got, err, c.want)
		}
	}
}

// TestAccepted loads directives that compilers write around instructions.
func TestAccepted(t *testing.T) {
	for _, text := range []string{
		".version 8.3\n.target sm_90a, debug\n.address_size 64\n.file 1 \"a.cu\", 12345, 678\n" +
			".extern .func (.param .b32 func_retval0) vprintf(.param .b64 vprintf_param_0, .param .b64 vprintf_param_1);\n" +
			".global .align 1 .b8 $str[4] = {104, 105, 10};\n.global .b64 where = generic($str);\n.global .b64 there[2] = {where, where+8};\n" +
			".visible .entry k(.param .u64 .ptr .global .align 4 a, .param .align 8 .b8 s[16])\n.maxntid 128, 1, 1\n.minnctapersm 2\n.pragma \"nounroll\";\n{\n" +
			".reg .b64 %rd<4>; .reg .b32 %r<3>; .local .align 8 .b8 \t__local_depot0[8];\n.reg .b64 \t%SP;\n.reg .b64 \t%SPL;\n" +
			".loc 1 3 5, function_name $L__info+2, inlined_at 1 7 9\nmov.u64 %SPL, __local_depot0;\ncvta.local.u64 %SP, %SPL;\n" +
			"ld.param.u32 %r1, [s+12];\n.pragma \"used_bytes_mask 0xfff\";\n" +
			"{ // callseq 0, 0\n.reg .b32 temp_param_reg;\n.param .b64 param0;\nst.param.b64 [param0+0], %SP;\n.param .b64 param1;\nst.param.b64 [param1], %SP;\n" +
			".param .b32 retval0;\ncall.uni (retval0), vprintf, (param0, param1);\nld.param.b32 %r2, [retval0+0];\n} // callseq 0\n" +
			"prefetch.global.L2 [%SP];\nret;\n$L__end:\n}\n.section .debug_str\n{\n$L__info:\n.b8 1, 2\n.b64 .debug_loc\n}\n\x00",
		".version 7.8\n.target sm_80\n.visible .entry k() { exit; }\n.weak .func f() { ret; }",
		".version 7.8\n.target sm_80\n.extern .global .b32 x;\n.visible .entry k() { .reg .b64 %rd<2>; mov.u64 %rd1, x; ret; }\n.visible .global .b32 x = 5;\n.extern .global .b32 x;",
	} {
		p, err := Parse("x.ptx", []byte(text), false)
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := New(Options{}).LoadProgram(p); err != nil {
			t.Error(err)
		}
	}
}

// TestApproximate runs instructions that need AllowApprox.
func TestApproximate(t *testing.T) {
	body := ".reg .f32 %f<3>; mov.f32 %f1, 0f40400000; ex2.approx.ftz.f32 %f2, %f1; add.f32 %f2, %f2, %f1; mov.b32 %r2, %f2;"
	if _, err := execute(programOf(body), oneThread, Options{}); err == nil {
		t.Error("loaded without being allowed")
	}
	got, err := execute(programOf(body), oneThread, Options{AllowApprox: true})
	if err != nil || got[0] != 0x41300000 { // 2^3 + 3
		t.Errorf("%#x, %v", got, err)
	}
	dev := New(Options{AllowApprox: true})
	m, err := dev.Load("x.ptx", []byte(programOf(body)))
	if err != nil || strings.Contains(dev.Name(), "may differ") {
		t.Fatalf("%v: name %q", err, dev.Name())
	}
	if _, err := m.Kernel("kernel"); err != nil || !strings.Contains(dev.Name(), "may differ") {
		t.Errorf("%v: name %q", err, dev.Name())
	}
}

// TestApproximateDouble runs the approximate instructions in nvcc's functions of doubles: they read and write
// the upper 32 bits of a number.
func TestApproximateDouble(t *testing.T) {
	for _, test := range []struct {
		op, of string
		hi, lo uint32
	}{
		{"rcp.approx.ftz.f64", "0d4008000000000000", 0x3fd55555, 0}, // 3
		{"rcp.approx.ftz.f64", "0d40080000FFFFFFFF", 0x3fd55555, 0}, // its lower bits are ignored
		{"rcp.approx.ftz.f64", "0d800FFFFFFFFFFFFF", 0xfff00000, 0}, // subnormal
		{"rcp.approx.ftz.f64", "0d7FEFFFFF00000000", 0, 0},          // the result would be
		{"rsqrt.approx.ftz.f64", "0d4000000000000000", 0x3fe6a09e, 0},
		{"rsqrt.approx.f64", "0d4000000000000000", 0x3fe6a09e, 0x667f3bcc},
		{"rsqrt.approx.f64", "0dC000000000000000", 0x7ff80000, 0},
	} {
		body := ".reg .f64 %f<3>; .reg .b32 %h; mov.f64 %f1, " + test.of + ";\n" + test.op + " %f2, %f1;\n"
		hi, err := execute(programOf(body+"mov.b64 {%h, %r2}, %f2;"), oneThread, Options{AllowApprox: true})
		if err != nil {
			t.Errorf("%s: %v", test.op, err)
			continue
		}
		lo, err := execute(programOf(body+"mov.b64 {%r2, %h}, %f2;"), oneThread, Options{AllowApprox: true})
		if err != nil || hi[0] != test.hi || lo[0] != test.lo {
			t.Errorf("%s %s: %#x %#x, want %#x %#x, %v", test.op, test.of, hi[0], lo[0], test.hi, test.lo, err)
		}
	}
	if _, err := execute(programOf(".reg .f64 %f<2>; rcp.approx.f64 %f1, %f1;"), oneThread, Options{AllowApprox: true}); err == nil {
		t.Error("rcp.approx.f64 is no instruction")
	}
}

// TestFlushed runs the exact instructions of nvcc -use_fast_math that flush subnormals.
func TestFlushed(t *testing.T) {
	const one, small, negative = "0f3F800000", "0f00400000", "0f80400000"
	for _, test := range []struct {
		op, a, b string
		want     uint32
	}{
		{"max.ftz.f32 %f3, %f1, %f2", small, "0f00000000", 0},
		{"max.ftz.f32 %f3, %f1, %f2", small, one, 0x3f800000},
		{"max.ftz.f32 %f3, %f1, %f2", negative, "0fBF800000", 0x80000000},
		{"min.ftz.f32 %f3, %f1, %f2", small, one, 0},
		{"min.ftz.f32 %f3, %f1, %f2", small, negative, 0x80000000},
		{"min.ftz.f32 %f3, %f1, %f2", small, "0f7FC00000", 0},
		{"abs.ftz.f32 %f3, %f1", negative, one, 0},
		{"neg.ftz.f32 %f3, %f1", small, one, 0x80000000},
		{"neg.ftz.f32 %f3, %f1", one, one, 0xbf800000},
		{"setp.gt.ftz.f32 %p1, %f1, %f2; selp.f32 %f3, 1.0, 0.0, %p1", small, negative, 0},
		{"setp.eq.ftz.f32 %p1, %f1, %f2; selp.f32 %f3, 1.0, 0.0, %p1", small, negative, 0x3f800000},
		{"setp.gt.ftz.f32 %p1, %f1, %f2; selp.f32 %f3, 1.0, 0.0, %p1", one, small, 0x3f800000},
		{"setp.neu.ftz.f32 %p1, %f1, %f2; selp.f32 %f3, 1.0, 0.0, %p1", "0f7FC00000", small, 0x3f800000},
		{"set.ge.ftz.f32.f32 %f3, %f1, %f2", negative, small, 0x3f800000},
	} {
		body := ".reg .f32 %f<4>; mov.f32 %f1, " + test.a + "; mov.f32 %f2, " + test.b + "; " + test.op + "; mov.b32 %r2, %f3;"
		got, err := execute(programOf(body), oneThread, Options{AllowApprox: true})
		if err != nil || got[0] != test.want {
			t.Errorf("%s of %s, %s: %#x, want %#x, %v", test.op, test.a, test.b, got, test.want, err)
		}
		if _, err := execute(programOf(body), oneThread, Options{}); err == nil || !strings.Contains(err.Error(), ".ftz flushes") {
			t.Errorf("%s: %v", test.op, err)
		}
	}
}

// TestIntricate refuses, quickly, code for which the search for post-dominators would take too long.
func TestIntricate(t *testing.T) {
	var b strings.Builder
	b.WriteString(".version 7.8\n.target sm_80\n.visible .entry k()\n{\n.reg .pred %p<2>;\n")
	const n = 60000
	for range n {
		b.WriteString("@%p1 bra HALF;\n@%p1 bra END;\n")
	}
	b.WriteString("HALF:\n")
	for range n {
		b.WriteString("membar.cta;\n")
	}
	b.WriteString("END:\nret;\n}\n")
	start := time.Now()
	_, err := Parse("x.ptx", []byte(b.String()), false)
	t.Logf("%v after %v", err, time.Since(start))
	if err == nil || !strings.Contains(err.Error(), "intricate") {
		t.Errorf("error %v", err)
	}
}

// TestOwnModules loads this project's kernels, and checks that a text is parsed once.
func TestOwnModules(t *testing.T) {
	files, err := filepath.Glob("../cu/*.ptx")
	if err != nil || len(files) == 0 {
		t.Fatalf("no modules: %v", err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		first, err := parsed.program(name, text, false)
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := parsed.program(name, text, false); again != first || len(first.Entries()) == 0 {
			t.Errorf("%s: parsed twice, or without a kernel", name)
		}
	}
}
