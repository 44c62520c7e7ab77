package tokenizer

import (
	"fmt"
	"slices"
)

// postProcessor adds the tokens that begin and end a text.
type postProcessor func(ids []int) []int

func (b *builder) postProcessor(c *component) (postProcessor, error) {
	kind, err := b.enter(c)
	if err != nil {
		return nil, err
	}
	switch kind {
	case "", "ByteLevel": // ByteLevel changes offsets only
		return func(ids []int) []int { return ids }, nil
	case "Sequence":
		return b.postProcessors(c.Processors)
	case "TemplateProcessing":
		return template(c)
	}
	return nil, unsupportedType(c)
}

func (b *builder) postProcessors(components []*component) (postProcessor, error) {
	var steps []postProcessor
	for i, c := range components {
		step, err := b.postProcessor(c)
		if err != nil {
			return nil, fmt.Errorf("%d: %w", i, err)
		}
		steps = append(steps, step)
	}
	return func(ids []int) []int {
		for _, step := range steps {
			ids = step(ids)
		}
		return ids
	}, nil
}

// maxTemplate is the largest number of tokens that a template adds. Published
// templates add one or two.
const maxTemplate = 64

func template(c *component) (postProcessor, error) {
	var before, after []int
	var seen bool
	for i, p := range c.Single {
		switch {
		case p.Sequence != nil && seen:
			return nil, fmt.Errorf("single: %d: the text stands twice", i)
		case p.Sequence != nil:
			seen = true
		case p.SpecialToken == nil:
			return nil, fmt.Errorf("single: %d: neither SpecialToken nor Sequence", i)
		default:
			special, ok := c.SpecialTokens[p.SpecialToken.ID]
			if !ok {
				return nil, fmt.Errorf("single: %d: special_tokens has no %q", i, p.SpecialToken.ID)
			}
			for _, id := range special.IDs {
				if id < 0 || id > maxID {
					return nil, fmt.Errorf("special_tokens: %q: %d is not between 0 and %d", p.SpecialToken.ID, id, maxID)
				}
			}
			if seen {
				after = append(after, special.IDs...)
			} else {
				before = append(before, special.IDs...)
			}
			if len(before)+len(after) > maxTemplate {
				return nil, fmt.Errorf("single: more than %d tokens around the text", maxTemplate)
			}
		}
	}
	if !seen {
		return nil, fmt.Errorf("single: the text does not stand in it")
	}
	return around(before, after), nil
}

// around returns a postProcessor that adds tokens before and after those of a text.
func around(before, after []int) postProcessor {
	return func(ids []int) []int { return slices.Concat(before, ids, after) }
}
