package tokenizer

import (
	"encoding/json"
	"fmt"
)

// component is a normalizer, pre-tokenizer, post-processor or decoder as the file
// has it: the fields of all that are supported, of which a type uses its own.
type component struct {
	Type string `json:"type"`

	Normalizers   []*component `json:"normalizers"` // Sequence
	PreTokenizers []*component `json:"pretokenizers"`
	Processors    []*component `json:"processors"`
	Decoders      []*component `json:"decoders"`

	Prepend string  `json:"prepend"` // Prepend
	Pattern pattern `json:"pattern"` // Replace, Split
	Content string  `json:"content"` // Replace, Strip
	Start   int     `json:"start"`   // Strip
	Stop    int     `json:"stop"`

	Behavior string `json:"behavior"` // Split
	Invert   bool   `json:"invert"`

	AddPrefixSpace *bool `json:"add_prefix_space"` // ByteLevel, old Metaspace
	UseRegex       *bool `json:"use_regex"`        // ByteLevel

	Replacement   string `json:"replacement"` // Metaspace
	PrependScheme string `json:"prepend_scheme"`
	Split         *bool  `json:"split"`

	IndividualDigits bool `json:"individual_digits"` // Digits

	Single        []templatePiece `json:"single"` // TemplateProcessing
	SpecialTokens map[string]struct {
		IDs []int `json:"ids"`
	} `json:"special_tokens"`
}

// pattern is what Split and Replace look for: a string, or a regular expression.
type pattern struct {
	String *string
	Regex  *string
}

// templatePiece is a special token or the place of the text's own tokens.
type templatePiece struct {
	SpecialToken *struct {
		ID string `json:"id"`
	}
	Sequence *json.RawMessage
}

// builder makes stages of components.
type builder struct {
	components int
}

// maxComponents bounds the components of a file. Published tokenizers have about
// ten.
const maxComponents = 100

// enter counts a component. It returns the type, which is empty for a component
// that the file leaves out.
func (b *builder) enter(c *component) (string, error) {
	if c == nil {
		return "", nil
	}
	if b.components++; b.components > maxComponents {
		return "", fmt.Errorf("the file has more than %d components", maxComponents)
	}
	if c.Type == "" {
		return "", fmt.Errorf("type: missing")
	}
	return c.Type, nil
}

// errUnsupported says what is not supported, and the way round it.
func errUnsupported(format string, args ...any) error {
	return fmt.Errorf("%s is not supported (token ids made by other means can be given with --token-ids)",
		fmt.Sprintf(format, args...))
}

// unsupportedType is the error for a component of another type.
func unsupportedType(c *component) error { return errUnsupported("type %q", c.Type) }

// or returns *p, or otherwise if p is nil.
func or(p *bool, otherwise bool) bool {
	if p == nil {
		return otherwise
	}
	return *p
}
