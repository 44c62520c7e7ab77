package bench

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kvcompress/bench/longbench"
	"kvcompress/bench/models"
	"kvcompress/bench/prompt"
	"kvcompress/bench/task"
	"kvcompress/internal/words"
	"kvcompress/trace/regular"
	"kvcompress/trace/tokenizer"
)

// Texts makes the tasks of a plan texts, encoded by each model's own tokenizer. A plan without
// Texts has the tasks of package task, in the recall vocabulary.
type Texts struct {
	// File is the path of a file of tasks in LongBench's format. If it is "", tasks are generated from
	// the tokenizer's words: see [prompt.Vocabulary.Generate].
	File string `json:"file,omitempty"`
	// Templates is the path of a file with the prompt templates of datasets: see [prompt.ReadTemplates].
	Templates string `json:"templates,omitempty"`
	// SHA256 and TemplatesSHA256 are the hashes of the two files when [Plan.ReadTexts] read them.
	SHA256          string `json:"sha256,omitempty"`
	TemplatesSHA256 string `json:"templates_sha256,omitempty"`
	// Each is the maximum number of tasks of one dataset; 0 is all.
	Each int `json:"each,omitempty"`
	// MaxTokens is the number of tokens of an answer; 0 is what its dataset says.
	MaxTokens int `json:"max_tokens,omitempty"`

	Digits      int `json:"digits,omitempty"`      // of a code, in tasks without a file; 0 is 5
	Distractors int `json:"distractors,omitempty"` // other words with facts of the same form, in tasks without a file

	// Tokenizer is the path of a tokenizer; "" is the tokenizer.json in the folder of each model.
	Tokenizer string `json:"tokenizer,omitempty"`
}

// maxTextFile bounds each of the two files, in bytes.
const maxTextFile = 256 << 20

// texts are the tasks and the tokenizers of a [Texts], read.
type texts struct {
	tasks                   []*longbench.Prompt // nil if tasks are made
	templates               prompt.Templates
	sha256, templatesSHA256 string                        // of their files
	vocabularies            map[string]*prompt.Vocabulary // by model
}

// ReadTexts reads the files of tasks and templates, and sets the plan's SHA256, number of
// prompts and categories. It keeps only the categories of the plan that have tasks in the file.
// A plan without a file of tasks does not change, since every category can be generated as text.
func (p *Plan) ReadTexts() error {
	if p.Texts.File == "" {
		return nil
	}
	t, err := p.Texts.read(p.Categories)
	if err != nil {
		return err
	}
	p.Texts.SHA256, p.Texts.TemplatesSHA256 = t.sha256, t.templatesSHA256
	p.Prompts = len(t.tasks)
	p.Categories = slices.DeleteFunc(slices.Clone(p.Categories), func(c string) bool {
		return !slices.ContainsFunc(t.tasks, func(one *longbench.Prompt) bool { return one.Category == c })
	})
	return nil
}

// read reads the tasks of some categories from the files.
func (t *Texts) read(categories []string) (*texts, error) {
	read := &texts{}
	file, err := regular.ReadFile(t.File, maxTextFile)
	if err != nil {
		return nil, fmt.Errorf("bench: tasks: %s: %w", t.File, err)
	}
	read.sha256 = hexSHA256(file)
	if t.Templates != "" {
		text, err := regular.ReadFile(t.Templates, maxTextFile)
		if err != nil {
			return nil, fmt.Errorf("bench: templates: %s: %w", t.Templates, err)
		}
		read.templatesSHA256 = hexSHA256(text)
		if read.templates, err = prompt.ReadTemplates(bytes.NewReader(text)); err != nil {
			return nil, fmt.Errorf("%s: %w", t.Templates, err)
		}
	}
	of := map[string]int{} // tasks of a dataset
	err = longbench.Read(bytes.NewReader(file), func(one *longbench.Prompt) error {
		if !slices.Contains(categories, one.Category) {
			return nil
		}
		if of[one.Dataset]++; t.Each > 0 && of[one.Dataset] > t.Each {
			return nil
		}
		if t.MaxTokens > 0 {
			one.MaxTokens = t.MaxTokens
		}
		if read.tasks = append(read.tasks, one); len(read.tasks) > MaxPrompts {
			return fmt.Errorf("line %d: more than %d tasks", one.Line, MaxPrompts)
		}
		return nil
	})
	if err == nil && len(read.tasks) == 0 {
		err = fmt.Errorf("no task is of the categories %s", strings.Join(categories, ", "))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.File, err)
	}
	return read, nil
}

func hexSHA256(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// check returns the first error of the options.
func (t *Texts) check() error {
	switch {
	case t.File == "" && (t.Templates != "" || t.Each != 0 || t.MaxTokens != 0):
		return fmt.Errorf("bench: templates, tasks of a dataset and tokens of an answer can only be set with a file of tasks")
	case t.File != "" && (t.Digits != 0 || t.Distractors != 0):
		return fmt.Errorf("bench: digits and distractors can only be set without a file of tasks")
	case t.Each < 0 || t.Each > MaxPrompts:
		return fmt.Errorf("bench: %d tasks of a dataset: want 1 to %d", t.Each, MaxPrompts)
	case t.MaxTokens < 0 || t.MaxTokens > longbench.MaxTokens:
		return fmt.Errorf("bench: an answer of %d tokens: want 1 to %d", t.MaxTokens, longbench.MaxTokens)
	}
	return nil
}

// openTexts reads the plan's tasks and the tokenizers of its models. If the plan has no length,
// it sets the longest that all models have positions for.
func (b *Bench) openTexts() error {
	p := &b.Plan
	t := &texts{}
	if p.Texts.File != "" {
		var err error
		if t, err = p.Texts.read(p.Categories); err != nil {
			return err
		}
		for _, f := range []struct{ name, sha256, want string }{
			{p.Texts.File, t.sha256, p.Texts.SHA256}, {p.Texts.Templates, t.templatesSHA256, p.Texts.TemplatesSHA256},
		} {
			if f.sha256 != f.want {
				return fmt.Errorf("bench: %s: the file has changed since the plan was made: want SHA-256 %.16s…", f.name, f.want)
			}
		}
		if len(t.tasks) != p.Prompts {
			return fmt.Errorf("bench: %s: it has %s of the plan's categories, and the plan %d", p.Texts.File, words.Count(len(t.tasks), "task"), p.Prompts)
		}
	}
	answer := 0
	for _, one := range t.tasks {
		answer = max(answer, one.MaxTokens)
	}
	t.vocabularies = map[string]*prompt.Vocabulary{}
	longest := MaxLength
	for _, name := range p.Models {
		tok, err := p.Texts.tokenizerOf(name)
		if err != nil {
			return err
		}
		if t.vocabularies[name], err = prompt.New(tok); err != nil {
			return fmt.Errorf("bench: %s: %w", name, err)
		}
		room := b.models[name].Llama.Config().MaxPositions - answer
		longest = min(longest, room)
		switch {
		case t.tasks == nil:
		case room < minLength:
			return fmt.Errorf("bench: %s has %d positions, and an answer of %d tokens leaves too few for a prompt: want fewer (--max-tokens)", name, room+answer, answer)
		case p.Length > room:
			return fmt.Errorf("bench: %s has %d positions, which are too few for a prompt of %d tokens and an answer of %d", name, room+answer, p.Length, answer)
		}
	}
	if p.Length == 0 && p.Grid == nil {
		p.Length = longest
	}
	b.texts = t
	return b.fitsGrid()
}

// fitsGrid makes the contexts of the longest length of a grid, with each number of digits, so that
// a model with too few positions is an error before the first unit runs.
func (b *Bench) fitsGrid() error {
	g := b.Plan.Grid
	if g == nil {
		return nil
	}
	for i := range min(b.Plan.Prompts, len(g.Digits)) {
		longest := g.Depths * (len(g.Lengths) - 1 + len(g.Lengths)*i)
		for m := range b.Plan.Models {
			if _, err := b.questions(len(b.Plan.Models)*longest + m); err != nil {
				return err
			}
		}
	}
	return nil
}

// planned returns the number of units that have each category.
func (t *texts) planned(p *Plan) map[string]int {
	n := map[string]int{}
	for _, category := range p.Categories {
		n[category] = p.Units()
	}
	if t.tasks != nil {
		clear(n)
	}
	for _, one := range t.tasks {
		n[one.Category] += len(p.Models)
	}
	return n
}

// tokenizerOf reads the tokenizer of a model.
func (t *Texts) tokenizerOf(model string) (tokenizer.Tokenizer, error) {
	if t.Tokenizer != "" {
		return tokenizer.Load(t.Tokenizer)
	}
	if slices.Contains(models.Names(), model) {
		return nil, fmt.Errorf("bench: %s has no tokenizer, which tasks of text need", model)
	}
	if info, err := os.Stat(model); err == nil && !info.IsDir() {
		return nil, fmt.Errorf("bench: %s is a file without a tokenizer: name one (--tokenizer)", model)
	}
	return tokenizer.Load(filepath.Join(model, "tokenizer.json"))
}

// questions returns the questions of a unit in all its categories and modes.
func (t *texts) questions(p *Plan, m *Model, unit int) ([]*question, error) {
	v := t.vocabularies[m.Name]
	if t.tasks != nil {
		return t.ofFile(p, m, v, t.tasks[unit/len(p.Models)])
	}
	u := p.unit(unit)
	of := prompt.Options{Length: u.options.Length, Depth: u.options.Depth, Distractors: p.Texts.Distractors, Seed: u.seed}
	of.Digits = cmp.Or(u.options.Digits, p.Texts.Digits)
	var list []*question
	need, longest := 0, ""
	for _, category := range p.Categories {
		of.Category = category
		made, err := v.Generate(of)
		if err != nil {
			return nil, err
		}
		if n := made.Len(); n > need {
			need, longest = n, category
		}
		list = append(list, p.ask(m, u.seed, made, nil)...)
	}
	if have := m.Llama.Config().MaxPositions; need > have {
		return nil, fmt.Errorf("bench: %s has %d positions, and a task of %s with a context of %d tokens needs %d: want contexts of %d tokens or less", m.Name, have, longest, of.Length, need, of.Length-(need-have))
	}
	return list, nil
}

// ofFile returns the questions of a task of a file, one for each mode. The answer always has
// MaxTokens steps, so that every method keeps the budget over the same number of steps. Tokens
// after an end-of-text token are not scored.
func (t *texts) ofFile(p *Plan, m *Model, v *prompt.Vocabulary, one *longbench.Prompt) ([]*question, error) {
	context, asked, err := v.LongBench(one, t.templates, p.Length)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Texts.File, err)
	}
	made := &task.Task{Category: one.Category, Context: context, Question: asked, Steps: make([]task.Step, one.MaxTokens)}
	for i := range made.Steps {
		made.Steps[i].Token = -1
	}
	free := &freeAnswer{prompt: one, vocabulary: v, stop: m.Llama.Config().EOS}
	return p.ask(m, uint64(one.Line), made, free), nil
}

// ask returns the questions of a task, one for each mode.
func (p *Plan) ask(m *Model, seed uint64, t *task.Task, free *freeAnswer) []*question {
	var list []*question
	r := newReading(m, seed, t)
	for _, mode := range p.Modes {
		q := r.ask(mode, t, p.blockBytes(m))
		q.free = free
		list = append(list, q)
	}
	return list
}

// freeAnswer scores an answer by its text instead of token by token.
type freeAnswer struct {
	prompt     *longbench.Prompt
	vocabulary *prompt.Vocabulary
	stop       []int // end-of-text tokens
}

// ends reports whether a token ends the answer. It is false for a nil freeAnswer.
func (f *freeAnswer) ends(token int32) bool { return f != nil && slices.Contains(f.stop, int(token)) }

// score returns the answer up to the token that ends it, and the score of its text.
func (f *freeAnswer) score(answer []int32) ([]int32, float64, error) {
	if i := slices.IndexFunc(answer, f.ends); i >= 0 {
		answer = answer[:i]
	}
	text, err := f.vocabulary.Decode(answer)
	if err != nil {
		return nil, 0, err
	}
	return answer, f.prompt.Score(text), nil
}

// questions returns the questions of a unit in all its categories and modes.
func (b *Bench) questions(unit int) ([]*question, error) {
	u := b.Plan.unit(unit)
	if b.texts != nil {
		return b.texts.questions(&b.Plan, b.models[u.model], unit)
	}
	return b.Plan.questions(b.models[u.model], u.options)
}

// knobsOf returns the settings for the questions of a unit. Texts differ in length, so their
// settings are searched for each unit.
func (b *Bench) knobsOf(ctx context.Context, unit int, questions []*question) (*knobs, error) {
	name := b.Plan.unit(unit).model
	if b.texts == nil {
		return b.knobs[name], nil
	}
	return b.Plan.findKnobs(ctx, b.models[name], questions, map[knobKey]Knob{})
}
