package requestlog

import (
	"fmt"
	"math"

	"kvcompress/internal/ceil"
	"kvcompress/internal/splitmix"
	"kvcompress/trace"
)

// usualBytesPerToken is the estimated number of bytes of UTF-8 per token. English text has
// about 4 characters per token with current vocabularies (OpenAI, "What are tokens and
// how to count them?"), each of one byte.
const usualBytesPerToken = 4

// The bounds of Options.BytesPerToken.
const (
	MinBytesPerToken = 0.25
	MaxBytesPerToken = 64
)

const (
	textBlock     = 16      // tokens per prefix hash
	maxTextBlocks = 1 << 16 // with a hash, per conversation
)

// text counts the tokens of consecutive texts, such as the messages of a conversation,
// and computes prefix hashes: the hash of a block covers all text up to its end. It counts
// in units: a token has perToken units, and a byte has bytesUnits units if tokens are
// estimated. So the end of a block depends only on the bytes before it.
type text struct {
	j        *jsonReader
	encode   func(string) ([]int, error) // nil to estimate
	before   int                         // tokens that encode adds before a text; a prompt begins with them
	after    int                         // tokens that encode adds after a text
	perToken int64

	units  int64
	state  uint64
	hashes []uint64
	texts  bool // some text was not empty
	other  bool // there was a part other than text
}

// bytesUnits is the number of units of a byte.
const bytesUnits = 100

// newText returns an empty text. Its contents are read from j.
func newText(j *jsonReader, o Options) *text {
	per := o.BytesPerToken
	if per == 0 {
		per = usualBytesPerToken
	}
	t := &text{j: j, perToken: int64(math.Round(per * bytesUnits))}
	if o.Tokenizer != nil {
		t.encode = o.Tokenizer.Encode
		t.before, t.after = around(t.encode)
	}
	t.reset()
	return t
}

// around returns the numbers of tokens that a tokenizer adds before and after every text.
func around(encode func(string) ([]int, error)) (before, after int) {
	none, err := encode("")
	one, err2 := encode("a")
	if err != nil || err2 != nil || len(one) < len(none) {
		return 0, 0
	}
	for before < len(none) && none[before] == one[before] {
		before++
	}
	return before, len(none) - before
}

// reset begins a prompt.
func (t *text) reset() {
	t.units, t.state, t.hashes, t.texts, t.other = 0, 0x9e3779b97f4a7c15, nil, false, false
	for i := range t.before {
		t.token(uint64(i))
	}
}

// tokens returns the number of tokens so far.
func (t *text) tokens() int { return t.tokensOf(t.units) }

func (t *text) tokensOf(units int64) int { return int(ceil.Div(units, t.perToken)) }

// token adds one token.
func (t *text) token(id uint64) {
	t.units += t.perToken
	t.state = splitmix.Mix(t.state ^ splitmix.Mix(id+1))
	t.block()
}

// block appends the hashes of blocks that have become full.
func (t *text) block() {
	for len(t.hashes) < maxTextBlocks && t.units >= int64(len(t.hashes)+1)*textBlock*t.perToken {
		t.hashes = append(t.hashes, splitmix.Mix(t.state))
	}
}

// add adds a text, or, if tokens are estimated, a piece of a text.
func (t *text) add(s []byte) error {
	t.texts = t.texts || len(s) > 0
	if t.encode == nil {
		for _, c := range s {
			t.units += bytesUnits
			t.state = (t.state ^ uint64(c)) * 0x100000001b3
			t.block()
		}
	} else if len(s) > 0 {
		ids, err := t.encode(string(s))
		if err != nil {
			return err
		}
		if len(ids) < t.before+t.after {
			return fmt.Errorf("the tokenizer gave %d tokens of a text, fewer than of none", len(ids))
		}
		for _, id := range ids[t.before : len(ids)-t.after] {
			t.token(uint64(id))
		}
	}
	if t.units > trace.MaxTokens*t.perToken {
		return fmt.Errorf("texts of more than %d tokens", trace.MaxTokens)
	}
	return nil
}

// mark adds s, such as a role, to the hash state but adds no tokens. The tokens that a
// chat template puts between messages are not known.
func (t *text) mark(s string) { t.state = splitmix.Mix(t.state ^ hashGroup(s)) }

// maxParts is the maximum nesting depth of the parts of a text.
const maxParts = 8

// content reads the input of a request: a text, token ids, or lists of parts, which may
// be texts or other objects.
func (t *text) content() error { return t.value(0) }

func (t *text) value(depth int) error {
	c, err := t.j.peek()
	if err != nil {
		return err
	}
	at := t.j.position()
	if depth == maxParts {
		return at.fail(fmt.Errorf("parts of texts nested deeper than %d", maxParts))
	}
	switch c {
	case '"':
		s, err := t.j.longText()
		if err == nil {
			if err = t.add(s); err != nil {
				err = at.fail(err)
			}
		}
		return err
	case '[':
		return t.j.array(func() error { return t.value(depth + 1) })
	case '{':
		return t.part(depth)
	case 'n':
		_, err := t.j.null()
		return err
	}
	id, err := t.j.hash()
	if err == nil {
		t.token(id)
		if t.units > trace.MaxTokens*t.perToken {
			err = at.fail(fmt.Errorf("texts of more than %d tokens", trace.MaxTokens))
		}
	}
	return err
}

// part reads a part of a message.
func (t *text) part(depth int) error {
	return t.j.object(func(name []byte) error {
		switch string(name) {
		case "text", "content":
			return t.value(depth + 1)
		case "type":
			what, err := t.j.label()
			switch what {
			case "text", "input_text", "output_text", "message", "refusal":
			default:
				t.other = true
			}
			return err
		}
		return t.j.skip()
	})
}

// message reads a chat message and returns its role.
func (t *text) message() (role string, err error) {
	if c, err := t.j.peek(); err != nil || c != '{' {
		return "", cmpOr(err, t.content) // an element that is not an object, such as a string
	}
	err = t.j.object(func(name []byte) error {
		switch string(name) {
		case "role", "from":
			if null, err := t.j.null(); null || err != nil {
				return err
			}
			role, err = t.j.label()
			return err
		case "content", "value", "text":
			return t.content()
		case "type":
			what, err := t.j.label()
			t.other = t.other || what != "message"
			return err
		}
		return t.j.skip()
	})
	t.mark(role)
	return role, err
}

// how returns how the number of tokens was obtained.
func (t *text) how() how {
	var h how
	switch {
	case !t.texts:
	case t.encode == nil:
		h = estimated
	default:
		h = tokenized
	}
	if t.other {
		h |= other
	}
	return h
}
