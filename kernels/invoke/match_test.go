package invoke

import (
	"context"
	"math"
	"strings"
	"testing"

	"kvcompress/kernels/ptx"
	"kvcompress/safetensors"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		arg, typ string
		count    int
		want     string
	}{
		{"s32=-1", ".u32", 1, ""}, {"i32=-1", ".s32", 1, ""}, {"b32=0xffffffff", ".u32", 1, ""}, {"b32=-1", ".f32", 1, ""},
		{"f32=1", ".f32", 1, ""}, {"f32=1", ".b32", 1, ""}, {"u32=1", ".b32", 1, ""},
		{"ptr=0", ".u64", 1, ""}, {"in=x.npy", ".u64", 1, ""}, {"in=x.npy", ".b64", 1, ""}, {"tmp=f32[1]", ".s64", 1, ""},
		{"f16=1", ".b16", 1, ""}, {"f16=1", ".f16", 1, ""}, {"bf16=1", ".b16", 1, ""}, {"f16=1", ".b8", 2, ""},
		{"b8=0xff", ".s8", 1, ""}, {"fp8_e4m3=1", ".u8", 1, ""}, {"f64=1", ".f64", 1, ""},
		{"struct=u32=1", ".b8", 4, ""}, {"struct=u32=1", ".b8", 8, ""}, {"struct=u8=1,u32=1", ".b8", 8, ""}, {"struct=f32=1", ".f32", 1, ""},
		{"f32=1", ".u32", 1, "the parameter is a .u32"},
		{"u32=1", ".f32", 1, "the parameter is a .f32"},
		{"f16=1", ".bf16", 1, "the parameter is a .bf16"},
		{"bf16=1", ".f16", 1, "the parameter is a .f16"},
		{"f16=1", ".u16", 1, "the parameter is a .u16"},
		{"u32=1", ".u64", 1, "it has 32 bits, and a .u64 has 64"},
		{"s64=1", ".u32", 1, "it has 64 bits, and a .u32 has 32"},
		{"in=x.npy", ".u32", 1, "it has 64 bits"},
		{"in=x.npy", ".f64", 1, "the parameter is a .f64"},
		{"u32=1", ".b8", 24, "a struct of 24 bytes"},
		{"struct=u64=1,u8=1", ".b8", 8, "it has 9 bytes, and the parameter 8"},
	} {
		a, err := ParseArg(c.arg)
		if err != nil {
			t.Fatal(err)
		}
		err = a.match(ptx.Param{Type: c.typ, Count: c.count})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s for %s[%d]: %v, want %q", c.arg, c.typ, c.count, err, c.want)
		}
	}
}

func TestFindEntry(t *testing.T) {
	names := []string{"plain", "_Z5scalePfi", "_Z5scalePdi", "_Z3addPf", "_Z4sortIfEvPT_", "_Z4sortIdEvPT_", "_ZN4vllm4copyEPf", "_Z1fi.clone", "_ZN1a4tileILi4EEEvv"}
	for _, c := range []struct{ word, want, err string }{
		{"plain", "plain", ""},
		{"_Z3addPf", "_Z3addPf", ""},
		{"add", "_Z3addPf", ""},
		{"add(float*)", "_Z3addPf", ""},
		{"add( float * )", "_Z3addPf", ""},
		{"scale(float*,int)", "_Z5scalePfi", ""},
		{"scale", "", `"scale" may be any of _Z5scalePfi (scale(float*, int)), _Z5scalePdi`},
		{"sort<double>", "_Z4sortIdEvPT_", ""},
		{"void sort<float>(float*)", "_Z4sortIfEvPT_", ""},
		{"sort", "", "may be any of"},
		{"vllm::copy", "_ZN4vllm4copyEPf", ""},
		{"copy", "_ZN4vllm4copyEPf", ""},
		{"copy<1>", "", `no kernel "copy<1>": there are vllm::copy`},
		{"tile<4>", "_ZN1a4tileILi4EEEvv", ""},
		{"a::tile<4>", "_ZN1a4tileILi4EEEvv", ""},
		{"tile<2>", "", `no kernel "tile<2>": there are a::tile<4>`},
		{"sub", "", `no kernel "sub": there are plain, scale, add, sort<float>, sort<double>, `},
		{"", "", "no kernel"},
	} {
		got, err := FindEntry(names, c.word)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%q: %q, %v; want %q, %q", c.word, got, err, c.want, c.err)
		}
	}
	if _, err := FindEntry(nil, "k"); err == nil {
		t.Error("found in nothing")
	}
}

func FuzzFindEntry(f *testing.F) {
	f.Add("_Z5scalePfi", "scale")
	f.Fuzz(func(t *testing.T, name, word string) {
		if got, err := FindEntry([]string{name}, word); err == nil && got != name {
			t.Errorf("%q", got)
		}
	})
}

func TestParseExpect(t *testing.T) {
	params := []ptx.Param{{Name: "x"}, {Name: "y"}, {Name: "out"}, {Name: "n"}}
	var args []Arg
	for _, text := range []string{"in=x.npy", "zeros=f32[1]:y=1.npy", "out=f32[1]:z.npy", "u32=1"} {
		a, err := ParseArg(text)
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, a)
	}
	for _, c := range []struct {
		text string
		want int
		err  string
	}{
		{"1=r.npy", 1, ""}, {"y=r.npy", 1, ""}, {"out=r.npy", 2, ""}, {"zeros=r.npy", 1, ""}, {"y=1.npy=r.npy", 1, ""}, {"in=r.npy", 0, ""},
		{"3=r.npy", 0, "no buffer argument"}, {"n=r.npy", 0, "no buffer argument"}, {"=r.npy", 0, "want BUFFER=FILE"}, {"out", 0, "want BUFFER=FILE"}, {"out=r", 0, "neither"},
	} {
		e, err := ParseExpect(c.text)
		got := 0
		if err == nil {
			got, err = e.find(args, params)
		}
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %d, %v; want %d, %q", c.text, got, err, c.want, c.err)
		}
	}
	if _, err := (Expect{"in", "r.npy"}).find([]Arg{args[0], args[0]}, nil); err == nil || !strings.Contains(err.Error(), "[0 1]") {
		t.Errorf("two of a kind: %v", err)
	}
}

// TestNear compares numbers of every type at the edges of their tolerances.
func TestNear(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, c := range []struct {
		typ       safetensors.DType
		got, want float64
		tol       Tolerance
		near      bool
		ulp       uint64
	}{
		{safetensors.F32, 1, 1, Tolerance{}, true, 0},
		{safetensors.F32, 1, 1 + 0x1p-23, Tolerance{}, false, 1},
		{safetensors.F32, 1, 1 + 0x1p-23, Tolerance{ULP: 1}, true, 1},
		{safetensors.F32, 1, 1 + 0x1p-22, Tolerance{ULP: 1}, false, 2},
		{safetensors.F32, 0, math.Copysign(0, -1), Tolerance{}, false, 0},
		{safetensors.F32, 0, math.Copysign(0, -1), Tolerance{ULP: 1}, true, 0},
		{safetensors.F32, 0x1p-149, -0x1p-149, Tolerance{ULP: 2}, true, 2},
		{safetensors.F32, 100, 101, Tolerance{Rel: 0.01}, true, 131072},
		{safetensors.F32, 101, 100, Tolerance{Rel: 0.009}, false, 131072},
		{safetensors.F32, 0, 0.25, Tolerance{Abs: 0.25}, true, 0x3e800000},
		{safetensors.F32, nan, 1, Tolerance{Rel: 1}, false, 0},
		{safetensors.F32, inf, 1e38, Tolerance{Rel: 1, ULP: 1 << 40}, false, 0},
		{safetensors.F32, inf, inf, Tolerance{}, true, 0},
		{safetensors.F64, 1, 1 + 0x1p-52, Tolerance{ULP: 1}, true, 1},
		{safetensors.F16, 1, 1 + 0x1p-10, Tolerance{ULP: 1}, true, 1},
		{safetensors.BF16, 1, 1 + 0x1p-7, Tolerance{ULP: 1}, true, 1},
		{safetensors.F8E4M3, 1, 1.125, Tolerance{ULP: 1}, true, 1},
		{safetensors.I32, 5, 6, Tolerance{ULP: 9, Abs: 9}, false, 0},
		{safetensors.I8, -1, -1, Tolerance{}, true, 0},
	} {
		n := newNumeric(c.typ)
		encode := func(v float64) []byte {
			raw := make([]byte, 8)
			switch f, ok := c.typ.Float(); {
			case ok:
				f.Encode(raw[:f.Size()], []float32{float32(v)})
			case c.typ == safetensors.F64:
				bits := math.Float64bits(v)
				for i := range raw {
					raw[i] = byte(bits >> (8 * i))
				}
			default:
				for i := range raw {
					raw[i] = byte(int64(v) >> (8 * i))
				}
			}
			return raw
		}
		near, ulp, _ := c.tol.near(n, encode(c.got), encode(c.want))
		if near != c.near || ulp != c.ulp {
			t.Errorf("%s %v for %v, %+v: %v, %d ulp; want %v, %d", c.typ, c.got, c.want, c.tol, near, ulp, c.near, c.ulp)
		}
	}
	n := newNumeric(safetensors.F32)
	one, other := []byte{1, 0, 0xc0, 0x7f}, []byte{2, 0, 0xc0, 0x7f}
	if ok, _, _ := (Tolerance{}).near(n, one, other); ok {
		t.Error("NaNs of other bits are equal bits")
	}
	if ok, _, _ := (Tolerance{ULP: 1}).near(n, one, other); !ok {
		t.Error("NaNs are not equal with a tolerance")
	}
}

// TestRunExpect compares after a launch.
func TestRunExpect(t *testing.T) {
	inFolder(t)
	run := func(l Launch, args ...string) (Result, error) {
		dev := ptx.New(ptx.Options{Checks: ptx.AllChecks()})
		m, kernels, err := LoadModule(dev, "k.ptx", []byte(scriptPTX))
		if err != nil {
			t.Fatal(err)
		}
		k, err := FindKernel(kernels, l.Entry)
		if err != nil {
			t.Fatal(err)
		}
		l.Module, l.Entry, l.Params = m, k.Name, k.Params
		l.Grid, _ = ParseDim("1")
		l.Block, _ = ParseDim("4")
		for _, text := range args {
			a, err := ParseArg(text)
			if err != nil {
				t.Fatal(err)
			}
			l.Args = append(l.Args, a)
		}
		r, err := Run(context.Background(), dev, l)
		if closed := dev.Close(); closed != nil {
			t.Error(closed)
		}
		return r, err
	}
	for _, c := range []struct {
		expect string
		agree  bool
		err    string
	}{
		{"in=x.npy", true, ""}, {"0=twice.npy", false, ""}, {"x=x.npy", true, ""}, {"in=two.npy", true, "two.npy is f32[1]"}, {"nope=x.npy", true, "no buffer argument"},
	} {
		e, err := ParseExpect(c.expect)
		if err != nil {
			t.Fatal(err)
		}
		r, err := run(Launch{Entry: "scale", Expect: []Expect{e}}, "in=x.npy", "s32=4")
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v", c.expect, err)
		}
		if err == nil && (len(r.Expected) != 1 || r.Expected[0].Agree != c.agree || r.Expected[0].String() == "") {
			t.Errorf("%s: %+v", c.expect, r.Expected)
		}
	}
	if r, err := run(Launch{Entry: "at"}, "struct=zeros=u32[1]:y.npy,u32@12=9"); err != nil || len(r.Buffers) != 1 || *r.Buffers[0].Max != 9 {
		t.Errorf("%v, %v", r.Buffers, err)
	}
	if _, err := run(Launch{Entry: "at"}, "struct=buf=y"); err == nil || !strings.Contains(err.Error(), "only in scripts") {
		t.Errorf("%v", err)
	}
}
