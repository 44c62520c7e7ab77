package ptx

import (
	"strings"
	"testing"
)

// TestRefusedByEntry loads texts in which one kernel cannot be run and another can, and checks every error's
// kernel and line.
func TestRefusedByEntry(t *testing.T) {
	const head = ".version 7.8\n.target sm_80\n.address_size 64\n" // lines 1 to 3
	const good = "\n.visible .entry good(.param .u64 a) { .reg .b64 %rd<2>; ld.param.u64 %rd1, [a]; ret; }\n"
	bad := func(body string) string {
		return ".visible .entry bad(.param .u64 a) {\n.reg .b32 %r<4>; .reg .b64 %rd<4>; .reg .f32 %f<4>;\n" + body + "\nret; }\n" // body from line 6 on
	}
	for _, c := range []struct{ name, text, want string }{
		{"opcode", bad("frobnicate %r1;"), `k.ptx:6: unknown opcode "frobnicate"`},
		{"approximate", bad("ex2.approx.f32 %f1, %f2;"), "k.ptx:6: ex2.approx.f32"},
		{"contraction", bad("add.f32 %f1, %f2, %f3;"), "k.ptx:6: add.f32"},
		{"tensor copy", bad("cp.async.bulk.tensor.1d.global.shared::cta.bulk_group [%rd1, {%r1}], [%rd2];"), "k.ptx:6: cp.async.bulk.tensor"},
		{"syntax", bad("add.u32 %r1 %r2;"), `k.ptx:6: expected ";"`},
		{"braces in it", bad("{ add.u32 {%r1}, }; { } { %r1 %r2 }"), "k.ptx:6: "},
		{"prototype", bad("P: .callprototype _ (.param .b32 _);"), "function pointers"},
		{"directive", bad(".frob 1;"), `unknown directive ".frob"`},
		{"clusters", ".visible .entry bad() .reqnctapercluster 2, 1, 1 { ret; }", ".reqnctapercluster"},
		{"texture parameter", ".visible .entry bad(.param .texref t) { ret; }", "textures"},
		{"label", bad("bra NOWHERE;"), `no label "NOWHERE"`},
		{"callee", ".func f() {\nfrobnicate;\n}\n" + bad("call f;"), `k.ptx:5: unknown opcode`},
		{"callee's text", ".func f() {\n%r1 %r2;\n}\n" + bad("call f;"), `k.ptx:5: `},
		{"malloc", ".extern .func (.param .b64 r) malloc(.param .b64 n);\n" + bad("{ .param .b64 n; st.param.b64 [n], 8; .param .b64 r; call (r), malloc, (n); }"), "malloc: allocations in a kernel are not supported"},
		{"vector of 8", bad("ld.shared.v8.b32 {%r1, %r1, %r1, %r1, %r1, %r1, %r1, %r1}, [%rd1];"), "a vector of 32 bytes has to be in global memory"},
		{"new format", bad("cvt.rn.satfinite.s2f6x2.f32 %r1, %r1, %r1;"), ".s2f6x2 is not supported"},
		{"stochastic rounding", bad("cvt.rs.f16x2.f32 %r1, %r1, %r1, %r1;"), "stochastic rounding is not supported"},
		{"scalar video", bad("vadd.s32.u32.s32.sat %r1, %r1.b1, %r1.h1;"), "video instructions are not supported"},
		{"selected elements", bad("vadd2.u32.u32.u32 %r1, %r1.h10, %r1, %r1;"), "selected elements, .h10, are not supported"},
		{"recursion", ".func f() { call f; }\n" + bad("call f;"), `"f" calls itself`},
		{"shared", ".shared .b8 big[50000];\n" + bad("mov.u32 %r1, big;"), "50000 bytes of static shared memory"},
		{"extern", ".extern .global .b32 x;\n" + bad("mov.u64 %rd1, x;"), "k.ptx:4: extern variable \"x\" is nowhere defined"},
		{"texture", ".global .texref x;\n" + bad("mov.u64 %rd1, x;"), "textures"},
		{"function's address", ".func f() { ret; }\n.global .u64 x[2] = {0, f};\n" + bad("mov.u64 %rd1, x;"), "k.ptx:5: the address of f"},
		{"address of such a table", ".func f() { ret; }\n.global .u64 x = f;\n.global .u64 y = x;\n.const .u64 z[2] = {0, y};\n" + bad("ld.const.u64 %rd1, [z];"), "the address of f"},
		{"address of nothing", ".global .u64 x = nothing;\n" + bad("mov.u64 %rd1, x;"), `"nothing" is no variable`},
	} {
		for _, text := range []string{head + c.text + good, head + strings.TrimSpace(good) + " " + c.text} {
			p, err := Parse("k.ptx", []byte(text), false)
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			if err := p.Refused("good"); err != nil {
				t.Errorf("%s: the other kernel is refused: %v", c.name, err)
			}
			m, err := New(Options{}).LoadProgram(p)
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			if _, err := m.Kernel("good"); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			_, err = m.Kernel("bad")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
			}
			for _, k := range p.Kernels() {
				if (k.Refused != "") != (k.Name == "bad") {
					t.Errorf("%s: kernel %s: refused %q", c.name, k.Name, k.Refused)
				}
			}
		}
		// Without any kernel that can be run, the text is refused.
		if _, err := Parse("k.ptx", []byte(head+c.text), false); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s alone: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

// TestRefusedWhole has texts that are refused although one of their kernels could be run.
func TestRefusedWhole(t *testing.T) {
	const good = ".visible .entry good() { ret; }\n"
	for _, c := range []struct{ text, want string }{
		{good + ".visible .entry bad() { frob;", `"bad" has no end`},
		{good + ".visible .entry bad() { { ret; }", `"bad" has no end`},
		{good + ".visible .entry bad() { frob #; }", "unexpected character"},
		{good + ".visible .entry good() { frob }", `"good" is defined twice`},
		{good + ".visible .entry 1() { ret; }", "expected a function's name"},
		{good + ".frob;", "unknown directive"},
	} {
		if _, err := Parse("k.ptx", []byte(".version 7.8\n.target sm_80\n"+c.text), false); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.text, err, c.want)
		}
	}
}

// TestApproximateByKernel checks that the device's name mentions approximate results once such a kernel is
// requested.
func TestApproximateByKernel(t *testing.T) {
	text := ".version 7.8\n.target sm_80\n.visible .entry exact() { ret; }\n.visible .entry near() { .reg .f32 %f; ex2.approx.f32 %f, 0f00000000; ret; }\n"
	dev := New(Options{AllowApprox: true})
	m, err := dev.Load("k.ptx", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		entry   string
		differs bool
	}{{"exact", false}, {"near", true}, {"exact", true}} {
		if _, err := m.Kernel(c.entry); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(dev.Name(), "may differ") != c.differs {
			t.Errorf("after %s: %q", c.entry, dev.Name())
		}
	}
	exact := New(Options{})
	if m, err = exact.LoadProgram(m.(*loadedModule).program); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Kernel("near"); err == nil || !strings.Contains(err.Error(), "not allowed") {
		t.Errorf("a program that was parsed with approximation allowed: %v", err)
	}
	if _, err := m.Kernel("none"); err == nil || !strings.Contains(err.Error(), `no entry "none": there are exact, near`) {
		t.Errorf("%v", err)
	}
}
