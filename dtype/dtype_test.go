package dtype

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		names []string
		want  DType
		size  int
		max   float32
	}{
		{[]string{"f32", "float32"}, F32, 4, 3.4028234663852886e38},
		{[]string{"f16", "fp16", "float16", "half"}, F16, 2, 65504},
		{[]string{"bf16", "bfloat16"}, BF16, 2, 3.3895313892515355e38},
		{[]string{"fp8_e4m3", "e4m3"}, E4M3, 1, 448},
		{[]string{"fp8_e5m2", "e5m2"}, E5M2, 1, 57344},
	} {
		for _, name := range c.names {
			got, err := Parse(name)
			if err != nil || got != c.want {
				t.Errorf("Parse(%q) = %v, %v; want %v", name, got, err, c.want)
			}
		}
		if got := c.want.String(); got != c.names[0] {
			t.Errorf("String() = %q, want %q", got, c.names[0])
		}
		if got := c.want.Size(); got != c.size {
			t.Errorf("%v.Size() = %d, want %d", c.want, got, c.size)
		}
		if got := c.want.Max(); got != c.max {
			t.Errorf("%v.Max() = %g, want %g", c.want, got, c.max)
		}
	}
	for _, name := range []string{"", "F16", "f8", "int8", " f16"} {
		_, err := Parse(name)
		if err == nil {
			t.Errorf("Parse(%q) succeeded", name)
			continue
		}
		for _, want := range []string{`"` + name + `"`, "f32, f16, bf16, fp8_e4m3, fp8_e5m2"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("Parse(%q): error %q does not say %q", name, err, want)
			}
		}
	}
}

func TestText(t *testing.T) {
	for _, want := range allTypes {
		text, err := json.Marshal(map[string]DType{"dtype": want})
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]DType
		if err := json.Unmarshal(text, &got); err != nil || got["dtype"] != want {
			t.Errorf("%v through JSON is %v, %v", want, got["dtype"], err)
		}
	}
	got := BF16
	if err := got.UnmarshalText([]byte("f8")); err == nil || got != BF16 {
		t.Errorf("UnmarshalText of an unknown name: %v, %v", got, err)
	}
	if _, err := json.Marshal(DType(5)); err == nil {
		t.Error("an invalid format was marshaled")
	}
}

func TestInvalid(t *testing.T) {
	bad := DType(5)
	if bad.Valid() || bad.Size() != 0 || bad.Max() != 0 || bad.String() != "DType(5)" {
		t.Errorf("%v: valid %v, size %d, max %g", bad, bad.Valid(), bad.Size(), bad.Max())
	}
	mustPanic(t, "Decode of an invalid format", func() { bad.Decode(nil, nil) })
	mustPanic(t, "Encode to an invalid format", func() { bad.Encode(nil, nil) })
	for _, d := range allTypes {
		short := make([]byte, 3*d.Size()-1)
		full := short[:len(short):len(short)]
		mustPanic(t, "Decode of a short source", func() { d.Decode(make([]float32, 3), full) })
		mustPanic(t, "Encode to a short destination", func() { d.Encode(full, make([]float32, 3)) })
	}
}

func mustPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s did not panic", what)
		}
	}()
	f()
}
