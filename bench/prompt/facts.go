package prompt

import (
	"fmt"
	"slices"

	"kvcompress/bench/task"
)

// asked is the number of words that a task with several questions asks for; kinds is the number of
// kinds (labels) in a few-shot task.
const (
	asked = 3
	kinds = 8
)

// facts has the sentences of a text that are not filler, and the question.
type facts struct {
	sought  []string // sentences that state the answer, in its order
	others  []string // sentences of the same form about distractors
	ordered bool     // the text has sought in this order; otherwise in random order

	question string
	steps    []segment // after the question
}

// segment is a part of the text after the question.
type segment struct {
	text    string
	choices int // number of possible texts for a guesser who has not read the context, without digits of codes; 0: the text is given
}

func (s segment) given() bool { return s.choices == 0 }

func given(text string) segment { return segment{text, 0} }

// answer is a segment of words that is decoded.
func answer(text string, choices int) segment { return segment{" " + text, choices} }

// fact is a word and its value, such as a code.
type fact struct{ word, value string }

// drawFacts draws the facts of the options' category; words is how many words the
// vocabulary has.
func (b *builder) drawFacts(words int) facts {
	n := b.options.Distractors
	switch b.options.Category {
	case task.SingleDoc:
		return b.severalCodes(b.codes(asked + n))
	case task.MultiDoc:
		return b.twoHops(b.codes(2+n), words) // with one distractor at least
	case task.Summary:
		return b.chapters(words)
	case task.FewShot:
		return b.examples(n)
	case task.Code:
		return b.calls(b.codes(asked + n))
	default:
		return b.oneCode(b.codes(1+n), words)
	}
}

// word takes an unused word.
func (b *builder) word() string {
	w := b.words[0]
	b.words = b.words[1:]
	return w
}

// codes draws n words with different codes.
func (b *builder) codes(n int) []fact {
	var list []fact
	for len(list) < n {
		code := make([]byte, b.options.Digits)
		for i := range code {
			code[i] = byte('0' + b.random.IntN(10))
		}
		if !slices.ContainsFunc(list, func(f fact) bool { return f.value == string(code) }) {
			list = append(list, fact{b.word(), string(code)})
		}
	}
	return list
}

// say fills the words and values of facts into a sentence.
func say(sentence string, list []fact) []string {
	var all []string
	for _, f := range list {
		all = append(all, fmt.Sprintf(sentence, f.word, f.value))
	}
	return all
}

const codeOf = "The code of %s is %s."

// oneCode asks for the code of a word, or for the word that has a code.
func (b *builder) oneCode(list []fact, words int) facts {
	word, code := list[0].word, list[0].value
	f := facts{sought: say(codeOf, list[:1]), others: say(codeOf, list[1:])}
	if b.options.Category == task.Synthetic {
		f.question = " Which word has the code " + code + "? The word with the code " + code + " is"
		f.steps = []segment{answer(word, words)}
	} else {
		f.question = " What is the code of " + word + "? The code of " + word + " is"
		f.steps = []segment{answer(code, 1)}
	}
	return f
}

// severalCodes asks for the codes of the first words.
func (b *builder) severalCodes(list []fact) facts {
	f := facts{sought: say(codeOf, list[:asked]), others: say(codeOf, list[asked:])}
	f.question = fmt.Sprintf(" What are the codes of %s, %s and %s? The code of %s is", list[0].word, list[1].word, list[2].word, list[0].word)
	for i, one := range list[:asked] {
		if i > 0 {
			f.steps = append(f.steps, given(". The code of "+one.word+" is"))
		}
		f.steps = append(f.steps, answer(one.value, 1))
	}
	return f
}

// twoHops asks for the code of a word's partner.
func (b *builder) twoHops(list []fact, words int) facts {
	var f facts
	partner := b.word()
	for i, one := range list {
		of := partner
		if i > 0 {
			of = b.words[i]
		}
		sentences := []string{"The partner of " + of + " is " + one.word + ".", fmt.Sprintf(codeOf, one.word, one.value)}
		if i == 0 {
			f.sought = sentences
		} else {
			f.others = append(f.others, sentences...)
		}
	}
	word, code := list[0].word, list[0].value
	f.question = " What is the code of the partner of " + partner + "? The partner of " + partner + " is"
	f.steps = []segment{answer(word, words), given(". The code of"), answer(word, 1), given(" is"), answer(code, 1)}
	return f
}

// chapters asks what the chapters are about.
func (b *builder) chapters(words int) facts {
	f := facts{ordered: true, question: " What are the chapters about, in order? Chapter 1 is about"}
	for i := range b.options.Chapters {
		w := b.word()
		f.sought = append(f.sought, fmt.Sprintf("Chapter %d is about %s.", i+1, w))
		if i > 0 {
			f.steps = append(f.steps, given(fmt.Sprintf(". Chapter %d is about", i+1)))
		}
		f.steps = append(f.steps, answer(w, words))
	}
	f.others = say(codeOf, b.codes(b.options.Distractors))
	return f
}

// examples asks for the kinds of words. Each word has three examples, of which two agree.
func (b *builder) examples(distractors int) facts {
	const kindOf = "The kind of %s is %s."
	var f facts
	var names [kinds]string
	for i := range names {
		names[i] = b.word()
	}
	for i := range asked + distractors {
		word := b.word()
		right := b.random.IntN(kinds)
		wrong := (right + 1 + b.random.IntN(kinds-1)) % kinds
		sentences := say(kindOf, []fact{{word, names[right]}, {word, names[right]}, {word, names[wrong]}})
		if i >= asked {
			f.others = append(f.others, sentences...)
			continue
		}
		f.sought = append(f.sought, sentences...)
		if i == 0 {
			f.question = " What are the kinds? The kind of " + word + " is"
		} else {
			f.steps = append(f.steps, given(". The kind of "+word+" is"))
		}
		f.steps = append(f.steps, answer(names[right], kinds))
	}
	return f
}

// calls asks what the calls of words return, in a pattern that the answer repeats.
func (b *builder) calls(list []fact) facts {
	const callOf = "The call of %s returns %s."
	f := facts{sought: say(callOf, list[:asked]), others: say(callOf, list[asked:])}
	f.question = " The call of " + list[0].word + " returns"
	for i, one := range list[:asked] {
		if i > 0 {
			f.steps = append(f.steps, given(". The"), answer("call of", 1), given(" "+one.word), answer("returns", 1))
		}
		f.steps = append(f.steps, answer(one.value, 1))
	}
	return f
}
