package invoke

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kvcompress/kernels/ptx"
)

const scriptPTX = `.version 7.8
.target sm_80
.address_size 64
.const .align 4 .f32 factor = 0f3F800000;
.global .align 4 .u32 calls;
.visible .entry _Z5scalePfi(.param .u64 x, .param .u32 n)
{
	.reg .pred %p; .reg .b32 %r<3>; .reg .f32 %f<3>; .reg .b64 %rd<4>;
	ld.param.u64 %rd1, [x];
	ld.param.u32 %r1, [n];
	mov.u32 %r2, %tid.x;
	setp.eq.u32 %p, %r2, 0;
	@%p red.global.add.u32 [calls], 1;
	setp.ge.u32 %p, %r2, %r1;
	@%p ret;
	mul.wide.u32 %rd2, %r2, 4;
	add.u64 %rd3, %rd1, %rd2;
	ld.const.f32 %f1, [factor];
	ld.global.f32 %f2, [%rd3];
	mul.rn.f32 %f2, %f2, %f1;
	st.global.f32 [%rd3], %f2;
	ret;
}
.visible .entry at(.param .align 8 .b8 p[16])
{
	.reg .b32 %r; .reg .b64 %rd;
	ld.param.u64 %rd, [p];
	ld.param.u32 %r, [p+12];
	st.global.u32 [%rd], %r;
	ret;
}
.visible .entry bad() { frobnicate; }
`

// inFolder makes a folder with the kernels above and some arrays the current one.
func inFolder(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	for file, text := range map[string]string{"k.ptx": scriptPTX, "p.hex": "00 01\n0203", "odd.hex": "0", "other.ptx": ".version 7.8\n.target sm_80\n.visible .entry at() { ret; }\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	writeNPY(t, "x.npy", "<f4", []int64{4}, floats(1, 2, 3, 4))
	writeNPY(t, "twice.npy", "<f4", []int64{4}, floats(2, 4, 6, 4))
	writeNPY(t, "off.npy", "<f4", []int64{4}, floats(2, 4, 6.0000005, 4))
	writeNPY(t, "mask.npy", "|b1", []int64{4}, []byte{1, 1, 1, 0})
	writeNPY(t, "two.npy", "<f4", []int64{1}, floats(2))
	writeNPY(t, "three.npy", "<u4", []int64{1}, []byte{3, 0, 0, 0})
	writeNPY(t, "seven.npy", "<u4", []int64{2}, []byte{0, 0, 0, 0, 7, 0, 0, 0})
}

func runScript(t *testing.T, opt ptx.Options, text string) (ScriptResult, error) {
	t.Helper()
	s, err := ParseScript("s.txt", []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	opt.Checks = ptx.AllChecks()
	dev := ptx.New(opt)
	r, err := s.Run(t.Context(), dev, ".")
	return r, errors.Join(err, dev.Close())
}

func TestScript(t *testing.T) {
	inFolder(t)
	const head = "module k.ptx  # kernels\nbuffer x in=x.npy\n"
	for _, c := range []struct {
		name, text string
		differ     bool
		err        string
	}{
		{"launches share memory and variables", head + `set factor f32=2
launch scale grid=1 block=32 buf=x s32=3
expect x twice.npy
expect factor two.npy
launch "scale(float*, int)" grid=1 block=32 buf=x s32=0
launch _Z5scalePfi grid=1,1 block=1,1,1 shared=64 buf=x b32=0
expect calls three.npy
write x x.npy
expect x x.npy
save x "out file.npy"
save calls u32[1]:calls.npy
save factor f32[]:all.safetensors#factor
save factor+2 u16[1]:half.npy`, false, ""},
		{"more than a variable", head + "save factor f32[2]:y.npy", false, "f32[2] from byte 0 has 8 bytes, and the variable 4"},
		{"past a variable's end", head + "save factor+4 u8[1]:y.npy", false, "u8[1] from byte 4 has 1 bytes, and the variable 4"},
		{"save of no variable", head + "save nope f32[2]:y.npy", false, `no variable "nope"`},
		{"set by file", head + "set factor in=two.npy\nlaunch scale grid=1 block=32 buf=x s32=3\nexpect x twice.npy", false, ""},
		{"a tolerance", head + "set factor f32=2\nlaunch scale grid=1 block=32 buf=x s32=3\nexpect x off.npy ulp=1\nexpect x off.npy rtol=1e-6\nexpect x off.npy atol=1e-6", false, ""},
		{"not near enough", head + "set factor f32=2\nlaunch scale grid=1 block=32 buf=x s32=3\nexpect x off.npy rtol=1e-9", true, ""},
		{"a struct", "module k.ptx\nbuffer y zeros=u32[2]\nlaunch at grid=1 block=1 struct=buf=y+4,u32@12=7\nexpect y seven.npy", false, ""},
		{"a mask", "module k.ptx\nset factor f32=2\nbuffer x in=x.npy mask=mask.npy\nlaunch scale grid=1 block=32 buf=x s32=3\nexpect x twice.npy mask=mask.npy", false, ""},
		{"beyond the mask", "module k.ptx\nset factor f32=2\nbuffer x in=x.npy mask=mask.npy\nlaunch scale grid=1 block=32 buf=x s32=3\nexpect x twice.npy", false, "s.txt:5: expect x: "},
		{"zero", head + "zero x\nexpect x x.npy", true, ""},
		{"what is undefined", "module k.ptx\nbuffer x tmp=f32[4]\nsave x y.npy", false, "s.txt:3: save x: "},
		{"no such kernel", head + "launch nope grid=1 block=1", false, `s.txt:3: launch nope: no kernel "nope": there are scale, at, bad`},
		{"a refused kernel", head + "launch bad grid=1 block=1", false, "s.txt:3: launch bad: ptx: k.ptx:32: unknown opcode"},
		{"two kernels of a name", head + "module other.ptx\nlaunch at grid=1 block=1", false, "two modules have a kernel"},
		{"a wrong type", head + "launch scale grid=1 block=32 buf=x f32=3", false, "the parameter is a .u32"},
		{"a wrong size", head + "launch scale grid=1 block=32 buf=x s64=3", false, "it has 64 bits, and a .u32 has 32"},
		{"too few", head + "launch scale grid=1 block=32 buf=x", false, "1 arguments, and the kernel has 2 parameters (.u64, .u32)"},
		{"a struct too long", head + "launch at grid=1 block=1 struct=u64=0,u64=0,u8=0", false, "it has 17 bytes, and the parameter 16"},
		{"bytes too few", head + "launch at grid=1 block=1 struct=p.hex", false, "it has 4 bytes, and the parameter 16"},
		{"no digits", head + "launch at grid=1 block=1 struct=odd.hex", false, "odd.hex: not hexadecimal digits"},
		{"a scalar for a struct", head + "launch at grid=1 block=1 u64=0", false, "a struct of 16 bytes: give it by struct="},
		{"past a buffer", head + "launch scale grid=1 block=1 buf=x+17 s32=1", false, "the buffer has 16 bytes"},
		{"no such variable", head + "set nope u32=1", false, `no variable "nope": there are factor, calls`},
		{"past a variable", head + "set factor+4 u32=1", false, "s.txt:3: set factor+4: ptx: bytes 4 to 7"},
		{"another shape", head + "expect x two.npy", false, "two.npy is f32[1], and the buffer f32[4]"},
		{"another shape in two dimensions", head + "buffer y zeros=f32[2,2]\nexpect y two.npy", false, "two.npy is f32[1], and the buffer f32[2,2]"},
		{"a mask of another size", head + "expect x x.npy mask=two.npy", false, "a mask has a bool for each of the 4 elements"},
		{"no file", "module none.ptx", false, "s.txt:1: module none.ptx: none.ptx: no such file"},
	} {
		for _, more := range []int{0, 10} {
			r, err := runScript(t, ptx.Options{MaxFindings: more}, c.text)
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %q", c.name, err, c.err)
			}
			if err == nil && r.Differ != c.differ {
				t.Errorf("%s: %v", c.name, r.Expected)
			}
		}
	}
	if _, err := os.Stat("out file.npy"); err != nil {
		t.Error(err)
	}
	for file, end := range map[string]string{"calls.npy": "\x03\x00\x00\x00", "all.safetensors": "\x00\x00\x00\x40", "half.npy": "\x00\x40"} { // 3 calls, 2 and its upper half
		if got, err := os.ReadFile(file); err != nil || !strings.HasSuffix(string(got), end) {
			t.Errorf("%s ends in %q, want %q; %v", file, got[max(len(got)-4, 0):], end, err)
		}
	}
	if _, err := os.Stat("y.npy"); err == nil {
		t.Error("a script with an error has written a file")
	}
	if left, err := filepath.Glob(".*"); err != nil || len(left) > 0 {
		t.Errorf("%v is left behind", left)
	}
}

// TestScriptFindings: after findings the script continues with the next launch, and writes no
// file.
func TestScriptFindings(t *testing.T) {
	inFolder(t)
	const text = "module k.ptx\nbuffer x in=x.npy\nlaunch scale grid=1 block=32 buf=x s32=5\nlaunch at grid=1 block=1 struct=buf=x+16\nsave x y.npy"
	r, err := runScript(t, ptx.Options{MaxFindings: 10}, text)
	if err != nil || len(r.Launches) != 2 || len(r.Findings) != 3 {
		t.Errorf("%v: %d launches, %d findings", err, len(r.Launches), len(r.Findings))
	}
	var first *ptx.Report
	r, err = runScript(t, ptx.Options{}, text)
	if !errors.As(err, &first) || len(r.Launches) != 1 || !strings.Contains(err.Error(), "s.txt:3: launch scale: ") {
		t.Errorf("%v: %d launches", err, len(r.Launches))
	}
	if _, err := os.Stat("y.npy"); err == nil {
		t.Error("a file is written in spite of findings")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s, _ := ParseScript("s.txt", []byte(text))
	if _, err := s.Run(ctx, ptx.New(ptx.Options{}), "."); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestParseScriptErrors(t *testing.T) {
	const module = "module k.ptx\n"
	for _, c := range []struct{ text, want string }{
		{"", "the script has no statements"},
		{"# nothing", "the script has no statements"},
		{"frob", `s.txt:1: unknown statement "frob"`},
		{"\n\nmodule", "s.txt:3: module: want module FILE.ptx"},
		{"module a b", "want module"},
		{"module \"a", "unterminated quote"},
		{"module a\x07", "control character"},
		{"module \xff", "not text in UTF-8"},
		{"buffer x", "want buffer NAME"},
		{"buffer 1 in=x.npy", `"1" is not a valid name`},
		{"buffer x in=x.npy\nbuffer x in=x.npy", `s.txt:2: buffer: buffer "x" already exists`},
		{"buffer x in=x", "neither a .npy file"},
		{"buffer x out=f32[1]:y.npy", "is none of in=FILE"},
		{"buffer x tmp=f32[1]:y.npy", "save writes"},
		{"buffer x tmp=f32[1] mask=y.npy", "only in=FILE can have"},
		{"buffer x in=x.npy mask=a.npy mask=b.npy", "only in=FILE can have"},
		{"buffer x zeros=f32[99999999999,99999999999]", "too large"},
		{"write x x.npy", `no buffer "x" so far`},
		{"zero", "want zero NAME"},
		{"set x u32=1", "no module so far"},
		{module + "set x+-1 u32=1", "not a number of bytes"},
		{module + "set x zeros=f32[1]:y.npy", "declare a buffer"},
		{module + "set x buf=y", `no buffer "y"`},
		{"launch k grid=1 block=1", "no module so far"},
		{module + "launch", "want launch ENTRY"},
		{module + "launch k grid=1", "want grid= and block="},
		{module + "launch k grid=1 grid=1 block=1", "a second grid="},
		{module + "launch k grid=1 block=1 cooperative cooperative", "a second cooperative"},
		{module + "launch k grid=1 block=1 cooperative=no", "cooperative=no: want the word cooperative alone"},
		{module + "launch k grid=0 block=1", "grid=0: want X, X,Y or X,Y,Z"},
		{module + "launch k grid=1,1,1,1 block=1", "want X, X,Y or X,Y,Z"},
		{module + "launch k grid=1 block=1 shared=x", "a number of bytes"},
		{module + "launch k grid=1 block=1 in=x.npy", "give it as buf=NAME"},
		{module + "launch k grid=1 block=1 struct=in=x.npy", "give it as buf=NAME"},
		{module + "launch k grid=1 block=1 buf=x", `no buffer "x"`},
		{module + "launch k grid=1 block=1 buf=x+y", "not a number of bytes"},
		{module + "launch k grid=1 block=1 struct=u32=1,u32@2=1", "it overlaps"},
		{module + "launch k grid=1 block=1 struct=u32@99999=1", "the limit"},
		{module + "launch k grid=1 block=1 struct=u32@-4=1", "is not an offset"},
		{module + "launch k grid=1 block=1 struct=struct=u32=1", "a struct in a struct"},
		{module + "launch k grid=1 block=1 struct=7", "want KIND=VALUE"},
		{"expect x x.npy", `no buffer "x" so far, and no module`},
		{module + "expect x", "want expect NAME FILE"},
		{module + "expect x y", "neither"},
		{module + "expect x y.npy ulp=-1", `"ulp=-1"`},
		{module + "expect x y.npy rtol=nan", "from 0 on"},
		{module + "expect x y.npy rtol=inf", "from 0 on"},
		{module + "expect x y.npy frob=1", "want mask=FILE"},
		{"save x y.npy", `no buffer "x" so far, and no module with variables`},
		{module + "save x y.npy", `no buffer "x" so far, and for a variable: want TYPE[SHAPE]`},
		{module + "save x u32[1]", "want save x u32[1]:FILE"},
		{module + "save x u32[1]:../y.npy", "not in the script's folder"},
		{module + "save x+y u32[1]:y.npy", "not a number of bytes"},
		{module + "save x bf16[1]:y.npy", "NumPy has no type"},
		{"buffer x in=x.npy\nsave x ../y.npy", "not in the script's folder"},
		{"buffer x in=x.npy\nsave x /y.npy", "not in the script's folder"},
		{"buffer x in=x.npy\nsave x y.npy\nsave x ./y.npy", "already written"},
		{strings.Repeat(module, maxStatements+1), "more than"},
		{strings.Repeat(" ", maxScript+1), "the limit is"},
	} {
		if _, err := ParseScript("s.txt", []byte(c.text)); err == nil || !strings.HasPrefix(err.Error(), "s.txt:") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q: %v, want %q", c.text, err, c.want)
		}
	}
}

// FuzzScript: ParseScript returns a script or one error with the file's name. A script is run in
// a folder without files.
func FuzzScript(f *testing.F) {
	f.Add("module k.ptx\nbuffer x in=x.npy mask=m.npy\nset v+4 f32=2\nlaunch k grid=1,2 block=32 shared=4 cooperative buf=x+8 s32=3 struct=u8=1,buf@8=x\nexpect x y.npy ulp=1\nsave x z.npy")
	f.Add("buffer x zeros=f32[4]\nbuffer y tmp=u8[2,3]\nzero x\nwrite x \"a b.npy\" # c")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseScript("s.txt", []byte(text))
		if (s == nil) == (err == nil) || err != nil && !strings.HasPrefix(err.Error(), "s.txt:") {
			t.Fatalf("%v, %v", s, err)
		}
		if err != nil || strings.ContainsAny(text, "/\\") || strings.Contains(text, "save") {
			return
		}
		dev := ptx.New(ptx.Options{Checks: ptx.AllChecks(), MemoryLimit: 1 << 16, MaxFindings: 5, Budget: 1000})
		_, _ = s.Run(t.Context(), dev, t.TempDir())
		if err := dev.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
