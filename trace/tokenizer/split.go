package tokenizer

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dlclark/regexp2"

	"kvcompress/strictjson"
)

// span is a range of bytes of a text: a match of a pattern, or the text between two
// matches.
type span struct {
	from, to int
	match    bool
}

// finder cuts a whole text into spans. Matches may be empty; the text between them is not.
type finder func(text string) ([]span, error)

// matches collects the spans of a text from its matches in ascending order.
type matches struct {
	spans []span
	end   int
}

func (m *matches) add(from, to int) {
	m.between(from)
	m.spans = append(m.spans, span{from: from, to: to, match: true})
	m.end = to
}

// between adds the text from the end of the last match.
func (m *matches) between(to int) {
	if m.end < to {
		m.spans = append(m.spans, span{from: m.end, to: to})
	}
}

func (m *matches) finish(text string) []span {
	m.between(len(text))
	return m.spans
}

// findString finds occurrences of s.
func findString(s string) finder {
	return func(text string) ([]span, error) {
		var m matches
		for {
			i := strings.Index(text[m.end:], s)
			if i < 0 {
				return m.finish(text), nil
			}
			m.add(m.end+i, m.end+i+len(s))
		}
	}
}

// findRunes finds the characters of a set, each as a match of its own.
func findRunes(in func(r rune) bool) finder {
	return func(text string) ([]span, error) {
		var m matches
		for i, r := range text {
			if in(r) {
				m.add(i, i+utf8.RuneLen(r))
			}
		}
		return m.finish(text), nil
	}
}

// A regular expression in a hostile file may take exponential time. Those of published
// tokenizers take microseconds for a match.
const (
	maxPattern  = 4 << 10 // bytes
	textTimeout = time.Minute
)

var matchTimeout = time.Second // a test does not wait so long

// findRegex finds the matches of a regular expression in Oniguruma's syntax. The expressions
// of tokenizers use lookahead, which the standard library does not support.
func findRegex(expression string) (finder, error) {
	if len(expression) > maxPattern {
		return nil, fmt.Errorf("the regular expression has %d bytes, no more than %d are allowed", len(expression), maxPattern)
	}
	translated, err := translate(expression)
	if err != nil {
		return nil, errUnsupported("regular expression %q: %v: it", strictjson.Excerpt(expression), err)
	}
	re, err := regexp2.Compile(translated, regexp2.None)
	if err != nil {
		return nil, errUnsupported("regular expression %q: %v: it", expression, err)
	}
	re.MatchTimeout = matchTimeout
	return func(text string) ([]span, error) {
		var m matches
		start := time.Now()
		offset, runes := 0, 0 // the same position in bytes and, as regexp2 counts, in runes
		match, err := re.FindStringMatch(text)
		for ; match != nil && err == nil; match, err = re.FindNextMatch(match) {
			for ; runes < match.Index; runes++ {
				_, size := utf8.DecodeRuneInString(text[offset:])
				offset += size
			}
			if match.Length == 0 && offset == m.end && len(m.spans) > 0 {
				continue // unlike .NET, Oniguruma's callers take no empty match where the last one ended
			}
			m.add(offset, offset+len(match.String()))
			offset, runes = m.end, runes+match.Length
			if time.Since(start) > textTimeout {
				return nil, fmt.Errorf("pattern %q takes longer than %v", expression, textTimeout)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("pattern: %w", err)
		}
		return m.finish(text), nil
	}, nil
}

// inverted exchanges matches and the text between them.
func inverted(find finder) finder {
	return func(text string) ([]span, error) {
		spans, err := find(text)
		for i := range spans {
			spans[i].match = !spans[i].match
		}
		return spans, err
	}
}

// behaviour says how matches are treated when a text is cut.
type behaviour int

const (
	isolated           behaviour = iota // each is a piece
	removed                             // matches are removed
	mergedWithPrevious                  // each joins the piece before it
	mergedWithNext                      // each joins the piece after it
	contiguous                          // adjacent matches are one piece
)

func parseBehaviour(name string) (behaviour, error) {
	for b, known := range []string{"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"} {
		if name == known {
			return behaviour(b), nil
		}
	}
	return 0, errUnsupported("%q", name)
}

// cut returns a preTokenizer that cuts every piece at the matches of find.
func cut(find finder, b behaviour) preTokenizer {
	return func(pieces []piece) ([]piece, error) {
		var out []piece
		for _, p := range pieces {
			spans, err := find(p.text)
			if err != nil {
				return nil, err
			}
			for _, s := range nonEmpty(join(spans, b)) {
				out = append(out, piece{text: p.text[s.from:s.to], first: p.first && s.from == 0})
			}
		}
		return out, nil
	}
}

func nonEmpty(spans []span) []span {
	kept := spans[:0]
	for _, s := range spans {
		if s.from < s.to {
			kept = append(kept, s)
		}
	}
	return kept
}

// join removes and joins spans according to the behaviour.
func join(spans []span, b behaviour) []span {
	var out []span
	for i, s := range spans {
		afterMatch := i > 0 && spans[i-1].match
		switch {
		case b == removed && s.match:
			continue
		case b == mergedWithPrevious && s.match && i > 0 && !afterMatch,
			b == mergedWithNext && !s.match && afterMatch,
			b == contiguous && i > 0 && s.match == afterMatch:
			out[len(out)-1].to = s.to
		default:
			out = append(out, s)
		}
	}
	return out
}
