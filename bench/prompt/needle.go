package prompt

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"kvcompress/bench/task"
)

// Options say what a task of made-up text is. Zero values are defaults.
type Options struct {
	// Category is one of [task.Categories]:
	//
	//	task.SingleDoc  the codes of three words               RULER's multiquery
	//	task.MultiDoc   the code of the partner of a word      after RULER's variable tracking
	//	task.Summary    what the chapters are about, in order  after RULER's multivalue
	//	task.FewShot    the kinds of three words, each by two of its three examples
	//	task.Synthetic  the word that has a code
	//	task.Code       what the calls of three words return, after a pattern that recurs
	//	task.Needle     the code of a word                     RULER's niah, with distractors its multikey
	Category string

	Length      int // most tokens of the context, which may fall short by some sentences
	Digits      int // of codes; 5 by default, up to MaxDigits
	Distractors int // other words with facts of the same form, up to 64; MultiDoc has one more
	Chapters    int // of a summary; 4 by default, up to 32
	Seed        uint64

	// Depth is where the last sentence that the answer follows from stands, from 0 to 1; nil
	// draws it. Summaries have none: their chapters are in order.
	Depth *float64
}

// The bounds of what Generate makes.
const (
	MaxLength = 1 << 20 // tokens of a context
	MaxDigits = 64      // of a code
)

func (o Options) withDefaults(words int) (Options, error) {
	if o.Digits == 0 {
		o.Digits = 5
	}
	if o.Chapters == 0 {
		o.Chapters = 4
	}
	switch {
	case !slices.Contains(task.Categories(), o.Category):
		return o, fmt.Errorf("prompt: category %q is not made of text: want one of %s", o.Category, strings.Join(task.Categories(), ", "))
	case o.Length < 1 || o.Length > MaxLength:
		return o, fmt.Errorf("prompt: a context of %d tokens: want 1 to %d", o.Length, MaxLength)
	case o.Digits < 1 || o.Digits > MaxDigits:
		return o, fmt.Errorf("prompt: %d digits: want 1 to %d", o.Digits, MaxDigits)
	case o.Distractors < 0 || o.Distractors > 64:
		return o, fmt.Errorf("prompt: %d distractors: want 0 to 64", o.Distractors)
	case o.Chapters < 1 || o.Chapters > 32:
		return o, fmt.Errorf("prompt: %d chapters: want 1 to 32", o.Chapters)
	case o.Category == task.FewShot && 3*(asked+o.Distractors+kinds) > words:
		return o, fmt.Errorf("prompt: %d words with one of %d kinds are too many for %d words", asked+o.Distractors, kinds, words)
	case 3*(o.Distractors+o.Chapters) > words:
		return o, fmt.Errorf("prompt: %d distractors and %d chapters are too many for %d words", o.Distractors, o.Chapters, words)
	case math.Pow(10, float64(o.Digits)) < float64(2*(o.Distractors+asked)):
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
	b := &builder{vocabulary: v, random: rand.New(rand.NewPCG(o.Seed, 1)), options: o}
	for _, i := range b.random.Perm(len(words)) {
		b.words = append(b.words, words[i])
	}
	b.facts = b.drawFacts(len(words))
	if err := b.haystack(); err != nil {
		return nil, err
	}
	return b.task()
}

// builder makes a task's text.
type builder struct {
	vocabulary *Vocabulary
	random     *rand.Rand
	options    Options
	words      []string // that no fact has yet, in random order; filler, once there are facts
	facts      facts
	sentences  []sentence
}

// sentence is one of the context.
type sentence struct {
	text   string
	filler bool
	sought int // index in facts.sought; -1 for none
}

// haystack puts the facts among sentences of filler. It adds filler up to the length.
func (b *builder) haystack() error {
	o, f := b.options, &b.facts
	used := b.vocabulary.before
	size := func(text string) error {
		ids, err := b.vocabulary.encode(text)
		if err != nil {
			return fmt.Errorf("prompt: %w", err)
		}
		used += len(ids) - b.vocabulary.before
		return nil
	}
	for _, s := range slices.Concat(f.sought, f.others) {
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
		b.sentences = append(b.sentences, sentence{text: s, filler: true, sought: -1})
	}
	depth := b.random.Float64()
	if o.Depth != nil {
		depth = *o.Depth
	}
	for _, s := range f.others {
		b.insert(sentence{text: s, sought: -1}, b.random.IntN(len(b.sentences)+1))
	}
	places := make([]int, len(f.sought))
	for i := range places {
		places[i] = b.random.IntN(len(b.sentences) + 1)
	}
	if f.ordered {
		slices.Sort(places)
		for i := range places {
			places[i] += i // the sentences inserted before
		}
	} else {
		places[len(places)-1] = int(math.Round(depth * float64(len(b.sentences)+len(f.sought)-1)))
	}
	for i, s := range f.sought {
		b.insert(sentence{text: s, sought: i}, places[i])
	}
	return nil
}

func (b *builder) insert(s sentence, at int) { b.sentences = slices.Insert(b.sentences, at, s) }

// chain returns a function that makes sentences by a Markov chain in which each word has four
// successors, so that words and pairs of words recur.
func (b *builder) chain() func() string {
	follow := make([][4]int, len(b.words))
	for i := range follow {
		for j := range follow[i] {
			follow[i][j] = min(b.random.IntN(len(b.words)), b.random.IntN(len(b.words)))
		}
	}
	last := b.random.IntN(len(b.words))
	return func() string {
		var words []string
		for range 5 + b.random.IntN(6) {
			last = follow[last][b.random.IntN(4)]
			words = append(words, b.words[last])
		}
		return strings.ToUpper(words[0][:1]) + words[0][1:] + " " + strings.Join(words[1:], " ") + "."
	}
}

// task encodes the text. If the whole has more tokens than the sentences one by one, filler
// is removed from the end.
func (b *builder) task() (*task.Task, error) {
	f := &b.facts
	for {
		segments, sought := b.segments()
		n := len(segments)
		segments = append(segments, f.question)
		for _, s := range f.steps {
			segments = append(segments, s.text)
		}
		parts, err := b.vocabulary.split(segments...)
		if err != nil {
			return nil, fmt.Errorf("prompt: %w", err)
		}
		t := &task.Task{Category: b.options.Category, Evidence: make([]task.Span, len(f.sought)), ChanceExact: 1}
		for i, p := range parts[:n] {
			span := task.Span{From: len(t.Context), To: len(t.Context) + len(p)}
			t.Context = append(t.Context, p...)
			if sought[i] >= 0 {
				t.Evidence[sought[i]] = span
			}
		}
		if len(t.Context) > b.options.Length {
			if !b.shorten() {
				return nil, fmt.Errorf("prompt: the facts need %d tokens, and the context has %d", len(t.Context), b.options.Length)
			}
			continue
		}
		t.Question = parts[n]
		for i, p := range parts[n+1:] {
			for _, token := range p {
				t.Steps = append(t.Steps, task.Step{Token: token, Given: f.steps[i].given()})
			}
			if !f.steps[i].given() {
				b.addChance(t, p, f.steps[i].choices)
			}
		}
		if answers := len(t.Answer()); answers > 0 {
			t.Chance /= float64(answers)
		}
		return t, nil
	}
}

// addChance adds the chances of the tokens of one answer to a task's sum and product of them.
// The first token of a word is one of the choices, and the rest of the word follows from it;
// each digit of a code is one of ten.
func (b *builder) addChance(t *task.Task, tokens []int32, choices int) {
	begun := false
	for _, token := range tokens {
		text, err := b.vocabulary.tokenizer.Decode([]int{int(token)})
		text = strings.Trim(text, " ")
		p := 1.0
		switch {
		case err == nil && text != "" && strings.Trim(text, "0123456789") == "":
			p = math.Pow(0.1, float64(len(text)))
		case err == nil && text == "":
			// A space that every answer begins with.
		case !begun:
			p, begun = 1/float64(choices), true
		}
		t.Chance += p
		t.ChanceExact *= p
	}
}

// segments joins the sentences between those of facts.sought, which stay alone. It returns
// the texts, and the index in facts.sought of each, -1 for the others. Spaces go before
// sentences.
func (b *builder) segments() (texts []string, sought []int) {
	texts, sought = []string{""}, []int{-1}
	for i, s := range b.sentences {
		text := s.text
		if i > 0 {
			text = " " + text
		}
		if s.sought >= 0 {
			texts, sought = append(texts, text, ""), append(sought, s.sought, -1)
		} else {
			texts[len(texts)-1] += text
		}
	}
	return texts, sought
}

// shorten removes the last sentence of filler and reports whether there was one.
func (b *builder) shorten() bool {
	for i := len(b.sentences) - 1; i >= 0; i-- {
		if b.sentences[i].filler {
			b.sentences = slices.Delete(b.sentences, i, i+1)
			return true
		}
	}
	return false
}
