package tokenizer

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// decoder converts tokens to text.
type decoder func(tokens []string) (string, error)

// decodeStep is a stage of a decoder. It rewrites or joins tokens.
type decodeStep func(tokens []string) ([]string, error)

func (b *builder) decoder(c *component) (decoder, error) {
	if c == nil {
		return func(tokens []string) (string, error) { return strings.Join(tokens, " "), nil }, nil
	}
	step, err := b.decodeStep(c)
	if err != nil {
		return nil, err
	}
	return func(tokens []string) (string, error) {
		tokens, err := step(tokens)
		return strings.Join(tokens, ""), err
	}, nil
}

func (b *builder) decodeStep(c *component) (decodeStep, error) {
	kind, err := b.enter(c)
	if err != nil {
		return nil, err
	}
	switch kind {
	case "Sequence":
		return b.decodeSteps(c.Decoders)
	case "ByteLevel":
		return byteLevelDecoder(), nil
	case "ByteFallback":
		return decodeByteFallback, nil
	case "Fuse":
		return func(tokens []string) ([]string, error) { return []string{strings.Join(tokens, "")}, nil }, nil
	case "Metaspace":
		return metaspaceDecoder(c)
	case "Replace":
		if c.Pattern.String == nil {
			return nil, errUnsupported("Replace of a regular expression")
		}
		return rewriteEach(func(_ int, token string) (string, error) {
			return replace(token, *c.Pattern.String, c.Content)
		}), nil
	case "Strip":
		if utf8.RuneCountInString(c.Content) != 1 {
			return nil, fmt.Errorf("content: %q is not one character", c.Content)
		}
		return rewriteEach(func(_ int, token string) (string, error) {
			for i := 0; i < c.Start && strings.HasPrefix(token, c.Content); i++ {
				token = token[len(c.Content):]
			}
			for i := 0; i < c.Stop && strings.HasSuffix(token, c.Content); i++ {
				token = token[:len(token)-len(c.Content)]
			}
			return token, nil
		}), nil
	case "":
		return nil, fmt.Errorf("empty")
	}
	return nil, unsupportedType(c)
}

func (b *builder) decodeSteps(components []*component) (decodeStep, error) {
	var steps []decodeStep
	for i, c := range components {
		step, err := b.decodeStep(c)
		if err != nil {
			return nil, fmt.Errorf("%d: %w", i, err)
		}
		steps = append(steps, step)
	}
	return func(tokens []string) ([]string, error) {
		var err error
		for _, step := range steps {
			if tokens, err = step(tokens); err != nil {
				return nil, err
			}
		}
		return tokens, nil
	}, nil
}

// rewriteEach returns a step that rewrites each token by itself.
func rewriteEach(rewrite func(i int, token string) (string, error)) decodeStep {
	return func(tokens []string) ([]string, error) {
		out := make([]string, len(tokens))
		total := 0
		for i, token := range tokens {
			var err error
			if out[i], err = rewrite(i, token); err != nil {
				return nil, err
			}
			total += len(out[i])
			if err := checkLength(total); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
}

func byteLevelDecoder() decodeStep {
	byteOf := map[rune]byte{}
	for b, r := range byteRunes() {
		byteOf[r] = byte(b)
	}
	return func(tokens []string) ([]string, error) {
		var text []byte
		for _, token := range tokens {
			text = runesToBytes(text, token, byteOf)
		}
		return []string{string(text)}, nil
	}
}

func metaspaceDecoder(c *component) (decodeStep, error) {
	space, scheme, err := metaspace(c)
	if err != nil {
		return nil, err
	}
	return rewriteEach(func(i int, token string) (string, error) {
		if i == 0 && scheme != "never" {
			return strings.ReplaceAll(token, space, ""), nil
		}
		return strings.ReplaceAll(token, space, " "), nil
	}), nil
}

// decodeByteFallback joins adjacent byte tokens, <0x00> to <0xFF>, into characters.
// If the bytes are not valid UTF-8, each becomes U+FFFD.
func decodeByteFallback(tokens []string) ([]string, error) {
	var out []string
	var pending []byte
	flush := func() {
		switch {
		case len(pending) == 0:
		case utf8.Valid(pending):
			out = append(out, string(pending))
		default:
			out = append(out, strings.Repeat("\uFFFD", len(pending)))
		}
		pending = pending[:0]
	}
	for _, token := range tokens {
		if b, ok := parseByteToken(token); ok {
			pending = append(pending, b)
			continue
		}
		flush()
		out = append(out, token)
	}
	flush()
	return out, nil
}

func parseByteToken(token string) (byte, bool) {
	if len(token) != len("<0x00>") || !strings.HasPrefix(token, "<0x") || token[5] != '>' {
		return 0, false
	}
	b, err := strconv.ParseUint(token[3:5], 16, 8)
	return byte(b), err == nil
}
