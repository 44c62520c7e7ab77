package longbench

import (
	"fmt"
	"math"
	"strings"
	"unicode"
)

// QAF1 returns the F1 of the words that the normalized prediction and truth share, each as
// often as it occurs in both; 0 if there are none.
func QAF1(prediction, truth string) float64 {
	p, t := normalized(prediction), normalized(truth)
	left := map[string]int{}
	for _, w := range t {
		left[w]++
	}
	same := 0
	for _, w := range p {
		if left[w] > 0 {
			left[w]--
			same++
		}
	}
	if same == 0 {
		return 0
	}
	precision, recall := float64(same)/float64(len(p)), float64(same)/float64(len(t))
	return 2 * precision * recall / (precision + recall)
}

// Classification returns 1/n if the prediction contains the truth, where n is the number
// of classes that it contains, and 0 otherwise. A class that is part of the truth's name
// does not count, unless it comes right after another such class in the list. That exception is
// LongBench's: its loop removes from the list that it iterates over.
func Classification(prediction, truth string, classes []string) float64 {
	var found []string
	for _, c := range classes {
		if strings.Contains(prediction, c) {
			found = append(found, c)
		}
	}
	for i := 0; i < len(found); i++ {
		c := found[i]
		if c == truth || !strings.Contains(truth, c) {
			continue
		}
		for j, x := range found { // the first that is equal goes
			if x == c {
				found = append(found[:j], found[j+1:]...)
				break
			}
		}
	}
	for _, c := range found {
		if c == truth {
			return 1 / float64(len(found))
		}
	}
	return 0
}

// Count returns the fraction of the numbers in the prediction that are the truth, as text:
// 07 is not 7. It is 0 where there is no number.
func Count(prediction, truth string) float64 {
	all := numbers(prediction)
	right := 0
	for _, n := range all {
		if n == truth {
			right++
		}
	}
	if len(all) == 0 {
		return 0
	}
	return float64(right) / float64(len(all))
}

// Retrieval returns the fraction of the numbers in the prediction that equal the truth's number.
// The truth's is the one after word, which is "Paragraph " or in Chinese "段落". It is an error
// if the truth has none; [Read] refuses such truths.
func Retrieval(prediction, truth, word string) (float64, error) {
	id, err := paragraph(truth, word)
	if err != nil {
		return 0, err
	}
	return Count(prediction, id), nil
}

// paragraph returns the number that follows the word in text.
func paragraph(text, word string) (string, error) {
	for rest := text; ; {
		_, after, ok := strings.Cut(rest, word)
		if !ok {
			return "", fmt.Errorf("longbench: %s has no number after %q", quote(text), word)
		}
		if id := after[:len(after)-len(strings.TrimLeftFunc(after, unicode.IsDigit))]; id != "" {
			return id, nil
		}
		rest = after
	}
}

// numbers returns the runs of digits in text.
func numbers(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsDigit(r) })
}

// CodeSimilarity compares the first line of the prediction that has no `, # or // with
// the truth, and returns [Ratio], rounded to hundredths (half to even).
func CodeSimilarity(prediction, truth string) float64 {
	line := ""
	for l := range strings.SplitSeq(strings.TrimLeft(prediction, "\n"), "\n") {
		if !strings.Contains(l, "`") && !strings.Contains(l, "#") && !strings.Contains(l, "//") {
			line = l
			break
		}
	}
	if line != truth && (line == "" || truth == "") {
		return 0
	}
	return math.RoundToEven(100*Ratio(line, truth)) / 100
}

// EditSimilarity returns 1 − d/n, where d is the Levenshtein distance of the texts, in
// characters, and n the length of the longer one; 1 for two empty texts. LongBench has
// [CodeSimilarity] for it.
func EditSimilarity(prediction, truth string) float64 {
	a, b := []rune(prediction), []rune(truth)
	if len(a) == 0 && len(b) == 0 {
		return 1
	}
	row := make([]int, len(b)+1) // distances of a[:i] to every b[:j]
	for j := range row {
		row[j] = j
	}
	for i := range a {
		diagonal := row[0]
		row[0] = i + 1
		for j := range b {
			d := diagonal
			if a[i] != b[j] {
				d++
			}
			diagonal, row[j+1] = row[j+1], min(d, row[j]+1, row[j+1]+1)
		}
	}
	return 1 - float64(row[len(b)])/float64(max(len(a), len(b)))
}
