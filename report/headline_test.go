package report

import (
	"testing"

	"kvcompress/kv"
)

func TestScales(t *testing.T) {
	for _, tt := range []struct {
		scale *kv.Scale
		want  string
	}{
		{nil, ""},
		{&kv.Scale{K: []float32{0.02}, V: []float32{1, 1}}, " Scales: K 0.02, V 1."},
		{&kv.Scale{K: []float32{3, 0.5, 1}, V: []float32{0x1p-40}}, " Scales: K 0.5 to 3 by layer, V 9.094947e-13."},
	} {
		if got := scales(tt.scale); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.scale, got, tt.want)
		}
	}
}
