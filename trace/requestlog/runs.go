package requestlog

import (
	"errors"
	"fmt"
	"io"
	"iter"
)

// runs reads the results of a benchmark that ran several times, of which one is taken.
// The requests of a run are somewhere in its object, so that they are yielded as they
// are met.
type runs struct {
	j    *jsonReader
	l    *Log
	take int // which run, from 1; 0 for the only one
	met  int
	next func() (row, error, bool)
}

// errStopped ends the reading when no more rows are wanted.
var errStopped = errors.New("stopped")

// start makes runs a source of the rows that read yields.
func (s *runs) start(read func(yield func(row) error) error) source {
	next, stop := iter.Pull2(func(yield func(row, error) bool) {
		err := read(func(r row) error {
			if !yield(r, nil) {
				return errStopped
			}
			return nil
		})
		if err == nil {
			err = s.finished()
		}
		if err != errStopped {
			yield(row{}, err)
		}
	})
	s.next = next
	closeFile := s.l.close
	s.l.close = func() error {
		stop()
		return closeFile()
	}
	return pulled{next}
}

type pulled struct{ pull func() (row, error, bool) }

func (p pulled) next() (row, error) {
	r, err, ok := p.pull()
	if !ok {
		return row{}, io.EOF
	}
	return r, err
}

// run says at a run whether it is taken, or that one has to be chosen.
func (s *runs) run() (bool, error) {
	s.met++
	if s.take == 0 && s.met > 1 {
		return false, s.j.position().fail(errors.New("another run follows the first, at another load: --run 1 takes the first, --run 2 the second, and so on"))
	}
	return s.take == 0 || s.met == s.take, nil
}

// finished sees at the end of the file that the run was there.
func (s *runs) finished() error {
	if s.take > s.met {
		return fmt.Errorf("there is no run %d, only %d", s.take, s.met)
	}
	switch c, err := s.j.space(); {
	case err == io.EOF:
		return io.EOF
	case err != nil:
		return err
	default:
		return s.j.position().fail(fmt.Errorf("%q after the end of the result", c))
	}
}
