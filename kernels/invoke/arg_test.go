package invoke

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvcompress/kernels/device"
	"kvcompress/safetensors"
)

func TestParseScalar(t *testing.T) {
	for _, c := range []struct {
		text string
		want device.Arg
		err  string
	}{
		{"i32=-5", 0xfffffffb, ""},
		{"i8=-1", 0xff, ""},
		{"i64=-1", math.MaxUint64, ""},
		{"u16=65535", 65535, ""},
		{"u64=0xffffffffffffffff", math.MaxUint64, ""},
		{"u32=0b101", 5, ""},
		{"ptr=0", 0, ""},
		{"f32=1.5", 0x3fc00000, ""},
		{"f32=-0", 0x80000000, ""},
		{"f32=inf", 0x7f800000, ""},
		{"f64=1.5", 0x3ff8000000000000, ""},
		{"f16=1.5", 0x3e00, ""},
		{"bf16=1.5", 0x3fc0, ""},
		{"fp8_e4m3=1.5", 0x3c, ""},
		{"i32=2147483648", 0, "out of the range of i32"},
		{"u8=256", 0, "out of the range of u8"},
		{"u32=-1", 0, `"-1" is not a valid u32`},
		{"f32=1e99", 0, "out of the range of f32"},
		{"f32=one", 0, `"one" is not a valid f32`},
		{"i32=", 0, `"" is not a valid i32`},
		{"bool=1", 0, `unknown kind "bool"`},
		{"x=1", 0, `unknown kind "x"`},
		{"=1", 0, `unknown kind ""`},
		{"7", 0, "want KIND=VALUE"},
		{"", 0, "want KIND=VALUE"},
	} {
		got, err := ParseArg(c.text)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: %v, want %q", c.text, err, c.err)
			}
			continue
		}
		if err != nil || got.buffer != nil || got.scalar != c.want {
			t.Errorf("%q: %#x, %v; want %#x", c.text, uint64(got.scalar), err, uint64(c.want))
		}
	}
}

func TestParseBuffer(t *testing.T) {
	for _, c := range []struct {
		text string
		want buffer
		err  string
	}{
		{"in=x.npy", buffer{from: "x.npy"}, ""},
		{"in=a=b.npy", buffer{from: "a=b.npy"}, ""},
		{"in=m.safetensors#a.b", buffer{from: "m.safetensors#a.b"}, ""},
		{"inout=x.npy:y.npy", buffer{from: "x.npy", to: "y.npy"}, ""},
		{"inout=c:x.npy:y.npy", buffer{from: "c:x.npy", to: "y.npy"}, ""},
		{"out=f32[8,128]:y.npy", buffer{to: "y.npy", typ: safetensors.F32, shape: []int64{8, 128}}, ""},
		{"out=s32[4]:y.npy", buffer{to: "y.npy", typ: safetensors.I32, shape: []int64{4}}, ""},
		{"out=u8[]:y.npy", buffer{to: "y.npy", typ: safetensors.U8, shape: []int64{}}, ""},
		{"zeros=bf16[0x10]:y.safetensors#sum", buffer{to: "y.safetensors#sum", zeroed: true, typ: safetensors.BF16, shape: []int64{16}}, ""},
		{"tmp=f64[2, 3]", buffer{typ: safetensors.F64, shape: []int64{2, 3}}, ""},
		{"in=", buffer{}, "neither a .npy file nor"},
		{"in=x.npz", buffer{}, "neither a .npy file nor"},
		{"in=x.npy#a", buffer{}, "neither a .npy file nor"},
		{"in=m.safetensors", buffer{}, "name the tensor: m.safetensors#NAME"},
		{"inout=x.npy", buffer{}, "want FILE:FILE"},
		{"inout=x.npy:", buffer{}, "neither"},
		{"out=y.npy", buffer{}, "such as f32[8,128]:y.npy"},
		{"out=f32[8]", buffer{}, "want TYPE[SHAPE]:FILE"},
		{"out=f32[8]y.npy", buffer{}, "such as f32[8,128]:y.npy"},
		{"out=f32[8]:", buffer{}, "such as f32[8,128]:y.npy"},
		{"out=f32[8:y.npy", buffer{}, "such as f32[8,128]:y.npy"},
		{"out=f32[-8]:y.npy", buffer{}, `"-8" is not a dimension`},
		{"out=f32[8,]:y.npy", buffer{}, `"" is not a dimension`},
		{"out=f24[8]:y.npy", buffer{}, `unknown type "f24"`},
		{"out=bf16[8]:y.npy", buffer{}, "NumPy has no type bf16"},
		{"out=f32[0x7fffffffffffffff]:y.npy", buffer{}, "too large"},
		{"tmp=f32[8]:y.npy", buffer{}, "out= is written to a file"},
	} {
		got, err := ParseArg(c.text)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: %v, want %q", c.text, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		if diff := cmp.Diff(&c.want, got.buffer, cmp.AllowUnexported(buffer{})); diff != "" {
			t.Errorf("%q: %s", c.text, diff)
		}
	}
}

func FuzzParseArg(f *testing.F) {
	for _, seed := range []string{"i32=-5", "in=x.npy", "in=m.safetensors#a", "inout=x.npy:y.npy", "out=f32[8,128]:y.npy", "tmp=f64[2]"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseArg(text)
		if err == nil && a.String() != text {
			t.Errorf("%q became %q", text, a.String())
		}
	})
}
