package main

import (
	"github.com/spf13/cobra"

	"kvcompress/bench"
	"kvcompress/bench/task"
)

// taskFlags say which tasks a bench runs.
type taskFlags struct {
	tasks string
	texts bench.Texts
}

// The values of --tasks that are not files.
const (
	recallTasks = "recall"
	madeTasks   = "text"
)

// The help of --tasks for what is made.
const madeHelp = recallTasks + " (the bundled models' vocabulary), " + madeTasks + " (made of words of the model's tokenizer)"

func (f *taskFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.tasks, "tasks", recallTasks, "the `tasks`: "+madeHelp+", or a FILE.jsonl in LongBench's form")
	fs.StringVar(&f.texts.Templates, "template", "", "`file` with the wording of each dataset, such as LongBench's dataset2prompt.json (default: our own)")
	fs.IntVar(&f.texts.MaxTokens, "max-tokens", 0, "`tokens` of each answer, with tasks of a file (default: the dataset's number)")
	fs.IntVar(&f.texts.Digits, "digits", 0, "`digits` of a code, with --tasks text, up to 64 (default 5)")
	f.addMade(cmd)
}

// addNeedle adds the flags of needles.
func (f *taskFlags) addNeedle(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.tasks, "tasks", recallTasks, "the `tasks`: "+madeHelp)
	f.addMade(cmd)
}

// addMade adds the flags of made texts.
func (f *taskFlags) addMade(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.IntVar(&f.texts.Distractors, "distractors", 0, "other `words` with facts of the same form, with --tasks text, up to 64")
	fs.StringVar(&f.texts.Tokenizer, "tokenizer", "", "`path` of a tokenizer.bin or tokenizer.json (default: the one in the model's folder)")
}

// apply sets the tasks of the plan. changed reports whether a flag was given.
func (f *taskFlags) apply(p *bench.Plan, changed func(flag string) bool) error {
	texts := f.texts
	switch f.tasks {
	case recallTasks:
		for _, flag := range []string{"template", "max-tokens", "digits", "distractors", "tokenizer"} {
			if changed(flag) && !(flag == "digits" && p.Grid != nil) {
				return usagef("--%s is for tasks of text: --tasks %s, or a FILE.jsonl", flag, madeTasks)
			}
		}
		return nil
	case madeTasks:
	default:
		if p.Grid != nil {
			return usagef("--tasks %s: want %s or %s", f.tasks, recallTasks, madeTasks)
		}
		texts.File = f.tasks
		if !changed("length") {
			p.Length = 0
		}
		if changed("prompts") && p.Prompts > 0 {
			texts.Each = p.Prompts
		}
		if !changed("categories") {
			p.Categories = task.Categories()
		}
	}
	if !changed("models") {
		return usagef("--tasks %s needs --models: folders of models with tokenizers; the bundled ones have none", f.tasks)
	}
	p.Texts = &texts
	if err := p.Check(); err != nil {
		return usageError{err}
	}
	return p.ReadTexts()
}

// taskNames returns the tasks of a plan, in words.
func taskNames(p *bench.Plan) string {
	switch {
	case p.Texts == nil:
		return recallTasks
	case p.Texts.File == "":
		return madeTasks
	}
	return p.Texts.File
}
