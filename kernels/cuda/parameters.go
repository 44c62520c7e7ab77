package cuda

import (
	"errors"
	"fmt"
	"strings"
)

// parameters returns the number of an entry point's parameters; each must fit in an Arg. The driver does not
// report it, so this parses the entry point's head in the PTX text.
func parameters(ptx []byte, entry string) (int, error) {
	text := withoutComments(string(ptx))
	for {
		_, after, ok := strings.Cut(text, ".entry")
		if !ok {
			return 0, fmt.Errorf("there is no entry point %s", entry)
		}
		text = after
		name := strings.TrimLeft(after, " \t\r\n")
		if !strings.HasPrefix(name, entry) {
			continue
		}
		rest := strings.TrimLeft(name[len(entry):], " \t\r\n")
		if rest == "" || !strings.Contains("({.", rest[:1]) {
			continue // a longer name
		}
		if rest[0] != '(' {
			return 0, nil
		}
		list, _, ok := strings.Cut(rest[1:], ")")
		if !ok {
			return 0, errors.New("unterminated parameter list")
		}
		if strings.Contains(list, "[") {
			return 0, fmt.Errorf("%s has an array parameter, which is not supported", entry)
		}
		return strings.Count(list, ".param"), nil
	}
}

// withoutComments replaces the comments of a text by spaces.
func withoutComments(text string) string {
	var b strings.Builder
	for {
		start := strings.IndexByte(text, '/')
		if start < 0 || start+1 == len(text) {
			b.WriteString(text)
			return b.String()
		}
		b.WriteString(text[:start])
		end := map[byte]string{'/': "\n", '*': "*/"}[text[start+1]]
		if end == "" {
			b.WriteByte('/')
			text = text[start+1:]
			continue
		}
		_, text, _ = strings.Cut(text[start+2:], end)
		b.WriteByte('\n')
	}
}
