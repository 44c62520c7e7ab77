package tokenizer

import (
	"encoding/json"
	"fmt"
)

// component is a normalizer, pre-tokenizer, post-processor or decoder in the file.
// It has the fields of all supported types; each type uses some of them.
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

// pattern is the pattern of Split and Replace: a string or a regular expression.
type pattern struct {
	String *string
	Regex  *string
}

// templatePiece is a special token, or a placeholder for the text's own tokens.
type templatePiece struct {
	SpecialToken *struct {
		ID string `json:"id"`
	}
	Sequence *json.RawMessage
}

// builder converts components to stages.
type builder struct {
	components int
}

// maxComponents is the largest number of components of a file. Published tokenizers
// have about ten.
const maxComponents = 100

// enter counts a component and returns its type, which is empty if the file omits the
// component.
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

// errUnsupported returns an error for something unsupported, with a workaround.
func errUnsupported(format string, args ...any) error {
	return fmt.Errorf("%s is not supported (token ids made by other means can be given with --token-ids)",
		fmt.Sprintf(format, args...))
}

// unsupportedType returns the error for a component of an unsupported type.
func unsupportedType(c *component) error { return errUnsupported("type %q", c.Type) }

// or returns *p, or otherwise if p is nil.
func or(p *bool, otherwise bool) bool {
	if p == nil {
		return otherwise
	}
	return *p
}
