package prompt

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"kvcompress/bench/task"
)

// Categories returns the names of the categories that [Vocabulary.Generate] makes.
func Categories() []string {
	return []string{task.MultiDoc, task.Summary, task.Synthetic, task.Needle}
}

// Options say what a task of made-up text is. Zero values are defaults.
type Options struct {
	// Category is one of [Categories]:
	//
	//	task.Needle     the code of a word                     RULER's niah, with distractors its multikey
	//	task.MultiDoc   the code of the partner of a word      after RULER's variable tracking
	//	task.Summary    what the chapters are about, in order  after RULER's multivalue
	//	task.Synthetic  the word that has a code
	Category string

	Length      int // most tokens of the context, which falls short by less than a sentence
	Digits      int // of codes; 5 by default, up to 64
	Distractors int // other words with a code each, up to 64; MultiDoc has one more, and a partner for each
	Chapters    int // of a summary; 4 by default, up to 32
	Seed        uint64

	// Depth is where the sentence with the code stands, from 0 to 1; nil draws it. It is not
	// for summaries.
	Depth *float64
}

// MaxLength is the longest context that Generate makes.
const MaxLength = 1 << 20

func (o Options) withDefaults(words int) (Options, error) {
	if o.Digits == 0 {
		o.Digits = 5
	}
	if o.Chapters == 0 {
		o.Chapters = 4
	}
	switch {
	case !slices.Contains(Categories(), o.Category):
		return o, fmt.Errorf("prompt: category %q is not made of text: want one of %s", o.Category, strings.Join(Categories(), ", "))
	case o.Length < 1 || o.Length > MaxLength:
		return o, fmt.Errorf("prompt: a context of %d tokens: want 1 to %d", o.Length, MaxLength)
	case o.Digits < 1 || o.Digits > 64:
		return o, fmt.Errorf("prompt: %d digits: want 1 to 64", o.Digits)
	case o.Distractors < 0 || o.Distractors > 64:
		return o, fmt.Errorf("prompt: %d distractors: want 0 to 64", o.Distractors)
	case o.Chapters < 1 || o.Chapters > 32:
		return o, fmt.Errorf("prompt: %d chapters: want 1 to 32", o.Chapters)
	case 3*(o.Distractors+o.Chapters) > words:
		return o, fmt.Errorf("prompt: %d distractors and %d chapters are too many for %d words", o.Distractors, o.Chapters, words)
	case math.Pow(10, float64(o.Digits)) < float64(2*(o.Distractors+2)):
		return o, fmt.Errorf("prompt: %d distractors are too many for codes of %d digits", o.Distractors, o.Digits)
	case o.Depth != nil && !(*o.Depth >= 0 && *o.Depth <= 1):
		return o, fmt.Errorf("prompt: a depth of %v: want 0 to 1", *o.Depth)
	}
	return o, nil
}

// Generate makes a task. The same options give the same text on every platform, and so
// the same tokens with the same tokenizer. It is an error if the tokenizer has less than 8
// tokens that are words of lower-case letters.
func (v *Vocabulary) Generate(o Options) (*task.Task, error) {
	words, err := v.words()
	if err != nil {
		return nil, err
	}
	if o, err = o.withDefaults(len(words)); err != nil {
		return nil, err
	}
	b := &builder{vocabulary: v, all: words, random: rand.New(rand.NewPCG(o.Seed, 1)), options: o}
	b.facts()
	if err := b.haystack(); err != nil {
		return nil, err
	}
	return b.task()
}

// builder makes a task's text.
type builder struct {
	vocabulary *Vocabulary
	all        []string // its words
	random     *rand.Rand
	options    Options

	keys      []string // words with a code; the question is about the first
	codes     []string // of the keys
	partner   string   // MultiDoc: the first key is the partner of this word
	chapters  []string // Summary: what each chapter is about
	sentences []string // of the context, each with a space after it, except the last
	evidence  []int    // indices of the sentences that the answer follows from, in the answer's order
	filler    []string
}

// facts draws the words and their codes; the first of either is asked for.
func (b *builder) facts() {
	o := b.options
	words := b.random.Perm(len(b.all))
	word := func() string {
		w := b.all[words[0]]
		words = words[1:]
		return w
	}
	n := o.Distractors + 1
	switch o.Category {
	case task.MultiDoc:
		n++ // so that there is more than one key
	case task.Summary:
		n--
		for range o.Chapters {
			b.chapters = append(b.chapters, word())
		}
	}
	for len(b.codes) < n {
		code := make([]byte, o.Digits)
		for i := range code {
			code[i] = byte('0' + b.random.IntN(10))
		}
		if !slices.Contains(b.codes, string(code)) {
			b.codes = append(b.codes, string(code))
			b.keys = append(b.keys, word())
		}
	}
	if o.Category == task.MultiDoc {
		b.partner = word()
	}
	for _, i := range words {
		b.filler = append(b.filler, b.all[i])
	}
}

// sought returns the sentences that the answer follows from, in the answer's order, and those of
// the other facts.
func (b *builder) sought() (sought, others []string) {
	for i, k := range b.keys {
		code := "The code of " + k + " is " + b.codes[i] + "."
		partner := b.partner
		if i > 0 {
			partner = b.filler[i]
		}
		link := "The partner of " + partner + " is " + k + "."
		switch {
		case b.options.Category == task.MultiDoc && i == 0:
			sought = append(sought, link, code)
		case b.options.Category == task.MultiDoc:
			others = append(others, link, code)
		case b.options.Category != task.Summary && i == 0:
			sought = append(sought, code)
		default:
			others = append(others, code)
		}
	}
	for i, w := range b.chapters {
		sought = append(sought, fmt.Sprintf("Chapter %d is about %s.", i+1, w))
	}
	return sought, others
}

// haystack makes sentences of filler up to the length, and puts the facts among them.
func (b *builder) haystack() error {
	o := b.options
	sought, others := b.sought()
	used := b.vocabulary.before
	size := func(sentence string) error {
		ids, err := b.vocabulary.encode(sentence)
		if err != nil {
			return fmt.Errorf("prompt: %w", err)
		}
		used += len(ids) - b.vocabulary.before
		return nil
	}
	for _, s := range slices.Concat(sought, others) {
		if err := size(s); err != nil {
			return err
		}
	}
	if used > o.Length {
		return fmt.Errorf("prompt: the facts need %d tokens, and the context has %d", used, o.Length)
	}
	for text := b.chain(); ; {
		s := text()
		if err := size(s); err != nil {
			return err
		}
		if used > o.Length {
			break
		}
		b.sentences = append(b.sentences, s)
	}
	depth := b.random.Float64()
	if o.Depth != nil {
		depth = *o.Depth
	}
	for _, s := range others {
		b.insert(s, b.random.IntN(len(b.sentences)+1))
	}
	places := make([]int, len(sought))
	for i := range places {
		places[i] = b.random.IntN(len(b.sentences) + 1)
	}
	if o.Category == task.Summary {
		slices.Sort(places)
		for i := range places {
			places[i] += i // chapters that are there already
		}
	} else {
		places[len(places)-1] = int(math.Round(depth * float64(len(b.sentences)+len(sought)-1)))
	}
	for i, s := range sought {
		b.evidence = append(b.evidence, b.insert(s, places[i]))
	}
	return nil
}

// insert puts a sentence at an index and returns the index.
func (b *builder) insert(sentence string, at int) int {
	b.sentences = slices.Insert(b.sentences, at, sentence)
	for i, e := range b.evidence {
		if e >= at {
			b.evidence[i]++
		}
	}
	return at
}

// chain returns a function that makes sentences by a Markov chain in which each word has four
// successors, so that words and pairs of words recur.
func (b *builder) chain() func() string {
	follow := make([][4]int, len(b.filler))
	for i := range follow {
		for j := range follow[i] {
			follow[i][j] = min(b.random.IntN(len(b.filler)), b.random.IntN(len(b.filler)))
		}
	}
	last := b.random.IntN(len(b.filler))
	return func() string {
		var words []string
		for range 5 + b.random.IntN(6) {
			last = follow[last][b.random.IntN(4)]
			words = append(words, b.filler[last])
		}
		return strings.ToUpper(words[0][:1]) + words[0][1:] + " " + strings.Join(words[1:], " ") + "."
	}
}

// segment is a part of the text after the context.
type segment struct {
	text  string
	given bool
}

// asked returns the question, and what comes after it.
func (b *builder) asked() (question string, steps []segment) {
	if b.options.Category == task.Summary {
		for i, w := range b.chapters {
			if i > 0 {
				steps = append(steps, segment{fmt.Sprintf(". Chapter %d is about", i+1), true})
			}
			steps = append(steps, segment{" " + w, false})
		}
		return " What are the chapters about, in order? Chapter 1 is about", steps
	}
	key, code := b.keys[0], b.codes[0]
	switch b.options.Category {
	case task.MultiDoc:
		return " What is the code of the partner of " + b.partner + "? The partner of " + b.partner + " is",
			[]segment{{" " + key, false}, {". The code of", true}, {" " + key, false}, {" is", true}, {" " + code, false}}
	case task.Synthetic:
		return " Which word has the code " + code + "? The word with the code " + code + " is", []segment{{" " + key, false}}
	default:
		return " What is the code of " + key + "? The code of " + key + " is", []segment{{" " + code, false}}
	}
}

// task encodes the text. If the whole text has more tokens than its sentences on their own,
// filler sentences are removed from the end.
func (b *builder) task() (*task.Task, error) {
	question, steps := b.asked()
	for {
		segments := b.segments()
		n := len(segments)
		segments = append(segments, question)
		for _, s := range steps {
			segments = append(segments, s.text)
		}
		parts, err := b.vocabulary.split(segments...)
		if err != nil {
			return nil, fmt.Errorf("prompt: %w", err)
		}
		t := &task.Task{Category: b.options.Category}
		spans := make([]task.Span, n)
		for i, p := range parts[:n] {
			spans[i] = task.Span{From: len(t.Context), To: len(t.Context) + len(p)}
			t.Context = append(t.Context, p...)
		}
		if len(t.Context) > b.options.Length {
			if !b.shorten() {
				return nil, fmt.Errorf("prompt: the facts need %d tokens, and the context has %d", len(t.Context), b.options.Length)
			}
			continue
		}
		// Filler and evidence segments alternate.
		for _, e := range b.evidence {
			before := 0
			for _, other := range b.evidence {
				if other < e {
					before++
				}
			}
			t.Evidence = append(t.Evidence, spans[2*before+1])
		}
		t.Question = parts[n]
		t.ChanceExact = 1
		for i, p := range parts[n+1:] {
			for _, token := range p {
				t.Steps = append(t.Steps, task.Step{Token: token, Given: steps[i].given})
			}
			if !steps[i].given {
				t.Chance, t.ChanceExact = b.chance(t, p, i)
			}
		}
		if answers := len(t.Answer()); answers > 0 {
			t.Chance /= float64(answers)
		}
		return t, nil
	}
}

// chance adds the chances of a guess for the tokens of one answer to those of a task: a digit is
// one of ten, a word one of all words. In a question of two hops, a word after step 0 repeats an
// earlier answer.
func (b *builder) chance(t *task.Task, tokens []int32, step int) (right, exact float64) {
	right, exact = t.Chance, t.ChanceExact
	begun := step > 0 && b.options.Category == task.MultiDoc
	for _, token := range tokens {
		text, err := b.vocabulary.tokenizer.Decode([]int{int(token)})
		digits := strings.Trim(text, " ")
		p := 1.0
		switch {
		case err == nil && digits != "" && strings.Trim(digits, "0123456789") == "":
			p = math.Pow(0.1, float64(len(digits)))
		case err == nil && digits == "":
			// A space that every answer begins with.
		case !begun:
			p, begun = 1/float64(len(b.all)), true
		}
		right += p
		exact *= p
	}
	return right, exact
}

// segments joins the sentences into alternating segments of filler and evidence; the first and
// the last are filler. The space between two sentences belongs to the second.
func (b *builder) segments() []string {
	all := []string{""}
	for i, s := range b.sentences {
		if i > 0 {
			s = " " + s
		}
		if slices.Contains(b.evidence, i) {
			all = append(all, s, "")
		} else {
			all[len(all)-1] += s
		}
	}
	return all
}

// shorten removes the last sentence that is filler and reports whether there was one.
func (b *builder) shorten() bool {
	for i := len(b.sentences) - 1; i >= 0; i-- {
		if s := b.sentences[i]; !strings.HasPrefix(s, "The code of ") && !strings.HasPrefix(s, "The partner of ") && !strings.HasPrefix(s, "Chapter ") {
			b.sentences = slices.Delete(b.sentences, i, i+1)
			for j, e := range b.evidence {
				if e > i {
					b.evidence[j]--
				}
			}
			return true
		}
	}
	return false
}
