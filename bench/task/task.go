// Package task makes the tasks that a benchmark of KV cache compression asks a model:
// seven categories after those of LongBench, each a context with records among filler,
// a question about them, and the one right answer.
//
// The tasks of [Generate] are written in the token ids of the recall model, which was
// trained on them and answers nearly all of them with its full cache. The same category,
// options and seed give the same tokens on every platform.
package task

// Task is one prompt and what is decoded after it. The three parts follow each other:
// the model reads Context and Question, and then goes through Steps.
type Task struct {
	Category string
	Context  []int32 // token ids, BOS first, without the question
	Question []int32 // asked after the context; never empty
	Steps    []Step  // what is decoded, in order

	// Evidence are the ranges of Context that the answer follows from, in the order in
	// which the answer needs them.
	Evidence []Span

	// Chance and ChanceExact are the expected [Task.Score], and the probability of
	// [Task.Exact], of an answer that is guessed without the context: tokens that follow from
	// the question or from what was decoded before are right, and each of the others is drawn
	// uniformly from its kind.
	Chance, ChanceExact float64
}

// Step is one token after the question.
type Step struct {
	// Token is the right token.
	Token int32

	// Given tells a token that is fed and not scored (teacher forcing) from one that is
	// decoded greedily, scored against Token, and fed as the model decoded it.
	Given bool
}

// Span is a range of token positions: From is in it, To is not.
type Span struct {
	From, To int
}

// The categories, in the order of LongBench.
const (
	SingleDoc = "single-doc" // single-document QA: the two values of a key
	MultiDoc  = "multi-doc"  // multi-document QA: a key that leads to the key that has the values
	Summary   = "summary"    // summarization: all headings with their values, in order
	FewShot   = "few-shot"   // few-shot learning: what most of the labels of a key say
	Synthetic = "synthetic"  // passage retrieval: the key whose record holds a value
	Code      = "code"       // code completion: a pattern repeated nearby, definitions far away
	Needle    = "needle"     // needle in a haystack: a passkey of some digits
)

// Categories returns the names of the categories.
func Categories() []string {
	return []string{SingleDoc, MultiDoc, Summary, FewShot, Synthetic, Code, Needle}
}

// Answer returns the right tokens of the steps that are decoded.
func (t *Task) Answer() []int32 {
	var answer []int32
	for _, s := range t.Steps {
		if !s.Given {
			answer = append(answer, s.Token)
		}
	}
	return answer
}

// Len returns the number of tokens of the context, the question and the steps.
func (t *Task) Len() int { return len(t.Context) + len(t.Question) + len(t.Steps) }

// Score returns the fraction of the answer's tokens that are right, in [0, 1]. answer has
// the decoded tokens of the steps that are not given, in order; a token that is missing
// is wrong, and tokens after the last step do not count.
func (t *Task) Score(answer []int32) float64 {
	right, n := 0, 0
	for _, s := range t.Steps {
		if s.Given {
			continue
		}
		if n < len(answer) && answer[n] == s.Token {
			right++
		}
		n++
	}
	if n == 0 {
		return 0
	}
	return float64(right) / float64(n)
}

// Exact reports whether all tokens of the answer are right. It tells methods apart better
// than Score where one token of an answer is easier to find than another, or where records
// are redundant.
func (t *Task) Exact(answer []int32) bool { return t.Score(answer) == 1 }
