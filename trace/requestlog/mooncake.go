package requestlog

import (
	"fmt"

	"kvcompress/trace"
)

// mooncakeBlock is how many tokens a hash of Mooncake's stands for.
const mooncakeBlock = 512

// mooncakeSource reads the traces of
// https://github.com/kvcache-ai/Mooncake/tree/main/FAST25-release/traces: on each line
// an object with timestamp (in milliseconds), input_length, output_length and
// hash_ids, one for each block of 512 tokens of the prompt. Other names are passed
// over.
type mooncakeSource struct {
	j      *jsonReader
	unit   Unit
	block  int
	hashes arena
	ids    []uint64 // of the line that is read
	seen   int      // names of the line, as bits
	row    row
}

func openMooncake(l *Log, f *file, o Options) (source, error) {
	s := &mooncakeSource{j: newJSONReader(f), unit: o.TimeUnit, block: o.PrefixBlockTokens}
	if s.unit == 0 {
		s.unit = Millisecond
	}
	if s.block == 0 {
		s.block = mooncakeBlock
	}
	if s.block < 1 || s.block > trace.MaxTokens {
		return nil, fmt.Errorf("requestlog: blocks of %d tokens, want 1 to %d", s.block, trace.MaxTokens)
	}
	l.PrefixBlockTokens = s.block
	return s, nil
}

func (s *mooncakeSource) next() (row, error) {
	if _, err := s.j.space(); err != nil {
		return row{}, err
	}
	at := s.j.position()
	s.row, s.seen, s.ids = row{line: at.line}, 0, s.ids[:0]
	if err := s.j.object(s.member); err != nil {
		return row{}, err
	}
	for i, name := range mooncakeNames {
		if s.seen&(1<<i) == 0 && i != mooncakeHashes {
			return row{}, at.fail(fmt.Errorf("%s is missing", name))
		}
	}
	r := s.row
	if most := (r.PromptTokens + s.block - 1) / s.block; len(s.ids) > most {
		return r, at.fail(fmt.Errorf("%d hash_ids, want at most %d for an input_length of %d in blocks of %d tokens; is the block another?",
			len(s.ids), most, r.PromptTokens, s.block))
	}
	if len(s.ids) > 0 {
		r.PrefixHashes = s.hashes.take(len(s.ids))
		copy(r.PrefixHashes, s.ids)
	}
	return r, nil
}

// The members of a line's object that are read.
const (
	mooncakeTime = iota
	mooncakeInput
	mooncakeOutput
	mooncakeHashes
)

var mooncakeNames = [...]string{"timestamp", "input_length", "output_length", "hash_ids"}

// member reads one member of a line's object.
func (s *mooncakeSource) member(name []byte) (err error) {
	which := 0
	for which < len(mooncakeNames) && string(name) != mooncakeNames[which] {
		which++
	}
	if which == len(mooncakeNames) {
		return s.j.skip()
	}
	if s.seen&(1<<which) != 0 {
		return s.j.position().fail(fmt.Errorf("%s occurs twice", mooncakeNames[which]))
	}
	s.seen |= 1 << which
	switch which {
	case mooncakeTime:
		s.row.ArrivalNS, err = s.j.time(s.unit)
	case mooncakeInput:
		s.row.PromptTokens, err = s.j.tokens()
	case mooncakeOutput:
		s.row.OutputTokens, err = s.j.tokens()
	case mooncakeHashes:
		err = s.j.array(s.id)
	}
	if err != nil {
		err = inMember(mooncakeNames[which], err)
	}
	return err
}

func (s *mooncakeSource) id() error {
	if len(s.ids) == windowHashes {
		return s.j.position().fail(fmt.Errorf("more than %d hash_ids", windowHashes))
	}
	id, err := s.j.hash()
	s.ids = append(s.ids, id)
	return err
}
