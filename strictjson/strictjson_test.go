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
		{in: `{"a":1,"\u0061":2,"b":3}`, err: `"a" occurs twice`, want: []string{`a=1`, `b=3`}},
		{in: `{"` + strings.Repeat("é", 1000) + `":1,"` + strings.Repeat("é", 1000) + `":1}`, err: strings.Repeat("é", 30) + `…" occurs twice`,
			want: []string{strings.Repeat("é", 1000) + "=1"}},
		{in: `[]`, err: "not a JSON object"},
		{in: `7`, err: "not a JSON object"},
		{in: ``, err: "it is empty"},
		{in: " \n", err: "it is blank"},
		{in: "\ufeff{}", err: "begins with a byte order mark"},
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

type level uint8

func (l *level) UnmarshalText(text []byte) error {
	if string(text) != "high" {
		return fmt.Errorf("level: unknown %q", text)
	}
	*l = 1
	return nil
}

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
	N int     `json:"-"`
	L level   `json:"level"`
	S string  `json:"s"`
	F float32 `json:"f"`
	Y bool    `json:"y"`
	U []uint8 // in base64
	W []uint16
	D [2]int
	P *int
}

func TestUnmarshal(t *testing.T) {
	for _, tc := range []struct{ in, err string }{
		{in: ` {"A":[{"B":1},{"B":2}]} `},
		{in: `{"e":1,"m":{"x":{"B":1},"X":null},"T":"2024-01-01T00:00:00Z","X":{"a":1,"A":[{}]}}`},
		{in: `{"s":"\u00e9","f":1e-3,"y":true,"level":"high","U":"AQI=","W":[0,65535],"D":[1,2],"P":3,"A":null}`},
		{in: `{"a":[]}`, err: `unknown field "a"`},
		{in: `{"A":[{"b":1}]}`, err: `A[0]: unknown field "b"`},
		{in: `{"m":{"x":{"b":1}}}`, err: `m.x: unknown field "b"`},
		{in: `{"E":1}`, err: `unknown field "E"`},
		{in: `{"Embedded":{}}`, err: `unknown field "Embedded"`},
		{in: `{"N":1}`, err: `unknown field "N"`},
		{in: `{"-":1}`, err: `unknown field "-"`},
		{in: `{"X":{"a":1,"a":2}}`, err: `X: "a" occurs twice`},
		{in: `{"A":[{"B":1},{"B":1,"B":2}]}`, err: `A[1]: "B" occurs twice`},
		{in: `{"A":[],"C":1}`, err: `unknown field "C"`},
		{in: `{"A":[{"B":"x"}]}`, err: `A[0].B: want an integer, got "x"`},
		{in: `{"A":[{"B":1.5}]}`, err: `A[0].B: want an integer, got 1.5`},
		{in: `{"A":[{"B":null}]}`, err: `A[0].B: want an integer, got null`},
		{in: `{"A":[null]}`, err: `A[0]: want an object, got null`},
		{in: `{"A":{}}`, err: `A: want an array, got {}`},
		{in: `{"W":[65536]}`, err: `W[0]: want an integer from 0 to 65535, got 65536`},
		{in: `{"W":[-1]}`, err: `W[0]: want an integer from 0 to 65535, got -1`},
		{in: `{"e":9223372036854775808}`, err: `e: want an integer from -9223372036854775808 to 9223372036854775807, got 9223372036854775808`},
		{in: `{"f":1e39}`, err: `f: want a number that fits 32 bits, got 1e39`},
		{in: `{"f":"NaN"}`, err: `f: want a number, got "NaN"`},
		{in: `{"s":null}`, err: `s: want a string, got null`},
		{in: `{"y":1}`, err: `y: want true or false, got 1`},
		{in: `{"level":null}`, err: `level: want a string, got null`},
		{in: `{"level":"low"}`, err: `level: unknown "low"`},
		{in: `{"s":[` + strings.Repeat("1,", 999) + `1]}`, err: "s: want a string, got [" + strings.Repeat("1,", 29) + "1…"},
		{in: `{"D":[1,"x"]}`, err: `D: want an integer, got string`},
		{in: `{"X":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, err: "nested deeper"},
		{in: `{"A":[]} {}`, err: "invalid character"},
		{in: `[]`, err: "want an object, got []"},
		{in: `null`, err: "want an object, got null"},
	} {
		var v, want outer
		err := Unmarshal([]byte(tc.in), &v)
		if tc.err == "" {
			if err := json.Unmarshal([]byte(tc.in), &want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, v); diff != "" || err != nil {
				t.Errorf("%s: %v %s", tc.in, err, diff)
			}
		} else if err == nil || !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%s: error %v, want %q", tc.in, err, tc.err)
		}
	}
}

// TestErrors checks that all errors are found, and that valid fields are decoded.
func TestErrors(t *testing.T) {
	v := outer{L: 7}
	errs := Errors([]byte(`{"A":[{"B":"x"},{"C":1}],"e":5,"level":"low","e":6,"s":"text"}`), &v)
	var got []string
	for _, e := range errs {
		got = append(got, e.Error())
	}
	want := []string{`A[0].B: want an integer, got "x"`, `A[1]: unknown field "C"`, `level: unknown "low"`, `"e" occurs twice`}
	if diff := cmp.Diff(want, got); diff != "" || v.E != 5 || v.S != "text" || v.A != nil || v.L != 7 {
		t.Error(v, diff)
	}
	if !errs[0].Within("A") || !errs[0].Within("A[0]") || errs[0].Within("A[0].BB") || errs[2].Within("lev") {
		t.Error("Within")
	}
	if errs := Errors([]byte(`{"W":[`+strings.Repeat("-1,", 5000)+`1]}`), &v); len(errs) != maxErrors {
		t.Errorf("%d errors", len(errs))
	}
}

// TestMembers checks that Members decodes as Unmarshal does, and with the same first error.
func TestMembers(t *testing.T) {
	for _, tc := range []struct {
		members map[string]string
		err     string
	}{
		{members: nil},
		{members: map[string]string{"e": "1", "s": ` "x" `, "W": "[1, 2]", "m": `{"x":{"B":1}}`}},
		{members: map[string]string{"s": "1", "e": `"x"`, "y": "true"}, err: `e: want an integer, got "x"`},
		{members: map[string]string{"A": `[{"B":1.5}]`}, err: "A[0].B: want an integer, got 1.5"},
		{members: map[string]string{"E": "1"}, err: `unknown field "E"`},
		{members: map[string]string{"e": "1 2"}, err: "e: invalid character '2'"},
		{members: map[string]string{"e": ""}, err: "e: it is empty"},
	} {
		raw := map[string]json.RawMessage{}
		for name, text := range tc.members {
			raw[name] = json.RawMessage(text)
		}
		var v, want outer
		err := Members(raw, &v)
		if text, invalid := json.Marshal(raw); invalid == nil {
			if other := Unmarshal(text, &want); fmt.Sprint(other) != fmt.Sprint(err) {
				t.Errorf("%v: error %v, but %v from Unmarshal", tc.members, err, other)
			}
			if diff := cmp.Diff(want, v); diff != "" {
				t.Errorf("%v: %s", tc.members, diff)
			}
		}
		if (err == nil) != (tc.err == "") || err != nil && !strings.HasPrefix(err.Error(), tc.err) {
			t.Errorf("%v: error %v, want %q", tc.members, err, tc.err)
		}
	}
}

func TestKnown(t *testing.T) {
	var v outer
	if err := Known([]byte(`{"z":[{"y":1}],"s":null,"e":5,"X":{"a":1},"m":{"q":{"B":2,"C":3}}}`), &v); err != nil || v.E != 5 || v.M["q"].B != 2 {
		t.Error(v, err)
	}
	if err := Known([]byte(`{"e":1.5}`), &v); err == nil || err.Error() != "e: want an integer, got 1.5" {
		t.Error(err)
	}
}

// FuzzObject compares Object with encoding/json: if both accept a text, they read the same.
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
		var v outer
		if Unmarshal(data, &v) == nil {
			var want outer
			if err := json.Unmarshal(data, &want); err != nil {
				t.Fatalf("accepted what encoding/json refuses: %v", err)
			}
			if diff := cmp.Diff(want, v); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}
