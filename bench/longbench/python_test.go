package longbench

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os/exec"
	"testing"
)

// withPython computes what Ratio and Normalize do with Python's own difflib, regular
// expressions and strings.
const withPython = `
import difflib, json, re, string, sys
out = []
for a, b in json.load(sys.stdin):
    s = "".join(c for c in a.lower() if c not in string.punctuation)
    s = " ".join(re.sub(r"\b(a|an|the)\b", " ", s).split())
    out.append([difflib.SequenceMatcher(None, a, b).ratio(), s])
json.dump(out, sys.stdout)
`

func TestPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3")
	}
	random := rand.New(rand.NewPCG(3, 3))
	pieces := []string{"a", "an", "the", "x", "y", "return ", " ", "  ", ".", "_", "\u2013", "\u00e9", "Th", "E", "\n", "\u00a0", "7", "\u4e2d", "\x1d", "\u0130", "\u0391\u03a3"}
	text := func(n int) string {
		s, kinds := "", 2+random.IntN(len(pieces)-1)
		for range random.IntN(n) {
			s += pieces[random.IntN(kinds)]
		}
		return s
	}
	var pairs [][2]string
	for range 600 {
		pairs = append(pairs, [2]string{text(40), text(40)})
	}
	for range 60 { // beyond 200 characters, where frequent ones begin no run
		pairs = append(pairs, [2]string{text(120), text(400)})
	}
	in, err := json.Marshal(pairs)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-c", withPython)
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var want [][2]any
	if err := json.Unmarshal(out, &want); err != nil {
		t.Fatal(err)
	}
	for i, p := range pairs {
		if got := Ratio(p[0], p[1]); got != want[i][0] {
			t.Errorf("%q and %q have the ratio %v, in Python %v", p[0], p[1], got, want[i][0])
		}
		if got := Normalize(p[0]); got != want[i][1] {
			t.Errorf("%q becomes %q, in Python %q", p[0], got, want[i][1])
		}
	}
}
