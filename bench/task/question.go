package task

import (
	"math"
	"math/rand/v2"
)

// definitions is the number of facts that a code question names.
const definitions = 3

// Generate makes a task. The error says which option is wrong, or that the context is
// too short for its records.
func (o Options) Generate() (*Task, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	w, err := newWorld(o)
	if err != nil {
		return nil, err
	}
	t := &Task{Category: o.Category, Context: w.context}
	q := &asker{task: t, random: rand.New(rand.NewPCG(o.Seed, streamQuestion)), exact: 1}
	for i := range o.Questions {
		q.ask(w, i)
	}
	t.Chance, t.ChanceExact = q.right/float64(len(t.Answer())), q.exact
	return t, nil
}

// asker writes questions and answers. The first question goes to the task's Question,
// the others are given steps.
type asker struct {
	task   *Task
	random *rand.Rand
	right  float64 // expected number of tokens that are guessed right
	exact  float64 // probability that all are
}

func (q *asker) question(tokens ...int32) {
	if len(q.task.Steps) == 0 {
		q.task.Question = append(q.task.Question, tokens...)
		return
	}
	for _, t := range tokens {
		q.task.Steps = append(q.task.Steps, Step{Token: t, Given: true})
	}
}

// answer adds tokens that are to be decoded, each of which is guessed on its own and is
// right with the given probability.
func (q *asker) answer(chance float64, tokens ...int32) {
	for _, t := range tokens {
		q.task.Steps = append(q.task.Steps, Step{Token: t})
		q.right += chance
		q.exact *= chance
	}
}

func (q *asker) evidence(records ...*record) {
	for _, r := range records {
		q.task.Evidence = append(q.task.Evidence, r.span())
	}
}

// ask adds question i of the task's category.
func (q *asker) ask(w *world, i int) {
	var (
		guessKey   = 1 / float64(keys.n)
		guessValue = 1 / float64(values.n)
		guessLabel = 1 / float64(labels.n)
	)
	switch q.task.Category {
	case SingleDoc:
		f := w.facts[i]
		q.question(ask, f.tokens[0])
		q.answer(guessValue, f.tokens[1:]...)
		q.evidence(f)
	case MultiDoc:
		from, to := w.links[i], w.linked[i]
		q.question(ask, from.tokens[0])
		q.answer(guessKey, to.tokens[0])
		q.answer(guessValue, to.tokens[1:]...)
		q.evidence(from, to)
	case Summary:
		// The sections are consecutive: a right guess of the first gives all.
		guessSection := 1 / float64(int(sections.n)-len(w.headings)+1)
		q.question(sum, head)
		exact := guessSection * math.Pow(guessValue, float64(len(w.headings)))
		for _, h := range w.headings {
			q.answer(guessSection, h.tokens[1])
			q.answer(guessValue, h.tokens[2])
		}
		q.exact = exact
		q.evidence(w.headings...)
	case FewShot:
		q.question(few, w.examples[i][0].tokens[0])
		q.answer(guessLabel, w.majority[i])
		q.evidence(w.examples[i]...)
	case Synthetic:
		f := w.facts[i]
		q.question(look, f.tokens[1])
		q.answer(guessKey, f.tokens[0])
		q.evidence(f)
	case Code:
		q.code(w.facts[i*definitions:][:definitions], guessValue)
	case Needle:
		q.question(pass)
		q.answer(guessValue, w.passkey.tokens[1:]...)
		q.evidence(w.passkey)
	}
}

// code asks for the values of some keys, each after the same three tokens. Of the later
// lines, the first of these and the key are given; the second and third are answers that
// the first line has.
func (q *asker) code(facts []*record, guessValue float64) {
	pattern := draw(q.random, filler, 3)
	for line, f := range facts {
		q.question(pattern[0])
		if line == 0 {
			q.question(pattern[1:]...)
		} else {
			q.answer(1, pattern[1:]...)
		}
		q.question(f.tokens[0])
		q.answer(guessValue, f.tokens[1:]...)
	}
	q.evidence(facts...)
}
