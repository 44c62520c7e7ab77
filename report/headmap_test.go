package report

import (
	"bytes"
	"image/png"
	"strings"
	"testing"

	"kvcompress/internal/testsize"
)

func sampleHeadMap(layers, heads int) *HeadMap {
	m := &HeadMap{Title: "sample"}
	induction := HeadScore{Name: "induction", Rule: "the top 14 %"}
	echo := HeadScore{Name: "echo", Rule: "the top 1 %"}
	for l := range layers {
		var full []bool
		var a, b []float64
		for h := range heads {
			a = append(a, float64(l*heads+h)/float64(layers*heads))
			b = append(b, -0.1)
			full = append(full, l%2 == 1 && h == 0)
		}
		m.Full, induction.Values, echo.Values = append(m.Full, full), append(induction.Values, a), append(echo.Values, b)
	}
	m.Scores = []HeadScore{induction, echo}
	return m
}

func TestHeadMapText(t *testing.T) {
	var out bytes.Buffer
	if err := HeadMapText(&out, sampleHeadMap(4, 2), TextOptions{}); err != nil {
		t.Fatal(err)
	}
	const want = `sample
4 layers × 2 KV heads: 2 of 8 full (25.0 %), the others streaming

Induction: the top 14 %; by layer (across) and KV head (down), in %
       0     1     2     3
 0  ·  0  ▃ 25  ▅ 50  ▇ 75
 1  ▂ 12  ▄ 38  ▆ 62  █ 88
    · none   ▁▂▃▄▅▆▇█ up to 100 %

Echo: the top 1 %; by layer (across) and KV head (down), in %
       0     1     2     3
 0  ·-10  ·-10  ·-10  ·-10
 1  ·-10  ·-10  ·-10  ·-10
    · none   ▁▂▃▄▅▆▇█ up to 1 %

Full heads
layer  KV head  induction     echo
    1        0     0.2500  -0.1000
    3        0     0.7500  -0.1000
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
	out.Reset()
	if err := HeadMapText(&out, sampleHeadMap(200, 1), TextOptions{}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "100 of 200 full (50.0 %)") || !strings.HasSuffix(out.String(), "… 60 heads more (--json has them)\n") {
		t.Errorf("of many heads:\n%s", &out)
	}
}

func TestHeadMapPlot(t *testing.T) {
	bare := sampleHeadMap(4, 4)
	bare.Scores = nil
	maps := map[string]*HeadMap{"1x1": sampleHeadMap(1, 1), "5x4": sampleHeadMap(5, 4), "no scores": bare}
	if !testing.Short() {
		maps["many"] = testsize.Of(nil, sampleHeadMap(40, 32), sampleHeadMap(80, 64))
	}
	for name, m := range maps {
		for _, ext := range []string{".png", ".svg"} {
			first, err := HeadMapPlot(name+ext, m)
			if err != nil {
				t.Fatal(err)
			}
			second, err := HeadMapPlot(name+ext, m)
			if err != nil || !bytes.Equal(first, second) {
				t.Errorf("%s%s: the same map gives different bytes, %v", name, ext, err)
			}
			if ext == ".png" {
				if _, err := png.Decode(bytes.NewReader(first)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			} else if !bytes.Contains(first, []byte(">sample: ")) || !bytes.Contains(first, []byte(">KV head<")) {
				t.Errorf("%s: no title or axis", name)
			}
		}
	}
	if _, err := HeadMapPlot("map.gif", bare); err == nil || !strings.Contains(err.Error(), "a .png or a .svg") {
		t.Errorf("a .gif: %v", err)
	}
}
