package longbench

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

func near(a, b float64) bool { return math.Abs(a-b) < 1e-12 }

func TestNormalize(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "",
		"The Cat, a hat.":           "cat hat",
		"U.S.A.":                    "usa",
		"an anthem of the Andes":    "anthem of andes",
		"a\u2013b":                  "\u2013b", // a dash that is not ASCII ends a word
		"a_b the_x":                 "ab thex", // the underscore goes first
		"the\u00e9":                 "the\u00e9",
		" tabs\tand\u00a0lines\n\n": "tabs and lines",
		"one\x1ctwo":                "one two",
		"don't":                     "dont",
		"\u0391\u03a3 \u03a3":       "\u03b1\u03c2 \u03c3", // the sigma that ends a word
		"\u0130":                    "i\u0307",
		"\u4e2d\u6587\u3002":        "\u4e2d\u6587\u3002", // Chinese punctuation stays
	} {
		if got := Normalize(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func TestQAF1(t *testing.T) {
	for _, c := range []struct {
		prediction, truth string
		want              float64
	}{
		{"", "", 0},
		{"the", "the", 0}, // nothing is left
		{"cat", "", 0},
		{"Paris.", "paris", 1},
		{"The cat sat.", "a cat sat down", 0.8}, // precision 2/2, recall 2/3
		{"b b b", "b", 0.5},                     // precision 1/3, recall 1
		{"b b c", "b b d d", 4.0 / 7},           // precision 2/3, recall 2/4
		{"no", "yes", 0},
	} {
		if got := QAF1(c.prediction, c.truth); !near(got, c.want) {
			t.Errorf("%q for %q scores %v, want %v", c.prediction, c.truth, got, c.want)
		}
	}
}

// f1 is ROUGE's.
func f1(precision, recall float64) float64 {
	return 2 * precision * recall / (precision + recall + 1e-8)
}

func TestRougeL(t *testing.T) {
	for _, c := range []struct {
		prediction, truth string
		want              float64
	}{
		{"", "a", 0},
		{"a", "", 0},
		{"...", "a", 0},
		{"a b c", "a b c", f1(1, 1)},
		{"police killed the gunman", "police kill the gunman", f1(3.0/4, 3.0/4)},
		{"the gunman kill police", "police kill the gunman", f1(2.0/4, 2.0/4)},
		// w1 w2 of the first sentence and w1 w3 w5 of the second, of 5 words and of 8.
		{"w1 w2 w6 w7 w8. w1 w3 w8 w9 w5", "w1 w2 w3 w4 w5", f1(4.0/8, 4.0/5)},
		{"a a a a", "a", f1(1, 1)},         // words count once
		{"a b", "a. b", f1(1, 1)},          // each sentence of the truth has its own subsequence
		{"a. ", "a", f1(1.0/2, 1)},         // white space after the full stop is a word
		{"3.14", "3 14", f1(1, 1)},         // a full stop anywhere ends a sentence
		{"The cat", "the cat", f1(.5, .5)}, // case matters
		{"x", "y", 0},
	} {
		if got := RougeL(c.prediction, c.truth); !near(got, c.want) {
			t.Errorf("%q for %q scores %v, want %v", c.prediction, c.truth, got, c.want)
		}
	}
}

// The common subsequence equals that of the defining recursion.
func TestCommonSubsequence(t *testing.T) {
	var length func(x, y []string) int
	length = func(x, y []string) int {
		if len(x) == 0 || len(y) == 0 {
			return 0
		}
		a, b := x[:len(x)-1], y[:len(y)-1]
		if x[len(x)-1] == y[len(y)-1] {
			return length(a, b) + 1
		}
		return max(length(a, y), length(x, b))
	}
	var spec func(x, y []string) []string
	spec = func(x, y []string) []string {
		if len(x) == 0 || len(y) == 0 {
			return nil
		}
		a, b := x[:len(x)-1], y[:len(y)-1]
		switch {
		case x[len(x)-1] == y[len(y)-1]:
			return append([]string{x[len(x)-1]}, spec(a, b)...)
		case length(a, y) > length(x, b):
			return spec(a, y)
		default:
			return spec(x, b)
		}
	}
	random := rand.New(rand.NewPCG(1, 1))
	words := func() []string {
		w := make([]string, random.IntN(8))
		for i := range w {
			w[i] = string(rune('a' + random.IntN(3)))
		}
		return w
	}
	for range 500 {
		x, y := words(), words()
		if got, want := strings.Join(commonSubsequence(x, y), ""), strings.Join(spec(x, y), ""); got != want {
			t.Fatalf("%v and %v have %q in common, want %q", x, y, got, want)
		}
	}
}

func TestClassification(t *testing.T) {
	for _, c := range []struct {
		prediction, truth string
		classes           string
		want              float64
	}{
		{"a dog", "dog", "dog,cat", 1},
		{"a dog or a cat", "dog", "dog,cat", 0.5},
		{"Dog", "dog", "dog,cat", 0}, // case matters
		{"", "dog", "dog,cat", 0},
		{"a hot dog", "hot dog", "dog,hot dog,cat", 1},      // dog is part of the truth's name
		{"a hot dog", "dog", "dog,hot dog,cat", 0.5},        // hot dog is not
		{"a hot dog", "hot dog", "do,dog,hot dog,cat", 0.5}, // dog comes right after do, which goes
		{"a hot dog", "hot dog", "do,cat,dog,hot dog", 0.5}, // cat is not in the prediction: as before
		{"a hot dog", "hot dog", "do,hot dog,dog", 1},       // now dog counts
		{"cat", "dog", "dog,cat", 0},
	} {
		if got := Classification(c.prediction, c.truth, strings.Split(c.classes, ",")); got != c.want {
			t.Errorf("%q for %q of %s scores %v, want %v", c.prediction, c.truth, c.classes, got, c.want)
		}
	}
}

func TestCount(t *testing.T) {
	for _, c := range []struct {
		prediction, truth string
		want              float64
	}{
		{"7", "7", 1},
		{"There are 7 or 8, I think 7.", "7", 2.0 / 3},
		{"07", "7", 0}, // as text
		{"seven", "7", 0},
		{"", "7", 0},
		{"3.5", "3", 0.5}, // two numbers
		{"-7", "7", 1},
	} {
		if got := Count(c.prediction, c.truth); !near(got, c.want) {
			t.Errorf("%q for %q scores %v, want %v", c.prediction, c.truth, got, c.want)
		}
	}
}

func TestRetrieval(t *testing.T) {
	for _, c := range []struct {
		prediction, truth, word string
		want                    float64
	}{
		{"Paragraph 12", "Paragraph 12", "Paragraph ", 1},
		{"12", "Paragraph 12", "Paragraph ", 1},
		{"Paragraph 12 or 3", "Paragraph 12", "Paragraph ", 0.5},
		{"none", "Paragraph 12", "Paragraph ", 0},
		{"12", "Paragraph x, Paragraph 12", "Paragraph ", 1}, // the first with a number
		{"\u6bb5\u843d7", "\u6bb5\u843d7", "\u6bb5\u843d", 1},
	} {
		got, err := Retrieval(c.prediction, c.truth, c.word)
		if err != nil || !near(got, c.want) {
			t.Errorf("%q for %q scores %v (%v), want %v", c.prediction, c.truth, got, err, c.want)
		}
	}
	if _, err := Retrieval("1", "Section 1", "Paragraph "); err == nil {
		t.Error("a truth without a paragraph is no error")
	}
}

func TestCodeSimilarity(t *testing.T) {
	for _, c := range []struct {
		prediction, truth string
		want              float64
	}{
		{"return x", "return x", 1},
		{"return y", "return x", 0.88},                          // 2·7/16 = 0.875, half to even
		{"```python\n# comment\nreturn x\nmore", "return x", 1}, // the first line of code
		{"\n\nreturn x", "return x", 1},                         // empty lines before it go
		{"x // comment\nreturn x", "return x", 1},               // a line with a comment does not count
		{"# only", "", 1},                                       // nothing is left, and nothing is wanted
		{"", "return x", 0},
		{"return x", "", 0},
		{"abc", "xyz", 0},
	} {
		if got := CodeSimilarity(c.prediction, c.truth); !near(got, c.want) {
			t.Errorf("%q for %q scores %v, want %v", c.prediction, c.truth, got, c.want)
		}
	}
}

func TestRatio(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want float64
	}{
		{"", "", 1},
		{"a", "", 0},
		{"abcd", "bcde", 0.75},           // bcd
		{"tide", "diet", 2.0 / 8},        // t is the block; the texts left of it, and those right of it, share nothing
		{"diet", "tide", 4.0 / 8},        // d, and after it e
		{"\u00e9t\u00e9", "\u00e9", 0.5}, // characters, not bytes
		// In a text of 200 characters, no run begins with a character that makes up more than 1 % of it.
		{"x", strings.Repeat("x", 199), 2.0 / 200},
		{"yx", strings.Repeat("x", 200), 0},
		{"x", strings.Repeat("x", 200), 2.0 / 201}, // but it is equal at the beginning
	} {
		if got := Ratio(c.a, c.b); !near(got, c.want) {
			t.Errorf("%q and %.20q have %v, want %v", c.a, c.b, got, c.want)
		}
	}
}

func TestEditSimilarity(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want float64
	}{
		{"", "", 1},
		{"", "ab", 0},
		{"kitten", "sitting", 1 - 3.0/7},
		{"flaw", "lawn", 1 - 2.0/4},
		{"\u00e9", "e", 0},
		{"same", "same", 1},
	} {
		if got := EditSimilarity(c.a, c.b); !near(got, c.want) {
			t.Errorf("%q and %q have %v, want %v", c.a, c.b, got, c.want)
		}
		if a, b := EditSimilarity(c.a, c.b), EditSimilarity(c.b, c.a); a != b {
			t.Errorf("%q and %q have %v, and %v the other way", c.a, c.b, a, b)
		}
	}
}
