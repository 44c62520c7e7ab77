package requestlog

import (
	"fmt"

	"kvcompress/internal/ceil"
)

// jsonField is a member of a row's object, and the function that reads it.
type jsonField struct {
	path     string
	optional bool // may be missing, or null
	read     func() error
}

// jsonRows reads JSON logs with one request per object.
type jsonRows struct {
	objects
	fields []jsonField
	// finish, if not nil, completes the row after its object has been read.
	finish func(at position) error
	row    row
	seen   uint32   // bit i: fields[i] occurred
	ids    []uint64 // prefix hashes of the row, for finish
	hashes arena
}

func newJSONRows(f *file) *jsonRows { return &jsonRows{objects: objects{j: newJSONReader(f)}} }

func (s *jsonRows) next() (row, error) {
	s.row, s.seen, s.ids = row{}, 0, s.ids[:0]
	err := s.objects.next(s.object)
	return s.row, err
}

func (s *jsonRows) object(at position) error {
	s.row.line = at.line
	if err := s.j.walk(s.member); err != nil {
		return err
	}
	for i, f := range s.fields {
		if !f.optional && s.seen&(1<<i) == 0 {
			return at.fail(fmt.Errorf("%s is missing", f.path))
		}
	}
	if s.finish != nil {
		if err := s.finish(at); err != nil {
			return err
		}
	}
	if len(s.ids) > 0 {
		s.row.PrefixHashes = s.hashes.take(len(s.ids))
		copy(s.row.PrefixHashes, s.ids)
	}
	return nil
}

// has reports whether the row has a field.
func (s *jsonRows) has(path string) bool {
	for i, f := range s.fields {
		if f.path == path {
			return s.seen&(1<<i) != 0
		}
	}
	return false
}

// member reads one member of a row's object.
func (s *jsonRows) member(path []byte) (bool, error) {
	for i, f := range s.fields {
		if string(path) != f.path {
			continue
		}
		if f.optional {
			if null, err := s.j.null(); null || err != nil {
				return true, err
			}
		}
		if s.seen&(1<<i) != 0 {
			return true, s.j.position().fail(fmt.Errorf("%s occurs twice", f.path))
		}
		s.seen |= 1 << i
		return true, inMember(f.path, f.read())
	}
	return false, nil
}

// Functions that read fields that several formats have.

func (s *jsonRows) arrival(unit Unit) func() error {
	return func() (err error) {
		s.row.ArrivalNS, err = s.j.time(unit)
		return err
	}
}

func (s *jsonRows) prompt() (err error) {
	s.row.PromptTokens, err = s.j.tokens()
	return err
}

func (s *jsonRows) output() (err error) {
	s.row.OutputTokens, err = s.j.tokens()
	return err
}

func (s *jsonRows) session() (err error) {
	s.row.Session, err = s.j.label()
	return err
}

func (s *jsonRows) prefixes() error {
	return s.j.array(func() error {
		if len(s.ids) == windowHashes {
			return s.j.position().fail(fmt.Errorf("more than %d prefix hashes", windowHashes))
		}
		id, err := s.j.hash()
		s.ids = append(s.ids, id)
		return err
	})
}

// checkPrefixes returns an error if a row has more hashes than its prompt has blocks.
func (s *jsonRows) checkPrefixes(at position, block int) error {
	if most := ceil.Div(s.row.PromptTokens, block); len(s.ids) > most {
		return at.fail(fmt.Errorf("%d prefix hashes, want at most %d for a prompt of %d tokens in blocks of %d; is the block another? --prefix-block says it",
			len(s.ids), most, s.row.PromptTokens, block))
	}
	return nil
}

// openJSONFields reads JSON objects with members named by the user. Times are numbers
// in a given unit, or strings with a date and time.
func openJSONFields(l *Log, f *file, o Options) (source, error) {
	if err := o.Fields.check(o); err != nil {
		return nil, fmt.Errorf("requestlog: %w", err)
	}
	unit, err := o.Fields.unit(o)
	if err != nil {
		return nil, err
	}
	block, err := l.prefixBlock(o, 0)
	if err != nil {
		return nil, err
	}
	s := newJSONRows(f)
	l.Timed = o.Fields.Arrival != ""
	first := true
	timeOf := func() (err error) {
		c, err := s.j.peek()
		if err != nil {
			return err
		}
		if isText := c == '"'; first {
			first, l.Calendar = false, isText
		} else if isText != l.Calendar {
			return s.j.position().fail(fmt.Errorf("the times are partly numbers and partly texts"))
		}
		if c != '"' {
			s.row.ArrivalNS, err = s.j.time(unit)
			return err
		}
		at := s.j.position()
		text, err := s.j.text()
		if err == nil {
			if s.row.ArrivalNS, err = l.calendar.parse(text, at.line); err != nil {
				err = at.fail(err)
			}
		}
		return err
	}
	add := func(path string, optional bool, read func() error) {
		if path != "" {
			s.fields = append(s.fields, jsonField{path, optional, read})
		}
	}
	add(o.Fields.Arrival, false, timeOf)
	add(o.Fields.Prompt, false, func() error { return s.tokensOrText(&s.row.PromptTokens) })
	add(o.Fields.Output, false, func() error { return s.tokensOrText(&s.row.OutputTokens) })
	add(o.Fields.Session, true, s.session)
	add(o.Fields.Hashes, true, s.prefixes)
	s.finish = func(at position) error {
		s.row.noPrompt, s.row.noOutput = o.Fields.Prompt == "", o.Fields.Output == ""
		if block > 0 {
			return s.checkPrefixes(at, block)
		}
		return nil
	}
	return s, nil
}

// tokensOrText reads a number of tokens that may be written as a JSON string.
func (s *jsonRows) tokensOrText(n *int) error {
	c, err := s.j.peek()
	if err != nil {
		return err
	}
	if c != '"' {
		*n, err = s.j.tokens()
		return err
	}
	at := s.j.position()
	raw, _, err := s.j.quoted()
	if err == nil {
		if *n, err = parseTokens(string(raw)); err != nil {
			err = at.fail(err)
		}
	}
	return err
}
