package strictjson

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestObject(t *testing.T) {
	for _, tc := range []struct {
		in, err string
		want    []string
	}{
		{in: `{}`},
		{in: ` { "a" : 1 , "b":[1,{"c":"]}"}],"d":"x\"}" } `, want: []string{`a=1`, `b=[1,{"c":"]}"}]`, `d="x\"}"`}},
		{in: `{"a":-1.5e3,"A":true,"":null}`, want: []string{`a=-1.5e3`, `A=true`, `=null`}},
		{in: `{"\u0061":{}}`, want: []string{`a={}`}},
		{in: `{"a":1,"\u0061":2}`, err: `"a" occurs twice`, want: []string{`a=1`}},
		{in: `[]`, err: "not a JSON object"},
		{in: `7`, err: "not a JSON object"},
		{in: ``, err: "unexpected EOF"},
		{in: `{"a":1}x`, err: "invalid character 'x'"},
		{in: `{"a":}`, err: "byte 6"},
	} {
		var got []string
		err := Object([]byte(tc.in), func(name string, value []byte) error {
			got = append(got, name+"="+string(value))
			return nil
		})
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: %s", tc.in, diff)
		}
		if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%s: error %v, want %q", tc.in, err, tc.err)
		}
	}
}

func TestObjectManyNames(t *testing.T) {
	var b strings.Builder
	for i := range 100 {
		fmt.Fprintf(&b, `"n%d":%d,`, i, i)
	}
	nop := func(string, []byte) error { return nil }
	if err := Object([]byte("{"+b.String()+`"last":0}`), nop); err != nil {
		t.Error(err)
	}
	for _, dup := range []string{"n0", "n14", "n15", "n16", "n99"} {
		if err := Object([]byte("{"+b.String()+`"`+dup+`":0}`), nop); err == nil {
			t.Errorf("%s twice: no error", dup)
		}
	}
}

func TestUnmarshal(t *testing.T) {
	type inner struct{ B int }
	type Embedded struct {
		E int `json:"e,omitempty"`
	}
	type outer struct {
		Embedded
		A []inner
		M map[string]*inner `json:"m"`
		T time.Time         // decodes itself
		X any
		N int `json:"-"`
	}
	for _, tc := range []struct{ in, err string }{
		{in: `{"A":[{"B":1},{"B":2}]}`},
		{in: `{"e":1,"m":{"x":{"B":1},"X":null},"T":"2024-01-01T00:00:00Z","X":{"a":1,"A":[{}]}}`},
		{in: `{"a":[]}`, err: `unknown field "a"`},
		{in: `{"A":[{"b":1}]}`, err: `unknown field "b"`},
		{in: `{"m":{"x":{"b":1}}}`, err: `unknown field "b"`},
		{in: `{"E":1}`, err: `unknown field "E"`},
		{in: `{"Embedded":{}}`, err: `unknown field "Embedded"`},
		{in: `{"N":1}`, err: `unknown field "N"`},
		{in: `{"-":1}`, err: `unknown field "-"`},
		{in: `{"X":{"a":1,"a":2}}`, err: `"a" occurs twice`},
		{in: `{"A":[{"B":1,"B":2}]}`, err: `"B" occurs twice`},
		{in: `{"A":[],"C":1}`, err: `unknown field "C"`},
		{in: `{"A":[{"B":"x"}]}`, err: "A.B: want an integer that fits int, got string"},
		{in: `{"A":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, err: "nested deeper"},
		{in: `{"A":[]} {}`, err: "invalid character"},
	} {
		var v outer
		err := Unmarshal([]byte(tc.in), &v)
		if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%s: error %v, want %q", tc.in, err, tc.err)
		}
	}
}

// FuzzObject holds the splitter against encoding/json: what both accept, they
// read alike.
func FuzzObject(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":[{"b":"}"}],"c":1}`, `{"a":1,"a":2}`, `{"\"":"\\"}`, "{\"a\" :\t-1 }", `{"é":"\ud800"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got := map[string]json.RawMessage{}
		if err := Object(data, func(name string, value []byte) error {
			got[name] = value
			return nil
		}); err != nil {
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatalf("accepted what encoding/json refuses: %v", err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		var v any
		_ = Unmarshal(data, &v)
	})
}
