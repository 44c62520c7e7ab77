package tokenizer

import (
	"fmt"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// normalizer rewrites a text.
type normalizer func(text string) (string, error)

func (b *builder) normalizer(c *component) (normalizer, error) {
	kind, err := b.enter(c)
	if err != nil {
		return nil, err
	}
	switch kind {
	case "":
		return func(text string) (string, error) { return text, nil }, nil
	case "Sequence":
		return b.normalizers(c.Normalizers)
	case "Prepend":
		return func(text string) (string, error) {
			if text == "" {
				return "", nil
			}
			return c.Prepend + text, checkLength(len(c.Prepend) + len(text))
		}, nil
	case "Replace":
		if c.Pattern.Regex != nil {
			return replaceRegex(*c.Pattern.Regex, c.Content)
		}
		if c.Pattern.String == nil {
			return nil, fmt.Errorf("pattern: missing")
		}
		return func(text string) (string, error) { return replace(text, *c.Pattern.String, c.Content) }, nil
	case "NFC", "NFD", "NFKC", "NFKD":
		form := map[string]norm.Form{"NFC": norm.NFC, "NFD": norm.NFD, "NFKC": norm.NFKC, "NFKD": norm.NFKD}[kind]
		return func(text string) (string, error) {
			text = form.String(text)
			return text, checkLength(len(text))
		}, nil
	}
	return nil, unsupportedType(c)
}

func (b *builder) normalizers(components []*component) (normalizer, error) {
	var steps []normalizer
	for i, c := range components {
		step, err := b.normalizer(c)
		if err != nil {
			return nil, fmt.Errorf("%d: %w", i, err)
		}
		steps = append(steps, step)
	}
	return func(text string) (string, error) {
		var err error
		for _, step := range steps {
			if text, err = step(text); err != nil {
				return "", err
			}
		}
		return text, nil
	}, nil
}

// replace is [strings.ReplaceAll] with a bound on the size of the result, which a file
// could otherwise make arbitrarily large.
func replace(text, old, replacement string) (string, error) {
	grown := len(text) + strings.Count(text, old)*(len(replacement)-len(old))
	if err := checkLength(grown); err != nil {
		return "", err
	}
	return strings.ReplaceAll(text, old, replacement), nil
}

// replaceRegex returns a normalizer that replaces all matches of a regular expression.
func replaceRegex(expression, replacement string) (normalizer, error) {
	find, err := findRegex(expression)
	if err != nil {
		return nil, fmt.Errorf("pattern: %w", err)
	}
	return func(text string) (string, error) {
		spans, err := find(text)
		if err != nil {
			return "", err
		}
		var b strings.Builder
		for _, s := range spans {
			switch {
			case !s.match:
				b.WriteString(text[s.from:s.to])
			default:
				b.WriteString(replacement)
			}
			if err := checkLength(b.Len()); err != nil {
				return "", err
			}
		}
		return b.String(), nil
	}, nil
}

func checkLength(n int) error {
	if n > maxText {
		return fmt.Errorf("the text grew to %d bytes, no more than %d are allowed", n, maxText)
	}
	return nil
}
