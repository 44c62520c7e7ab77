package tokenizer

import (
	"fmt"
	"strings"
	"unicode"
)

// piece is a part of a text. No token spans two pieces.
type piece struct {
	text  string
	first bool // it is at the beginning of the text passed to Encode
}

// preTokenizer cuts pieces into smaller ones.
type preTokenizer func(pieces []piece) ([]piece, error)

// gpt2Pattern is GPT-2's pattern for cutting a text into pieces, the default of
// ByteLevel.
const gpt2Pattern = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

func (b *builder) preTokenizer(c *component) (preTokenizer, error) {
	kind, err := b.enter(c)
	if err != nil {
		return nil, err
	}
	switch kind {
	case "":
		return func(pieces []piece) ([]piece, error) { return pieces, nil }, nil
	case "Sequence":
		return b.preTokenizers(c.PreTokenizers)
	case "Split":
		return splitComponent(c)
	case "Digits":
		behaviour := contiguous
		if c.IndividualDigits {
			behaviour = isolated
		}
		return cut(findRunes(unicode.IsNumber), behaviour), nil
	case "ByteLevel":
		return byteLevelPreTokenizer(c)
	case "Metaspace":
		return metaspacePreTokenizer(c)
	}
	return nil, unsupportedType(c)
}

func (b *builder) preTokenizers(components []*component) (preTokenizer, error) {
	var steps []preTokenizer
	for i, c := range components {
		step, err := b.preTokenizer(c)
		if err != nil {
			return nil, fmt.Errorf("%d: %w", i, err)
		}
		steps = append(steps, step)
	}
	return inTurn(steps...), nil
}

func inTurn(steps ...preTokenizer) preTokenizer {
	return func(pieces []piece) ([]piece, error) {
		var err error
		for _, step := range steps {
			if pieces, err = step(pieces); err != nil {
				return nil, err
			}
		}
		return pieces, nil
	}
}

// each returns a preTokenizer that rewrites each piece without cutting it.
func each(rewrite func(p piece) string) preTokenizer {
	return func(pieces []piece) ([]piece, error) {
		total := 0
		for i, p := range pieces {
			pieces[i].text = rewrite(p)
			total += len(pieces[i].text)
			if err := checkLength(total); err != nil {
				return nil, err
			}
		}
		return pieces, nil
	}
}

func splitComponent(c *component) (preTokenizer, error) {
	behaviour, err := parseBehaviour(c.Behavior)
	if err != nil {
		return nil, fmt.Errorf("behavior: %w", err)
	}
	var find finder
	switch {
	case c.Pattern.Regex != nil:
		if find, err = findRegex(*c.Pattern.Regex); err != nil {
			return nil, fmt.Errorf("pattern: %w", err)
		}
	case c.Pattern.String != nil && *c.Pattern.String != "":
		find = findString(*c.Pattern.String)
	default:
		return nil, fmt.Errorf("pattern: missing")
	}
	if c.Invert {
		find = inverted(find)
	}
	return cut(find, behaviour), nil
}

func byteLevelPreTokenizer(c *component) (preTokenizer, error) {
	var steps []preTokenizer
	if or(c.AddPrefixSpace, true) {
		steps = append(steps, each(func(p piece) string {
			if strings.HasPrefix(p.text, " ") {
				return p.text
			}
			return " " + p.text
		}))
	}
	if or(c.UseRegex, true) {
		find, err := findRegex(gpt2Pattern)
		if err != nil {
			return nil, err
		}
		steps = append(steps, cut(find, isolated))
	}
	steps = append(steps, each(func(p piece) string { return bytesToRunes(p.text) }))
	return inTurn(steps...), nil
}

// metaspacePreTokenizer replaces spaces by a visible character, as SentencePiece
// does, and puts one before the text if the component says so.
func metaspacePreTokenizer(c *component) (preTokenizer, error) {
	space, scheme, err := metaspace(c)
	if err != nil {
		return nil, err
	}
	visible := each(func(p piece) string {
		text := strings.ReplaceAll(p.text, " ", space)
		if !strings.HasPrefix(text, space) && (scheme == "always" || scheme == "first" && p.first) {
			text = space + text
		}
		return text
	})
	if !or(c.Split, true) {
		return visible, nil
	}
	return inTurn(visible, cut(findString(space), mergedWithNext)), nil
}

// metaspace returns the character that replaces a space, and the scheme for putting one
// before a piece: always, first (before the first piece only) or never.
func metaspace(c *component) (space, scheme string, err error) {
	space, scheme = c.Replacement, c.PrependScheme
	if len([]rune(space)) != 1 {
		return "", "", fmt.Errorf("replacement: %q is not one character", space)
	}
	if scheme == "" {
		scheme = "never"
		if or(c.AddPrefixSpace, true) {
			scheme = "always"
		}
	}
	switch scheme {
	case "always", "first":
		if !or(c.AddPrefixSpace, true) {
			return "", "", fmt.Errorf("prepend_scheme: %q contradicts add_prefix_space, which is false", scheme)
		}
		return space, scheme, nil
	case "never":
		return space, scheme, nil
	}
	return "", "", errUnsupported("prepend_scheme %q", scheme)
}
