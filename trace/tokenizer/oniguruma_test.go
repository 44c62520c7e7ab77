package tokenizer

import (
	"slices"
	"strings"
	"testing"
)

// TestTranslate compares the matches of translated expressions with those of Oniguruma
// 6.9.10, the library that Hugging Face's tokenizers use.
func TestTranslate(t *testing.T) {
	for _, c := range []struct {
		expression, text string
		want             []string
	}{
		{`[\p{L}&&[^\p{Han}]]+`, " a time 漢字", []string{"a", "time"}},
		{`[a-z&&[^aeiou]]+`, "banana split", []string{"b", "n", "n", "spl", "t"}},
		{`[^a-z&&[^0-9]]+`, "ab12-cd", []string{"12-"}},
		{`[a-c[x-z]]+`, "axbycd", []string{"axbyc"}},
		{`[[:alpha:]&&[:^upper:]]+`, "Ab cD", []string{"b", "c"}},
		{`[[:punct:]]+`, "a$b^c.d", []string{"$", "^", "."}},
		{`\p{punct}+`, "a$b^c.d", []string{"."}},
		{`\w+`, "x²Ⅷⓐ_‿a\u0301 \u0903", []string{"x²Ⅷⓐ_‿a\u0301", "\u0903"}},
		{`[\w]+`, "x²Ⅷⓐ_‿a\u0301 \u0903", []string{"x", "Ⅷⓐ_‿a\u0301", "\u0903"}},
		{`\W+`, "a² -b", []string{" -"}},
		{`\bfoo\b`, "foo ²foo foo² foo", []string{"foo", "foo"}},
		{`\B\w`, "ab c²", []string{"b", "²"}},
		{`\h+`, "xFACEg12", []string{"FACE", "12"}},
		{`(?i:'s|'t|'re)`, "it'S isn'T we'RE 'ſ", []string{"'S", "'T", "'RE", "'ſ"}},
		{`(?i:k)+`, "kKK", []string{"kKK"}},
		{`(?i)[a-z]+`, "aKſZ9", []string{"aKſZ"}},
		{`(?i)[^a-z]+`, "aKſ9é", []string{"9é"}},
		{`(?i)\p{Lu}+`, "aBc", []string{"B"}},
		{`(?i)[\p{Lu}]+`, "aBc", []string{"aBc"}},
		{`a(?i)b|c`, "aB C c Ac", []string{"aB"}},
		{`(?i)a(?-i)b|c`, "Ab AB C c", []string{"Ab"}},
		{`^.`, "ab\ncd\n", []string{"a", "c"}},
		{`.$`, "ab\ncd\n", []string{"b", "d"}},
		{`(?m).+`, "a\nb", []string{"a\nb"}},
		{`.+`, "a\nb", []string{"a", "b"}},
		{`a++b|a+c`, "aab aac", []string{"aab", "aac"}},
		{`[^\r\n\p{L}\p{N}]?+\p{L}+`, " hello-world 12é", []string{" hello", "-world", "é"}},
		{`a{,2}b`, "aaab b", []string{"aab", "b"}},
		{`a{2}+b`, "aaaab aab", []string{"aaaab", "aab"}},
		{`a{2}?b`, "aaab ab b", []string{"aab", "b", "b"}},
		{`a{1,2}?b?`, "aab", []string{"a", "ab"}},
		{`a{b`, "a{b", []string{"a{b"}},
		{"(?x) a b # comment\n c ?", "abc ab", []string{"abc", "ab"}},
		{`(?<word>\p{Ll}+)\d`, "ab1 cd", []string{"ab1"}},
		{`\R+|\N`, "a\r\n\nb", []string{"a", "\r\n\n", "b"}},
		{`\p{^L}+|\P{Lu}`, "A1a", []string{"1", "a"}},
		{`[^\S\n]+`, " \t\n x", []string{" \t", " "}},
		{`[\P{L}\p{Lu}\n]+`, "aB1\nc", []string{"B1\n"}},
		{`\p{Letter}+|\p{decimal number}+`, "é٣x", []string{"é", "٣", "x"}},
		{`\x{e9}|\u00e8|\n`, "éè\n", []string{"é", "è", "\n"}},
		{`\s+(?!\S)|\s+`, "a   b  ", []string{"  ", " ", "  "}},
		{`\p{N}{1,3}`, "1234567", []string{"123", "456", "7"}},
		{`(?<=\s)\S+`, "a bc d", []string{"bc", "d"}},
		{`[]a]+`, "]a[", []string{"]a"}},
		{`[a-]+`, "a-b", []string{"a-"}},
		{`(?>a+)ab|a`, "aab", []string{"a", "a"}},
	} {
		find, err := findRegex(c.expression)
		if err != nil {
			t.Errorf("%s: %v", c.expression, err)
			continue
		}
		spans, err := find(c.text)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range nonEmpty(spans) {
			if s.match {
				got = append(got, c.text[s.from:s.to])
			}
		}
		if !slices.Equal(got, c.want) {
			text, _ := translate(c.expression)
			t.Errorf("%s on %q matches %q, want %q (translated to %.200s)", c.expression, c.text, got, c.want, text)
		}
	}
}

func TestTranslateErrors(t *testing.T) {
	for expression, want := range map[string]string{
		`(a)\1`:                        `the reference \1`,
		`\k<a>`:                        `the reference \k`,
		`\X`:                           `\X`,
		`\p{Klingon}`:                  `\p{Klingon}`,
		`\p{L`:                         `\p without a {NAME}`,
		`(?s:.)`:                       `(?s)`,
		`(?i:ss)`:                      `(?i) with "ss", which is`,
		`(?i:ß)`:                       `(?i) with "ss", which is`,
		`[a`:                           "a class without its ]",
		`[]`:                           "an empty class",
		`[z-a]`:                        `the empty range 'z'-'a'`,
		`[a-\d]`:                       "a range to a set",
		`(a`:                           "a group without its )",
		`a)`:                           "a ) without a (",
		`*a`:                           "a * without what it repeats",
		`\b+`:                          "a quantifier of what matches no characters",
		`a\`:                           `a \ at the end`,
		`\xE9`:                         "which is a byte and no character",
		strings.Repeat("(", 101):       "more than 100 groups",
		strings.Repeat("[a", 101):      "more than 100 classes",
		`(?#` + strings.Repeat("x", 9): "a comment without its )",
	} {
		if _, err := findRegex(expression); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--token-ids") {
			t.Errorf("%s: %v, want something with %q", expression, err, want)
		}
	}
}
