package words

import "testing"

func TestShare(t *testing.T) {
	for _, c := range []struct {
		part                    float64
		share, column, required string
	}{
		{0, "0 %", "0.0 %", "0 %"},
		{0.0004, "< 0.1 %", "< 0.1 %", "0.04 %"},
		{0.001, "0.1 %", "0.1 %", "0.1 %"},
		{0.29, "29 %", "29.0 %", "29 %"}, // 100 · 0.29 is 28.999…
		{0.5, "50 %", "50.0 %", "50 %"},
		{0.95, "95 %", "95.0 %", "95 %"},
		{0.98996, "98.9 %", "98.9 %", "98.996 %"},
		{0.999, "99.9 %", "99.9 %", "99.9 %"},
		{0.9994, "99.94 %", "99.9 %", "99.94 %"},
		{0.9999996, "99.999 %", "99.9 %", "99.99996 %"},
		{1, "100 %", "100.0 %", "100 %"},
		{1.23456, "123.4 %", "123.4 %", "123.456 %"}, // an error, or a score relative to another
	} {
		if Share(c.part) != c.share || ShareColumn(c.part) != c.column || Required(c.part) != c.required {
			t.Errorf("%v: %q, in a column %q, required %q; want %q, %q, %q", c.part, Share(c.part), ShareColumn(c.part), Required(c.part), c.share, c.column, c.required)
		}
	}
}
