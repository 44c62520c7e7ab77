package output

import (
	"errors"
	"io/fs"
	"os"
)

// Scratch is a file for what does not fit memory. It is gone when it is closed, and where a
// system lets it be removed while it is open, when the program is killed.
type Scratch struct{ *os.File }

// NewScratch creates a scratch file in the folder for temporary files.
func NewScratch() (*Scratch, error) {
	f, err := os.CreateTemp("", "kvc-*"+suffix)
	if err != nil {
		return nil, err
	}
	_ = os.Remove(f.Name()) // or when it is closed
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
