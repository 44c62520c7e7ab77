package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvcompress/trace/record"
	"kvcompress/trace/tokenizer"
)

// requests returns what is to be recorded.
func (f *recordFlags) requests(stdin io.Reader, tok tokenizer.Tokenizer) ([]record.Prompt, error) {
	tokens, err := f.promptTokens(stdin, tok)
	if err != nil {
		return nil, err
	}
	n := len(tokens)
	if len(f.maxTokens) != 1 && len(f.maxTokens) != n {
		return nil, usagef("--max-tokens: %d numbers for %d requests; want 1 or %d", len(f.maxTokens), n, n)
	}
	arrivals, err := f.arrivalTimes(n)
	if err != nil {
		return nil, err
	}
	prompts := make([]record.Prompt, n)
	for i := range prompts {
		prompts[i] = record.Prompt{
			ID:        strconv.Itoa(i + 1),
			Tokens:    tokens[i],
			ArrivalNS: arrivals[i].Nanoseconds(),
			MaxOutput: f.maxTokens[min(i, len(f.maxTokens)-1)],
		}
		if prompts[i].MaxOutput < 1 {
			return nil, usagef("--max-tokens: %d: at least 1 token is generated", prompts[i].MaxOutput)
		}
	}
	return prompts, nil
}

func (f *recordFlags) promptTokens(stdin io.Reader, tok tokenizer.Tokenizer) ([][]int, error) {
	var tokens [][]int
	for _, list := range f.tokenIDs {
		ids, err := parseTokenIDs(list)
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, ids)
	}
	texts := f.prompts
	if f.promptsFile != "" {
		var err error
		if texts, err = readPrompts(f.promptsFile, stdin); err != nil {
			return nil, fmt.Errorf("--prompts: %w", err)
		}
	}
	for i, text := range texts {
		ids, err := tok.Encode(text)
		if err != nil {
			return nil, fmt.Errorf("prompt %d: %w", i+1, err)
		}
		if len(ids) == 0 {
			return nil, usagef("prompt %d is empty", i+1)
		}
		tokens = append(tokens, ids)
	}
	return tokens, nil
}

func parseTokenIDs(list string) ([]int, error) {
	var ids []int
	for _, field := range strings.Split(list, ",") {
		id, err := strconv.Atoi(strings.TrimSpace(field))
		if err != nil {
			return nil, usagef("--token-ids: %q is not a number", field)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// maxPromptLine bounds a line of a file of prompts, in bytes.
const maxPromptLine = 1 << 20

// readPrompts returns the lines of a file that are not blank.
func readPrompts(path string, stdin io.Reader) ([]string, error) {
	r := stdin
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		r = file
	}
	var prompts []string
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxPromptLine)
	for lines.Scan() {
		if strings.TrimSpace(lines.Text()) != "" {
			prompts = append(prompts, lines.Text())
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("line after prompt %d: %w", len(prompts), err)
	}
	if len(prompts) == 0 {
		return nil, usagef("%s has no prompt", path)
	}
	return prompts, nil
}

// arrivalTimes returns when each of n requests arrives.
func (f *recordFlags) arrivalTimes(n int) ([]time.Duration, error) {
	if len(f.arrival) > 0 {
		switch {
		case len(f.arrival) != n:
			return nil, usagef("--arrival: %d times for %d requests", len(f.arrival), n)
		case f.arrival[0] < 0:
			return nil, usagef("--arrival: %v is before 0", f.arrival[0])
		case !slices.IsSorted(f.arrival):
			return nil, usagef("--arrival: the times are not in ascending order")
		}
		return f.arrival, nil
	}
	times := make([]time.Duration, n)
	if f.arrivals == "" {
		return times, nil
	}
	rule, value, _ := strings.Cut(f.arrivals, ":")
	if rule != "fixed" {
		return nil, usagef("--arrivals: %q: want fixed:INTERVAL, such as fixed:50ms", f.arrivals)
	}
	interval, err := time.ParseDuration(value)
	if err != nil || interval < 0 || interval > 24*time.Hour {
		return nil, usagef("--arrivals: %q: want an interval from 0 to 24h, such as 50ms", value)
	}
	for i := range times {
		times[i] = time.Duration(i) * interval
	}
	return times, nil
}

// sourceDescription is what the trace says about where it comes from: the given
// text, and the command line with the names of files but not where they lay.
func (f *recordFlags) sourceDescription(cmd *cobra.Command) string {
	var b strings.Builder
	if f.description != "" {
		b.WriteString(f.description + "; ")
	}
	b.WriteString("recorded by: " + cmd.CommandPath())
	cmd.Flags().Visit(func(flag *pflag.Flag) {
		switch flag.Name {
		case "description", "licence", "json":
			return
		}
		for _, value := range flagValues(flag) {
			switch flag.Name {
			case "model", "tokenizer", "prompts", "output":
				value = filepath.Base(filepath.Clean(value))
			}
			b.WriteString(" --" + flag.Name)
			if flag.Value.Type() != "bool" {
				b.WriteString(" " + shellWord(value))
			}
		}
	})
	return b.String()
}

// flagValues returns a flag's value, or those of one that may be repeated.
func flagValues(flag *pflag.Flag) []string {
	list, ok := flag.Value.(pflag.SliceValue)
	switch {
	case !ok:
		return []string{flag.Value.String()}
	case flag.Value.Type() == "stringArray":
		return list.GetSlice()
	}
	return []string{strings.Join(list.GetSlice(), ",")}
}

// shellWord quotes a value as a shell wants it, and cuts one that is long.
func shellWord(s string) string {
	const most = 200
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-_./,:=", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
