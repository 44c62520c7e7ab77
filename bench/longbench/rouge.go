package longbench

import "strings"

// RougeL returns the F1 of ROUGE-L at the level of summaries, as LongBench has it from
// the Python package rouge. The texts are cut into sentences at every full stop. For each
// sentence of the truth, the words count that are in its longest common subsequence with
// any sentence of the prediction. Words count once, however often they occur:
//
//	recall    = words found / distinct words of the truth
//	precision = words found / distinct words of the prediction
//	F1        = 2·precision·recall / (precision + recall + 1e-8)
//
// It is 0 if either text is empty or has nothing but full stops. A sentence of white
// space is one word, as it is there. (Sentences of some 900 words together exceed
// Python's stack, and score 0 in LongBench; here they score what they should.)
func RougeL(prediction, truth string) float64 {
	p, t := sentences(prediction), sentences(truth)
	if len(p) == 0 || len(t) == 0 {
		return 0
	}
	found := map[string]bool{}
	for _, ts := range t {
		for _, ps := range p {
			for _, w := range commonSubsequence(ts, ps) {
				found[w] = true
			}
		}
	}
	n := float64(len(found))
	precision, recall := n/float64(distinct(p)), n/float64(distinct(t))
	return 2 * (precision * recall / (precision + recall + 1e-8))
}

// sentences returns the words of each sentence. One that is there again adds nothing.
func sentences(text string) [][]string {
	var all [][]string
	seen := map[string]bool{"": true}
	for s := range strings.SplitSeq(text, ".") {
		if seen[s] {
			continue
		}
		seen[s] = true
		words := fields(s)
		if len(words) == 0 {
			words = []string{""}
		}
		all = append(all, words)
	}
	return all
}

func distinct(sentences [][]string) int {
	words := map[string]bool{}
	for _, s := range sentences {
		for _, w := range s {
			words[w] = true
		}
	}
	return len(words)
}

// commonSubsequence returns the longest common subsequence of x and y, found from the end: where
// the last words differ, that of y is dropped unless dropping that of x leaves a longer
// subsequence. It takes a byte for every pair of words.
func commonSubsequence(x, y []string) []string {
	const takeBoth, dropX, dropY = 0, 1, 2
	step := make([]byte, len(x)*len(y))
	row, before := make([]int32, len(y)+1), make([]int32, len(y)+1)
	for i := range x {
		row, before = before, row
		for j := range y {
			switch {
			case x[i] == y[j]:
				row[j+1] = before[j] + 1
				step[i*len(y)+j] = takeBoth
			case before[j+1] > row[j]:
				row[j+1] = before[j+1]
				step[i*len(y)+j] = dropX
			default:
				row[j+1] = row[j]
				step[i*len(y)+j] = dropY
			}
		}
	}
	var common []string
	for i, j := len(x)-1, len(y)-1; i >= 0 && j >= 0; {
		switch step[i*len(y)+j] {
		case takeBoth:
			common = append(common, x[i])
			i, j = i-1, j-1
		case dropX:
			i--
		default:
			j--
		}
	}
	return common
}
