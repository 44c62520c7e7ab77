package longbench

import (
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

// punctuation is what LongBench's normalization removes: ASCII alone.
const punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"

// Normalize prepares a text for [QAF1]: lower case, no ASCII punctuation, no articles
// (a, an, the as whole words), and single spaces.
func Normalize(text string) string { return strings.Join(normalized(text), " ") }

// normalized returns the words of a normalized text.
func normalized(text string) []string {
	text = cases.Lower(language.Und).String(text) // as in Python, with İ and the Σ that ends a word
	text = strings.Map(func(r rune) rune {
		if r < unicode.MaxASCII && strings.ContainsRune(punctuation, r) {
			return -1
		}
		return r
	}, text)
	return fields(withoutArticles(text))
}

// withoutArticles puts a space in place of every article that stands between characters
// other than letters and digits, such as a dash that is not ASCII.
func withoutArticles(text string) string {
	var b strings.Builder
	word := 0 // index at which the current word begins
	end := func(at int) {
		switch w := text[word:at]; w {
		case "a", "an", "the":
			b.WriteByte(' ')
		default:
			b.WriteString(w)
		}
	}
	for i, r := range text {
		if !isWord(r) {
			end(i)
			b.WriteRune(r)
			word = i + len(string(r))
		}
	}
	end(len(text))
	return b.String()
}

// isWord reports whether r is a word character of Python's regular expressions: a
// letter, a number or an underscore.
func isWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r) }

// fields splits text where Python's str.split() does: at white space and at the
// separators of ASCII.
func fields(text string) []string { return strings.FieldsFunc(text, isSpace) }

func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }
