package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvcompress/internal/words"
	"kvcompress/strictjson"
	"kvcompress/trace"
	"kvcompress/trace/record"
	"kvcompress/trace/regular"
	"kvcompress/trace/tokenizer"
)

// promptSource has the prompts: token ids or texts.
type promptSource struct {
	ids   [][]int
	texts []string
}

func (p *promptSource) len() int { return len(p.ids) + len(p.texts) }

// readPrompts reads the prompts of --prompt, --prompts or --token-ids.
func (f *recordFlags) readPrompts(stdin io.Reader) (*promptSource, error) {
	p := &promptSource{texts: f.prompts}
	for _, list := range f.tokenIDs {
		ids, err := readTokenIDs("--token-ids", list, stdin)
		if err != nil {
			return nil, err
		}
		p.ids = append(p.ids, ids)
	}
	if f.promptsFile == "" {
		return p, nil
	}
	var err error
	p.texts, err = readPromptLines(f.promptsFile, stdin)
	return p, err
}

// encode sets the tokens of the requests.
func (p *promptSource) encode(requests []record.Prompt, tok tokenizer.Tokenizer) ([]record.Prompt, error) {
	tokens := p.ids
	for i, text := range p.texts {
		ids, err := tok.Encode(text)
		if err != nil {
			return nil, fmt.Errorf("prompt %d: %w", i+1, err)
		}
		if len(ids) == 0 {
			return nil, usagef("prompt %d is empty", i+1)
		}
		tokens = append(tokens, ids)
	}
	for i := range requests {
		requests[i].Tokens = tokens[i]
	}
	return requests, nil
}

// requests returns n requests, still without their tokens.
func (f *recordFlags) requests(n int) ([]record.Prompt, error) {
	if len(f.maxTokens) != 1 && len(f.maxTokens) != n {
		return nil, usagef("--max-tokens: %s for %s; want 1, or one for each", words.Count(len(f.maxTokens), "number"), words.Count(n, "request"))
	}
	arrivals, err := f.arrivalTimes(n)
	if err != nil {
		return nil, err
	}
	requests := make([]record.Prompt, n)
	for i := range requests {
		requests[i] = record.Prompt{
			ID:        strconv.Itoa(i + 1),
			ArrivalNS: arrivals[i].Nanoseconds(),
			MaxOutput: f.maxTokens[min(i, len(f.maxTokens)-1)],
		}
		if requests[i].MaxOutput < 1 {
			return nil, usagef("--max-tokens %d: want at least 1", requests[i].MaxOutput)
		}
	}
	return requests, nil
}

// openInput opens a file, or standard input if its name is "-". Pipes can only be read so.
func openInput(path string, stdin io.Reader) (r io.Reader, closeFile func() error, err error) {
	if path == "-" {
		return stdin, func() error { return nil }, nil
	}
	f, err := regular.OpenFile(path)
	if errors.Is(err, regular.ErrNotRegular) {
		err = fmt.Errorf("%w; - is standard input", err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, f.Close, nil
}

// maxTokenIDs bounds a file of token ids, in bytes: some millions of them.
const maxTokenIDs = 16 << 20

// readTokenIDs returns the ids of a flag's list or, if it begins with @, of the file that
// it names.
func readTokenIDs(flag, list string, stdin io.Reader) ([]int, error) {
	path, isFile := strings.CutPrefix(list, "@")
	if !isFile {
		return parseTokenIDs(flag, list)
	}
	r, closeFile, err := openInput(path, stdin)
	if err != nil {
		return nil, usagef("%s: %w", flag, err)
	}
	defer closeFile()
	text, err := regular.ReadAll(r, maxTokenIDs)
	if err != nil {
		return nil, usagef("%s: %s: %w", flag, path, err)
	}
	return parseTokenIDs(flag+": "+path, string(text))
}

// parseTokenIDs reads ids separated by commas, spaces or line ends. from names their source in
// errors.
func parseTokenIDs(from, list string) ([]int, error) {
	var ids []int
	for field := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ',' || unicode.IsSpace(r) }) {
		id, err := strconv.Atoi(field)
		if err != nil {
			return nil, usagef("%s: %q is not a number", from, strictjson.Excerpt(field))
		}
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return nil, usagef("%s: there are no ids", from)
	}
	return ids, nil
}

// maxPromptLine bounds a line of a file of prompts, in bytes.
const maxPromptLine = 1 << 20

// readPromptLines returns the lines of a file that are not blank.
func readPromptLines(path string, stdin io.Reader) ([]string, error) {
	r, closeFile, err := openInput(path, stdin)
	if err != nil {
		return nil, usagef("--prompts: %w", err)
	}
	defer closeFile()
	var prompts []string
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxPromptLine)
	for lines.Scan() {
		if strings.TrimSpace(lines.Text()) != "" {
			prompts = append(prompts, lines.Text())
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: line after prompt %d: %w", path, len(prompts), err)
	}
	if len(prompts) == 0 {
		return nil, usagef("--prompts: %s has no prompt", path)
	}
	return prompts, nil
}

// arrivalTimes returns when each of n requests arrives.
func (f *recordFlags) arrivalTimes(n int) ([]time.Duration, error) {
	if len(f.arrival) > 0 {
		switch {
		case len(f.arrival) != n:
			return nil, usagef("--arrival: %s for %s", words.Count(len(f.arrival), "time"), words.Count(n, "request"))
		case f.arrival[0] < 0:
			return nil, usagef("--arrival: %v is before 0", f.arrival[0])
		case !slices.IsSorted(f.arrival):
			return nil, usagef("--arrival: the times are not in ascending order")
		}
		return f.arrival, nil
	}
	arrivals, err := parseArrivals(f.arrivals)
	if err != nil {
		return nil, usagef("--arrivals: %w", err)
	}
	one := trace.Range{Low: 1, High: 1}
	drawn, err := trace.Load{Seed: f.sampling.Seed, Requests: n, Prompt: one, Output: one, Arrivals: arrivals}.Generate()
	if err != nil {
		return nil, usagef("--arrivals: %w", err)
	}
	times := make([]time.Duration, n)
	for i, r := range drawn {
		times[i] = time.Duration(r.ArrivalNS)
	}
	return times, nil
}

// sourceDescription returns the text about the source for the trace to keep: that of
// --description, and the command line with the names of files without their folders.
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
			case "model", "tokenizer", "prompts", "out":
				value = folderName(value)
			case "token-ids":
				if path, isFile := strings.CutPrefix(value, "@"); isFile {
					value = "@" + folderName(path)
				}
			}
			b.WriteString(" --" + flag.Name)
			if flag.Value.Type() != "bool" {
				b.WriteString(" " + shellWord(value))
			}
		}
	})
	return b.String()
}

// flagValues returns a flag's value, or the values of a flag that may be repeated.
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

// shellWord returns a value quoted for a shell, and cut if it is long.
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
