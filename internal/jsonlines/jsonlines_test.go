package jsonlines

import (
	"bufio"
	"math"
	"strings"
	"testing"
)

func TestWriteArray(t *testing.T) {
	for _, tt := range []struct {
		list []map[string]float64
		want string
	}{
		{nil, "[\n]"},
		{[]map[string]float64{{"a": 1}}, "[\n{\"a\":1}\n]"},
		{[]map[string]float64{{"a": 1}, {}, {"b": 0.5}}, "[\n{\"a\":1},\n{},\n{\"b\":0.5}\n]"},
	} {
		var text strings.Builder
		out := bufio.NewWriter(&text)
		if err := WriteArray(out, tt.list); err != nil {
			t.Error(err)
		}
		if out.Flush(); text.String() != tt.want {
			t.Errorf("%v: %q, want %q", tt.list, text.String(), tt.want)
		}
	}
	if err := WriteArray(bufio.NewWriter(&strings.Builder{}), []float64{math.NaN()}); err == nil {
		t.Error("NaN has no JSON")
	}
}
