package mutate

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"kvcompress/internal/testsize"
	"kvcompress/kernels/device"
	"kvcompress/kernels/ptx"
	"kvcompress/ref"
	"kvcompress/ref/draw"
)

// small is PTX with an instruction for each kind of fault.
const small = `.version 7.8
.target sm_80
.address_size 64
.visible .entry other() { ret; }
.visible .entry small(.param .u64 p)
{
	.reg .pred %p<3>;
	.reg .b32 %r<9>;
	.reg .f32 %f<6>;
	.reg .b64 %rd<5>;
	.shared .align 4 .b8 s[128];
	ld.param.u64 %rd1, [p]; // a comment; with a semicolon
	mov.u32 %r1, %tid.x;
	mul.wide.s32 %rd2, %r1, 4;
	add.s64 %rd3, %rd1,
		%rd2;
	ld.global.f32 %f1, [%rd3];
	mul.rn.f32 %f2, %f1, 0f40000000;
	add.rn.f32 %f3, %f2, %f1;
	setp.lt.s32 %p1, %r1, 5;
	@%p1 bra L;
	sub.s32 %r2, %r1, %r1;
	bar.sync 0;
	atom.shared.add.u32 %r3, [s], 1;
	cvt.rzi.s32.f32 %r4, %f3;
L:
	st.global.f32 [%rd3+128], %f3;
	ret;
}
`

// TestMutants lists the mutants of a kernel: each can be parsed, and has one fault.
func TestMutants(t *testing.T) {
	m, err := Parse("small.ptx", []byte(small))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	kinds := map[string]bool{}
	for _, x := range m.Mutants("small") {
		fmt.Fprintf(&b, "%d %s: %s\n", x.Line, x.Kind, x.New)
		kinds[x.Kind] = true
		for _, text := range [][]byte{x.PTX(), x.Alone()} {
			p, err := ptx.Parse("small.ptx", text, true)
			if err != nil || !runs(p, "small") {
				t.Errorf("%s: %v", x.New, err)
			}
			if n := bytes.Count(text, []byte("\n")); n != strings.Count(small, "\n") {
				t.Errorf("%s: %d lines", x.New, n)
			}
		}
		if probe := x.Probe(); probe != nil {
			if p, err := ptx.Parse("small.ptx", probe, true); err != nil || !runs(p, "small") {
				t.Errorf("the probe of %s: %v", x.New, err)
			}
		}
	}
	const want = `14 a type's sign: mul.wide.u32 %rd2, %r1, 4;
14 a constant by one: mul.wide.s32 %rd2, %r1, 5;
15 an operand: add.s64 %rd3, %rd2, %rd2;
15 32 for 64 bits of address arithmetic: add.s64 %rd3, %rd1, %rd2; shl.b64 %rd3, %rd3, 32; shr.s64 %rd3, %rd3, 32;
17 a constant by one: ld.global.f32 %f1, [%rd3+4];
18 a rounding: mul.rz.f32 %f2, %f1, 0f40000000;
18 a constant by one: mul.rn.f32 %f2, %f1, 0f40000001;
19 a rounding: add.rz.f32 %f3, %f2, %f1;
19 an operand: add.rn.f32 %f3, %f2, %f2;
19 fused for two roundings: fma.rn.f32 %f3, %f1, 0f40000000, %f1;
20 a comparison's edge: setp.le.s32 %p1, %r1, 5;
20 a predicate's sense: setp.ge.s32 %p1, %r1, 5;
20 a type's sign: setp.lt.u32 %p1, %r1, 5;
20 a constant by one: setp.lt.s32 %p1, %r1, 6;
21 a predicate's sense: @!%p1 bra L;
23 a dropped barrier, fence or wait: ;
24 a dropped atomic: { .reg .b32 %mutant_a, %mutant_b; ld.shared.b32 %mutant_a, [s]; mov.b32 %mutant_b, %mutant_a; add.u32 %mutant_a, %mutant_a, 1; st.shared.b32 [s], %mutant_a; mov.b32 %r3, %mutant_b; }
24 a constant by one: atom.shared.add.u32 %r3, [s], 2;
25 a rounding: cvt.rni.s32.f32 %r4, %f3;
27 a dropped store: ;
27 a constant by one: st.global.f32 [%rd3+132], %f3;
`
	if got := b.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	for _, kind := range Kinds() {
		if !kinds[kind] && kind != KindWidth {
			t.Errorf("none has %s", kind)
		}
	}
}

// TestSample: equal seeds give equal mutants, different seeds different ones, and every kind occurs.
func TestSample(t *testing.T) {
	modules, err := EngineModules()
	if err != nil {
		t.Fatal(err)
	}
	n := testsize.Of(15, 60, 60)
	texts := func(seed uint64) []string {
		var list []string
		for _, m := range Sample(t.Context(), modules, n, seed, EngineGroup) {
			list = append(list, fmt.Sprint(m.Kernel, m.Line, m.New))
		}
		return list
	}
	one := texts(1)
	if len(one) != n || !slices.Equal(one, texts(1)) || slices.Equal(one, texts(2)) {
		t.Errorf("%d mutants, %v", len(one), one)
	}
}

// TestCheck plants faults in the engine's kernels. A wrong number, an access out of bounds and a race are noticed; faults that make
// no difference are recognized, each for its reason; and one that only a cache behind 2 GiB shows takes the pipelines that were left out.
func TestCheck(t *testing.T) {
	if testing.Short() {
		t.Skip("it runs some dozens of pipelines")
	}
	modules, err := EngineModules()
	if err != nil {
		t.Fatal(err)
	}
	methods, _, err := draw.Methods()
	if err != nil {
		t.Fatal(err)
	}
	methods = slices.DeleteFunc(methods, func(m *draw.Method) bool { return m.Name != ref.KVCompress })
	faults := []struct {
		kernel, kind, old string
		says              string // why the fault is thought to make no difference; "" if it is noticed
	}{
		{"attend_combine", KindRounding, "add.rn.f32", ""},
		{"attend_combine", KindStore, "st.global", ""},
		{"costs", KindOperand, "setp", ""},
		{"take_blocks", KindBarrier, "bar", ""},
		{"list_evicted", KindConstant, "shl.b32", ""},
		{"free_blocks", KindAtomic, "", ""},
		{"attend_record", KindAddress32, "mul.lo.s64", ""},
		{"attend_combine", KindType, "mul.wide", "its result was the same"},
		{"give_tokens", KindAddress32, "mul.wide", "of at most 2 GiB"},
		{"count_digits", KindOperand, "min.s32", "by an argument: "},
	}
	var mutants []*Mutant
	for _, f := range faults {
		for _, m := range modules {
			all := m.Mutants(f.kernel)
			i := slices.IndexFunc(all, func(x Mutant) bool { return x.Kind == f.kind && strings.HasPrefix(x.Old, f.old) })
			if i >= 0 {
				mutants = append(mutants, &all[i])
			}
		}
	}
	if len(mutants) != len(faults) {
		t.Fatalf("%d faults", len(mutants))
	}
	check := Check{Methods: methods, Seeds: 6, Runs: 3, MoreRuns: 40}
	survivors, err := check.Run(context.Background(), mutants)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range faults {
		at := slices.IndexFunc(survivors, func(s Survivor) bool { return s.Mutant == mutants[i] })
		switch {
		case at < 0 && f.says != "":
			t.Errorf("%s, %s: %s is noticed", f.kernel, mutants[i].Old, mutants[i].New)
		case at >= 0 && (f.says == "" || !survivors[at].Equivalent || !strings.Contains(survivors[at].Why, f.says)):
			t.Errorf("%s, %s: %s is not noticed: %+v", f.kernel, mutants[i].Old, mutants[i].New, survivors[at])
		}
	}
}

// FuzzMutants plants faults in any text: each mutant can be parsed, or is refused with an error.
func FuzzMutants(f *testing.F) {
	f.Add([]byte(small), uint64(0))
	f.Fuzz(func(t *testing.T, text []byte, seed uint64) {
		m, err := Parse("fuzz.ptx", text)
		if err != nil {
			return
		}
		for _, x := range Sample(t.Context(), []*Module{m}, 5, seed, func(k string) string { return k }) {
			x.Probe()
			x.Taint()
			if bytes.Equal(x.PTX(), text) {
				t.Errorf("%s: %s changes nothing", x.Where(), x.New)
			}
		}
	})
}

// TestTaint: a fault in bits that are masked out, or in a value that is not selected, is not
// used; a fault in other bits is.
func TestTaint(t *testing.T) {
	const kernel = `.version 7.8
.target sm_80
.address_size 64
.visible .entry k(.param .u64 out)
{
	.reg .b32 %%r<9>; .reg .b64 %%rd<3>; .reg .pred %%p<3>;
	ld.param.u64 %%rd1, [out];
	mov.u32 %%r1, 0x80000000;
	shr.u32 %%r2, %%r1, 24;
	%s
	st.global.u32 [%%rd1], %%r3;
	ret;
}
`
	for rest, used := range map[string]bool{
		"and.b32 %r3, %r2, 255;":                                        false,
		"and.b32 %r3, %r2, 256;":                                        true,
		"mov.u32 %r3, %r2;":                                             true,
		"setp.gt.s32 %p1, %r1, 0; selp.b32 %r3, %r2, 7, %p1;":           false,
		"setp.lt.s32 %p1, %r1, 0; selp.b32 %r3, %r2, 7, %p1;":           true,
		"setp.lt.s32 %p1, %r2, 0; mov.u32 %r3, 1; @%p1 mov.u32 %r3, 2;": true,
		"shl.b32 %r3, %r2, 24; and.b32 %r3, %r3, 7;":                    false,
	} {
		m, err := Parse("k.ptx", fmt.Appendf(nil, kernel, rest))
		if err != nil {
			t.Fatal(err)
		}
		all := m.Mutants("k")
		i := slices.IndexFunc(all, func(x Mutant) bool { return strings.HasPrefix(x.New, "shr.s32") })
		dev := ptx.New(ptx.Options{Checks: ptx.Checks{Uninit: true, Registers: true}})
		out, err := dev.Alloc("out", 4)
		if err != nil {
			t.Fatal(err)
		}
		module, err := dev.Load("k.ptx", all[i].Taint())
		if err != nil {
			t.Fatalf("%v\n%s", err, all[i].Taint())
		}
		k, err := module.Kernel("k")
		if err != nil {
			t.Fatal(err)
		}
		one := device.Dim{X: 1, Y: 1, Z: 1}
		err = k.Launch(t.Context(), one, one, 0, device.Pointer(out))
		if err == nil {
			err = dev.Read(make([]byte, 4), out)
		}
		if (err != nil) != used {
			t.Errorf("%s: %v, want a report: %t", rest, err, used)
		}
	}
}

// TestArguments: the lines in arguments.json match the sources.
func TestArguments(t *testing.T) {
	list, err := arguments()
	if err != nil {
		t.Fatal(err)
	}
	for i := range list {
		a := &list[i]
		old, err := a.Stale(func(file string) ([]string, error) {
			text, err := os.ReadFile("../cu/" + file)
			return strings.Split(string(text), "\n"), err
		})
		if err != nil || len(old) > 0 || a.Why == "" || a.Old == "" || a.New == "" {
			t.Errorf("%q: %q, %v", a.Why, old, err)
		}
	}
	m := &Mutant{Kernel: "lag_deviations", File: "scores.cu", SourceLine: 223, Old: "min.u32 %r34, %r6, 32;", New: "min.u32 %r34, %r6, 33;"}
	argued := func(guess, want string) {
		t.Helper()
		if why, err := m.argued(guess); err != nil || why != want {
			t.Errorf("%q, %v", why, err)
		}
	}
	argued("", list[0].Why)
	m.SourceLine++
	argued("", "")
	m = &Mutant{Kernel: "hide_tokens", File: "edits.cu", SourceLine: 178, Old: "mul.wide.s32 %rd24, %r18, 4;", New: "mul.wide.s32 %rd24, %r18, 4; shl.b64 %rd24, %rd24, 32; shr.s64 %rd24, %rd24, 32;"}
	argued(`32 bits held the offset: it is of "hidden", which may have more than 2 GiB`, "")
	argued(`32 bits held the offset: it is of "tables", which may have more than 2 GiB`, "the offset is within the block table of one head")
	// The step of fold's loop is %r8; its start is of the same form.
	m = &Mutant{Kernel: "fold_f16", File: "edits.cu", SourceLine: 63, Old: "shl.b32 %r73, %r5, 3;", New: "shl.b32 %r73, %r5, 4;"}
	argued("", "")
	m.Old, m.New = "shl.b32 %r8, %r40, 3;", "shl.b32 %r8, %r40, 4;"
	argued("", "a thread block has at least a thread for every 8 elements of a key and a value, so no thread has a second round, and the step may be larger")
	// In f32, other than in f16, a number can be as small as what is added to it.
	m = &Mutant{Kernel: "fold_f32", File: "edits.cu", SourceLine: 28, Old: "add.rn.f32 %f3, %f2, 0f00000000;", New: "add.rn.f32 %f3, %f2, 0f00000001;"}
	argued("", "")
	m.Kernel = "fold_f16"
	argued("", list[len(list)-1].Why)
	// The rows of a prefill do not fit 16 bits: those of 300 positions of 128 query heads.
	m = &Mutant{Kernel: "prefill_partitions", File: "partition.cuh", SourceLine: 102, Old: "ld.shared.s32 %rd1, [%r1];", New: "ld.shared.s16 %rd1, [%r1];"}
	argued("", "")
	m.Kernel = "attend_partitions_f16"
	argued("", "it is the number of a query's row: at most 256 sequences × 128 query heads, so the largest is 32,767 and fits 16 bits. Only a prefill has more rows, since it has more positions")
}

// TestArray: array names the array of an out-of-bounds access, if that is the one that was meant.
func TestArray(t *testing.T) {
	out := &ptx.Report{Kind: ptx.OutOfBounds, Space: "global", Allocation: "positions", Extent: 1000, Offset: 4*far + 999}
	for err, want := range map[error]string{
		fmt.Errorf("joined: %w", out): "positions",
		&ptx.Report{Space: "global", Allocation: "positions", Extent: 1000, Offset: 4*far + 1000}: oneOfSeveral,
		&ptx.Report{Space: "global", Allocation: "positions", Extent: 1000, Offset: far - 4}:      oneOfSeveral,
		&ptx.Report{Kind: ptx.OutOfBounds, Space: "shared"}:                                       "shared memory",
		context.Canceled: "",
	} {
		if got := array(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}

// TestSize: the tables and lists of one sequence are bounded, those of all are not, and the lists of kernels name ones that exist.
func TestSize(t *testing.T) {
	for kernel, bounded := range map[string]bool{"score_norms": true, "append_prompt_bf16": true, "append_tokens_bf16": false, "costs": false} {
		if got := size(kernel, "tables"); (got != "") != bounded {
			t.Errorf("the tables of %s: %q, want a bound: %t", kernel, got, bounded)
		}
	}
	if size("give_merged", "pages of their own") == "" || size("attend_partitions_merged_f16", "pages of their own") != "" {
		t.Error("page lists of one sequence are bounded, those of all are not")
	}
	if size("append_tokens_f16", "k") == "" || size("append_prompt_f16", "k") != "" {
		t.Error("keys of a token of each sequence are bounded, those of a prompt are not")
	}
	if size("costs", "lengths") == "" || size("costs", "positions") != "" {
		t.Errorf("lengths %q, positions %q", size("costs", "lengths"), size("costs", "positions"))
	}
	modules, err := EngineModules()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Concat(ofOneSequence, listsOfOneSequence, ofTokens) {
		if !slices.ContainsFunc(modules, func(m *Module) bool {
			return slices.ContainsFunc(m.Kernels(), func(k string) bool { return EngineGroup(k) == name })
		}) {
			t.Errorf("there is no kernel %s", name)
		}
	}
}

// TestSignOfLoad: the probe and the taint of a load tell whether its sign matters.
func TestSignOfLoad(t *testing.T) {
	const text = `.version 7.8
.target sm_80
.address_size 64
.visible .entry k(.param .u64 p)
{
	.reg .b32 %r<3>; .reg .b64 %rd<2>;
	ld.param.u64 %rd1, [p];
	ld.global.u8 %r1, [%rd1];
	and.b32 %r2, %r1, 255;
	st.global.u32 [%rd1+4], %r2;
	ret;
}
`
	m, err := Parse("k.ptx", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	all := m.Mutants("k")
	i := slices.IndexFunc(all, func(x Mutant) bool { return x.Kind == KindType })
	if i < 0 || all[i].Probe() == nil || all[i].Taint() == nil {
		t.Fatalf("%d of %d", i, len(all))
	}
	for value, differs := range map[byte]bool{127: false, 128: true} {
		for probe, want := range map[string]bool{string(all[i].Probe()): differs, string(all[i].Taint()): false} {
			dev := ptx.New(ptx.Options{Checks: ptx.Checks{Uninit: true, Registers: true}})
			p, err := dev.Alloc("p", 8)
			if err != nil {
				t.Fatal(err)
			}
			if err := dev.Write(p, []byte{value}); err != nil {
				t.Fatal(err)
			}
			module, err := dev.Load("k.ptx", []byte(probe))
			if err != nil {
				t.Fatalf("%v\n%s", err, probe)
			}
			k, err := module.Kernel("k")
			if err != nil {
				t.Fatal(err)
			}
			one := device.Dim{X: 1, Y: 1, Z: 1}
			err = k.Launch(t.Context(), one, one, 0, device.Pointer(p))
			if err == nil {
				err = dev.Read(make([]byte, 4), p+4)
			}
			if (err != nil) != want {
				t.Errorf("%d: %v, want a report: %t\n%s", value, err, want, probe)
			}
		}
	}
}
