package output

import (
	"errors"
	"io/fs"
	"os"
)

// Scratch is a file for data that does not fit in memory. It is removed when it is closed, and on systems
// that can remove open files also when the program is killed.
type Scratch struct{ *os.File }

// NewScratch creates a scratch file in the folder for temporary files.
func NewScratch() (*Scratch, error) {
	f, err := os.CreateTemp("", "kvc-*"+suffix)
	if err != nil {
		return nil, err
	}
	_ = os.Remove(f.Name()) // fails on some systems; then Close removes it
	return &Scratch{f}, nil
}

// Close closes and removes the file.
func (s *Scratch) Close() error {
	err := s.File.Close()
	if removed := os.Remove(s.Name()); !errors.Is(removed, fs.ErrNotExist) {
		err = errors.Join(err, removed)
	}
	return err
}
