package prompt_test

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kvcompress/bench/longbench"
	"kvcompress/bench/prompt"
	"kvcompress/bench/task"
	"kvcompress/internal/testsize"
	"kvcompress/trace/tokenizer"
)

// tokenizers loads one of each kind, and that of the stories model if ../shared/data
// exists.
func tokenizers(t testing.TB) map[string]tokenizer.Tokenizer {
	t.Helper()
	all := map[string]tokenizer.Tokenizer{}
	paths := []string{filepath.Join("..", "..", "..", "shared", "data", "model", "tok512.bin")}
	for _, name := range []string{"llama2", "llama3", "qwen2", "smollm", "metaspace"} {
		paths = append(paths, filepath.Join("..", "..", "trace", "tokenizer", "testdata", name))
	}
	for i, path := range paths {
		if _, err := os.Stat(path); i == 0 && err != nil {
			continue
		}
		loaded, err := tokenizer.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(path)] = loaded
	}
	return all
}

func ints(parts ...[]int32) []int {
	var all []int
	for _, p := range parts {
		for _, x := range p {
			all = append(all, int(x))
		}
	}
	return all
}

func decode(t testing.TB, tok tokenizer.Tokenizer, tokens []int32) string {
	t.Helper()
	text, err := tok.Decode(ints(tokens))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// With any tokenizer, the parts of a task are together the tokens of the whole text, and they
// decode to the expected sentences.
func TestGenerate(t *testing.T) {
	seeds := testsize.Of[uint64](1, 1, 3)
	for name, tok := range tokenizers(t) {
		v, err := prompt.New(tok)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for seed := range seeds {
			for _, o := range []prompt.Options{
				{Category: task.Needle, Length: 800},
				{Category: task.Needle, Length: 900, Digits: 64},
				{Category: task.Needle, Length: 1200, Digits: 7, Distractors: 4},
				{Category: task.MultiDoc, Length: 1000, Distractors: 1},
				{Category: task.Summary, Length: 1000, Distractors: 1},
				{Category: task.Synthetic, Length: 900, Digits: 6, Distractors: 3},
				{Category: task.SingleDoc, Length: 900, Digits: 6, Distractors: 2},
				{Category: task.FewShot, Length: 1000, Distractors: 2},
				{Category: task.Code, Length: 1000, Digits: 8, Distractors: 2},
			} {
				o.Seed = seed
				made, err := v.Generate(o)
				if err != nil {
					t.Fatalf("%s, %+v: %v", name, o, err)
				}
				if n := len(made.Context); n > o.Length || n < o.Length-200 {
					t.Errorf("%s, %+v: a context of %d tokens", name, o, n)
				}
				var steps []int32
				for _, s := range made.Steps {
					steps = append(steps, s.Token)
				}
				text := decode(t, tok, slices.Concat(made.Context, made.Question, steps))
				if again, err := tok.Encode(text); err != nil || !slices.Equal(again, ints(made.Context, made.Question, steps)) {
					t.Errorf("%s, %+v: the parts are not the tokens of %q (%v)", name, o, text, err)
				}
				check(t, name, tok, o, made)
			}
		}
	}
}

// check checks that the evidence has the answer and the question has not.
func check(t *testing.T, name string, tok tokenizer.Tokenizer, o prompt.Options, made *task.Task) {
	t.Helper()
	var evidence []string
	for _, e := range made.Evidence {
		evidence = append(evidence, strings.TrimSpace(decode(t, tok, made.Context[e.From:e.To])))
	}
	question := strings.TrimSpace(decode(t, tok, made.Question))
	var steps []int32
	for _, s := range made.Steps {
		steps = append(steps, s.Token)
	}
	// The sentences that the answer says, in its own words.
	said := strings.TrimSpace(decode(t, tok, slices.Concat(made.Question, steps)))
	if _, after, ok := strings.Cut(said, "? "); ok {
		said = after
	}
	want := strings.Split(said, ". ")
	switch o.Category {
	case task.Synthetic:
		code := last(strings.TrimSuffix(question, " is"))
		want = []string{"The code of " + last(said) + " is " + code}
	case task.FewShot:
		var examples []string
		for i, w := range want { // of the three examples of a word, two are right and one is wrong
			wrong := strings.TrimSuffix(evidence[3*i+2], ".")
			if kind := w[:strings.LastIndex(w, " ")]; !strings.HasPrefix(wrong, kind+" ") || wrong == w {
				t.Errorf("%s, %+v: the third example of %q is %q", name, o, w, wrong)
			}
			examples = append(examples, w, w, wrong)
		}
		want = examples
	case task.Summary:
		for i, e := range made.Evidence[1:] {
			if e.From < made.Evidence[i].To {
				t.Errorf("%s, %+v: the chapters are at %v", name, o, made.Evidence)
			}
		}
	}
	if got := strings.Join(evidence, " "); got != strings.Join(want, ". ")+"." {
		t.Errorf("%s, %+v: the evidence is %q, want %q", name, o, got, want)
	}
	if answer := last(strings.TrimSuffix(want[len(want)-1], ".")); o.Category != task.Synthetic && strings.Contains(question, answer) {
		t.Errorf("%s, %+v: the answer %q is in the question %q", name, o, answer, question)
	}
	if !(made.Chance > 0 && made.Chance < 1 && made.ChanceExact > 0 && made.ChanceExact < 0.01) {
		t.Errorf("%s, %+v: chance %v, exact %v", name, o, made.Chance, made.ChanceExact)
	}
	codes := map[string]int{task.Needle: 1, task.SingleDoc: 3, task.Code: 3}
	digits := o.Digits
	if digits == 0 {
		digits = 5
	}
	exact := math.Pow(10, -float64(codes[o.Category]*digits))
	if o.Category == task.FewShot {
		exact = 1. / (8 * 8 * 8) // of three words one of eight kinds each
	}
	if (codes[o.Category] > 0 || o.Category == task.FewShot) && math.Abs(made.ChanceExact/exact-1) > 1e-9 {
		t.Errorf("%s, %+v: all is right by a chance of %v, want %v", name, o, made.ChanceExact, exact)
	}
}

func last(text string) string {
	words := strings.Fields(text)
	return words[len(words)-1]
}

func TestDepth(t *testing.T) {
	tok := tokenizers(t)["llama3"]
	v, err := prompt.New(tok)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 11 {
		depth := float64(i) / 10
		made, err := v.Generate(prompt.Options{Category: task.Needle, Length: 2000, Depth: &depth})
		if err != nil {
			t.Fatal(err)
		}
		if at := float64(made.Evidence[0].From) / 2000; math.Abs(at-depth) > 0.06 {
			t.Errorf("depth %v: the needle begins at %.3f of the context", depth, at)
		}
	}
}

func TestErrors(t *testing.T) {
	v, err := prompt.New(tokenizers(t)["llama3"])
	if err != nil {
		t.Fatal(err)
	}
	deep := 2.0
	for _, c := range []struct {
		o    prompt.Options
		want string
	}{
		{prompt.Options{Category: "prose", Length: 100}, `prompt: category "prose" is not made of text`},
		{prompt.Options{Category: task.Needle}, "prompt: a context of 0 tokens: want 1 to 1048576"},
		{prompt.Options{Category: task.Needle, Length: 10}, "tokens, and the context has 10"},
		{prompt.Options{Category: task.Needle, Length: 100, Digits: 65}, "prompt: 65 digits: want 1 to 64"},
		{prompt.Options{Category: task.Needle, Length: 100, Digits: 1, Distractors: 9}, "too many for codes of 1 digits"},
		{prompt.Options{Category: task.Needle, Length: 100, Distractors: 65}, "prompt: 65 distractors: want 0 to 64"},
		{prompt.Options{Category: task.Summary, Length: 100, Chapters: 33}, "prompt: 33 chapters: want 1 to 32"},
		{prompt.Options{Category: task.Summary, Length: 100, Chapters: 32, Distractors: 64}, "prompt: 64 distractors and 32 chapters are too many for"},
		{prompt.Options{Category: task.Needle, Length: 100, Depth: &deep}, "prompt: a depth of 2: want 0 to 1"},
	} {
		if _, err := v.Generate(c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got error %v, want %q", c.o, err, c.want)
		}
	}
}

func TestLongBench(t *testing.T) {
	for name, tok := range tokenizers(t) {
		v, err := prompt.New(tok)
		if err != nil {
			t.Fatal(err)
		}
		var p *longbench.Prompt
		file := `{"dataset":"hotpotqa","input":"Who?","context":"` + strings.Repeat("She was there. ", 60) + `","answers":["she"]}`
		if err := longbench.Read(strings.NewReader(file), func(one *longbench.Prompt) error { p = one; return nil }); err != nil {
			t.Fatal(err)
		}
		context, question, err := v.LongBench(p, nil, 100_000)
		if err != nil {
			t.Fatal(err)
		}
		text := decode(t, tok, slices.Concat(context, question))
		if again, err := tok.Encode(text); err != nil || !slices.Equal(again, ints(context, question)) {
			t.Errorf("%s: the parts are not the tokens of the text (%v)", name, err)
		}
		if !strings.Contains(text, "there. \n\nAnswer with as few words as possible: Who?\nAnswer:") {
			t.Errorf("%s: the prompt is %q", name, text)
		}
		cut, again, err := v.LongBench(p, nil, len(question)+101)
		if err != nil || !slices.Equal(again, question) {
			t.Fatalf("%s: %v", name, err)
		}
		if want := slices.Concat(context[:51], context[len(context)-50:]); !slices.Equal(cut, want) {
			t.Errorf("%s: cut to %d tokens, and they are not the first 51 and the last 50", name, len(cut))
		}
		if _, _, err := v.LongBench(p, nil, 3); err == nil || !strings.Contains(err.Error(), "prompt: line 1: the question has") {
			t.Errorf("%s: got error %v", name, err)
		}
	}
}

// A template's wording is put around the context and the input, in which placeholders are not
// replaced. Datasets of LongBench-E use the templates of LongBench's.
func TestTemplates(t *testing.T) {
	tok := tokenizers(t)["llama3"]
	v, err := prompt.New(tok)
	if err != nil {
		t.Fatal(err)
	}
	templates, err := prompt.ReadTemplates(strings.NewReader(`{"lcc": "Code {x}: {context}{input}Next:", "qasper": "Q {input}. {context}\nQ {input}\nA:"}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ dataset, context, input, before, after string }{
		{"lcc_e", "{input} {context}", "y", "Code {x}: {input} {context}", "yNext:"},
		{"qasper", "c", "{context}", "Q {context}. c", "\nQ {context}\nA:"},
		{"hotpotqa", "c", "q", "Read the text.\n\nc", "\n\nAnswer with as few words as possible: q\nAnswer:"},
	} {
		p := &longbench.Prompt{Dataset: c.dataset, Context: c.context, Input: c.input, Category: task.SingleDoc}
		context, question, err := v.LongBench(p, templates, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if before, after := decode(t, tok, context), decode(t, tok, question); before != c.before || after != c.after {
			t.Errorf("%s: %q and %q, want %q and %q", c.dataset, before, after, c.before, c.after)
		}
	}
	for text, want := range map[string]string{
		"":                              "want an object with a text for each dataset",
		"{}":                            "there are none",
		`{"lcc": 1}`:                    "lcc: ",
		`{"lcc": "{input}"}`:            `"lcc": it has no {context}`,
		`{"lcc": "{context}{context}"}`: `"lcc": it has {context} twice`,
		`{"lcc": "{context}", "lcc": "{context}"}`:               "twice",
		`{"lcc": "{context}` + strings.Repeat(" ", 1<<20) + `"}`: "more than 1024 KiB",
	} {
		if _, err := prompt.ReadTemplates(strings.NewReader(text)); err == nil || !strings.HasPrefix(err.Error(), "prompt: templates: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: got error %v, want %q", text, err, want)
		}
	}
}

// With any file of templates the prompt has the whole context once.
func FuzzTemplates(f *testing.F) {
	v, err := prompt.New(tokenizers(f)["llama3"])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(`{"lcc": "{context}{input}Next:"}`, "a", "b")
	f.Add(`{"lcc": "{input}{context}"}`, "{input}", "{context}")
	f.Fuzz(func(t *testing.T, text, context, input string) {
		templates, err := prompt.ReadTemplates(strings.NewReader(text))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "prompt: templates: ") {
				t.Errorf("error %q does not say whose it is", err)
			}
			return
		}
		p := &longbench.Prompt{Dataset: "lcc", Context: context, Input: input, Category: task.Code}
		made, question, err := v.LongBench(p, templates, 200)
		if err == nil && (len(made) == 0 || len(made)+len(question) > 200) {
			t.Errorf("%d and %d tokens", len(made), len(question))
		}
	})
}

// fewWords is a tokenizer without words.
type fewWords struct{ tokenizer.Tokenizer }

func (fewWords) VocabSize() int { return 2 }

func TestFewWords(t *testing.T) {
	v, err := prompt.New(fewWords{tokenizers(t)["llama3"]})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Generate(prompt.Options{Category: task.Needle, Length: 100}); err == nil || !strings.Contains(err.Error(), "prompt: the tokenizer has 0 tokens that are words") {
		t.Errorf("got error %v", err)
	}
}
