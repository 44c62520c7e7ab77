package requestlog

import (
	"errors"
	"fmt"
	"io"
	"iter"
)

// runs reads one run of a benchmark's results, which may contain several. The requests
// may be anywhere in the run's object, so they are yielded when the reader meets them.
type runs struct {
	j    *jsonReader
	l    *Log
	take int // which run, from 1; 0 for the only one
	met  int
	next func() (row, error, bool)
}

// errStopped stops the reading when the caller wants no more rows.
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

// run counts a run and reports whether it is the selected one. It returns an error if
// there are several and none is selected.
func (s *runs) run() (bool, error) {
	s.met++
	if s.take == 0 && s.met > 1 {
		return false, s.j.position().fail(errors.New("another run follows the first, at another load: --run 1 takes the first, --run 2 the second, and so on"))
	}
	return s.take == 0 || s.met == s.take, nil
}

// finished returns an error at the end of the file if the selected run does not exist.
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
