package longbench_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"kvcompress/bench/longbench"
)

func read(text string) ([]*longbench.Prompt, error) {
	var all []*longbench.Prompt
	err := longbench.Read(strings.NewReader(text), func(p *longbench.Prompt) error {
		all = append(all, p)
		return nil
	})
	return all, err
}

func TestRead(t *testing.T) {
	all, err := read("\ufeff" + `{"input": "Who?", "context": "It was she.", "answers": ["she", "She was"], "length": 3, "dataset": "hotpotqa_e", "language": "en", "all_classes": null, "_id": "x1"}` + "\n\n" +
		`{"input": "", "context": "c", "answers": ["Paragraph 3"], "dataset": "passage_retrieval_en"}` + "\r\n" +
		`{"input": "q", "context": "c", "answers": ["dog"], "dataset": "trec", "all_classes": ["dog", "cat"]}` + "\n" +
		`{"input": "q", "context": "c", "answers": ["x"], "dataset": "mine", "metric": "edit_sim", "category": "code", "max_tokens": 9}`)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{
		"1 x1 hotpotqa_e multi-doc qa_f1 32 false",
		"3  passage_retrieval_en synthetic retrieval 32 false",
		"4  trec few-shot classification 64 true",
		"5  mine code edit_sim 9 false",
	} {
		p := all[i]
		if got := fmt.Sprint(p.Line, " ", p.ID, " ", p.Dataset, " ", p.Category, " ", p.Metric, " ", p.MaxTokens, " ", p.FirstLine); got != want {
			t.Errorf("task %d is %s, want %s", i, got, want)
		}
	}
	for i, c := range []struct {
		prediction string
		want       float64
	}{
		{"she was", 1}, // the better of two answers
		{"It is in 3 or 4", 0.5},
		{"\ndog\ncat", 1}, // the first line
		{"x", 1},
	} {
		if got := all[i].Score(c.prediction); got != c.want {
			t.Errorf("task %d: %q scores %v, want %v", i, c.prediction, got, c.want)
		}
	}
}

func TestReadErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "longbench: there are no tasks"},
		{"\n\n", "longbench: there are no tasks"},
		{"{}", "longbench: line 1: dataset: there is no dataset \"\": want one of narrativeqa,"},
		{"\n[1]", "longbench: line 2:"},
		{"{\"dataset\":\"qasper\",\"context\":\"\xff\"}", "longbench: line 1: it is not UTF-8"},
		{`{"dataset":"qasper","answers":["x"],"input":1}`, "longbench: line 1: input:"},
		{`{"dataset":"qasper","answers":["x"]}`, "longbench: line 1: context: it is missing"},
		{`{"dataset":"qasper","context":"c"}`, "longbench: line 1: answers: there are none"},
		{`{"dataset":"qasper","context":"c","answers":"x"}`, "longbench: line 1: answers:"},
		{`{"dataset":"qasper","context":"c","answers":["x"],"answers":["y"]}`, "longbench: line 1:"},
		{`{"dataset":"trec","context":"c","answers":["x"],"all_classes":null}`, "longbench: line 1: all_classes: there are none"},
		{`{"dataset":"passage_retrieval_en","context":"c","answers":["7"]}`, `longbench: line 1: answers[0]: "7" has no number after "Paragraph "`},
		{`{"dataset":"dureader","context":"c","answers":["x"]}`, "longbench: line 1: dataset: \"dureader\" cannot be scored here: its Chinese texts must be cut into words"},
		{`{"dataset":"mine","context":"c","answers":["x"],"metric":"bleu"}`, `longbench: line 1: metric: there is no "bleu": want one of qa_f1,`},
		{`{"dataset":"qasper","context":"c","answers":["x"],"category":"poetry"}`, `longbench: line 1: category: there is no "poetry"`},
		{`{"dataset":"qasper","context":"c","answers":["x"],"max_tokens":-1}`, "longbench: line 1: max_tokens: -1: want 1 to 4096"},
		{`{"dataset":"qasper","context":"c","answers":["` + strings.Repeat("x", 1<<15+1) + `"]}`, "longbench: line 1: answers[0]: 32769 bytes: want at most 32768"},
		{`{"dataset":"qasper","context":"c","answers":["x"` + strings.Repeat(`,"x"`, 256) + `]}`, "longbench: line 1: answers: there are 257: want at most 256"},
		{`{"dataset":"qasper","context":"c","answers":["` + strings.Repeat(strings.Repeat("x", 1<<15)+`","`, 3) + `"]}`, "longbench: line 1: answers: they have more than 65536 bytes together"},
		{"\n" + strings.Repeat(" ", 17<<20), "longbench: line 2: longer than 16 MiB"},
	} {
		if _, err := read(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.80q: got error %v, want %q", c.text, err, c.want)
		}
	}
	stop := errors.New("stop")
	err := longbench.Read(strings.NewReader(`{"dataset":"qasper","context":"c","answers":["x"]}`), func(*longbench.Prompt) error { return stop })
	if !errors.Is(err, stop) {
		t.Errorf("got error %v, want that of visit", err)
	}
}

// Tasks of any file are within bounds, and any answer has a score in [0, 1]. By most metrics the
// right answer has score 1.
func FuzzRead(f *testing.F) {
	f.Add(`{"dataset":"qasper","context":"c","answers":["x"]}`, "x")
	f.Add(`{"dataset":"trec","context":"c","answers":["x"],"all_classes":["x","y"]}`, "x y")
	f.Add(`{"dataset":"gov_report","context":"c","answers":["a b. c"]}`, "a. b c")
	f.Add(`{"dataset":"lcc","context":"c","answers":["return x"]}`, "# \nreturn")
	f.Add(`{"dataset":"passage_retrieval_zh","context":"c","answers":["段落7"]}`, "7")
	f.Fuzz(func(t *testing.T, text, prediction string) {
		if len(text) > 1<<12 || len(prediction) > 1<<10 {
			return
		}
		all, err := read(text)
		if err != nil && !strings.HasPrefix(err.Error(), "longbench: ") {
			t.Errorf("error %q does not say whose it is", err)
		}
		for _, p := range all {
			if s := p.Score(prediction); !(s >= 0 && s <= 1) {
				t.Errorf("%q scores %v by %s", prediction, s, p.Metric)
			}
			switch p.Metric {
			case longbench.MetricEditSimilarity:
				if s := p.Score(p.Answers[0]); s != 1 && !p.FirstLine {
					t.Errorf("the right answer %q scores %v by %s", p.Answers[0], s, p.Metric)
				}
			}
		}
	})
}

func ExampleRead() {
	file := `{"dataset": "hotpotqa", "input": "Where was she born?", "context": "She was born in Ulm.", "answers": ["Ulm"], "_id": "7"}`
	err := longbench.Read(strings.NewReader(file), func(p *longbench.Prompt) error {
		fmt.Println(p.ID, p.Category, p.Metric)
		fmt.Printf("%.2f\n", p.Score("In Ulm."))
		return nil
	})
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// 7 multi-doc qa_f1
	// 0.67
}
