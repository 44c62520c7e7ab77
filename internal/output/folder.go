package output

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Folder is a folder that is being written. It appears complete or not at all.
type Folder struct {
	Temp  string // path to write to
	path  string // as given to CreateFolder
	final string
	open  *os.File // holds the lock
	done  bool
}

// CreateFolder begins a folder. If a folder with this path exists, it must be empty. Parent folders are
// created. The caller ends it with Commit or Discard.
func CreateFolder(path string) (*Folder, error) {
	final, err := follow(filepath.Clean(path))
	if err != nil {
		return nil, err
	}
	if err := checkEmpty(final); err != nil {
		return nil, err
	}
	dir, base := filepath.Dir(final), filepath.Base(final)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, named(path, err)
	}
	Clean(dir, func(name string) bool { return name == base })
	for {
		temp := filepath.Join(dir, tempName(base))
		if err := os.Mkdir(temp, 0o777); err != nil {
			return nil, named(path, err)
		}
		open, err := os.Open(temp)
		if err != nil {
			continue // another program removed it as a leftover before it was locked
		}
		lock(open)
		if isAt(open) {
			return &Folder{Temp: temp, path: path, final: final, open: open}, nil
		}
		_ = open.Close()
	}
}

// ErrNotEmpty is the error for a folder that is not empty.
var ErrNotEmpty = errors.New("the folder is not empty")

// checkEmpty returns an error unless path is an empty folder or does not exist.
func checkEmpty(path string) error {
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return named(path, err)
	case len(entries) > 0:
		return fmt.Errorf("%s: %w: name a new one, or empty it", path, ErrNotEmpty)
	}
	return nil
}

// Commit gives the folder its name. After an error nothing is left of the folder.
func (f *Folder) Commit() error {
	err := os.Remove(f.final) // empty if it exists
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil {
		err = os.Rename(f.Temp, f.final)
	}
	if err != nil {
		f.Discard()
		return named(f.path, err)
	}
	f.done = true
	_ = f.open.Close() // was open only for its lock
	return nil
}

// Discard removes the folder. After Commit it does nothing.
func (f *Folder) Discard() {
	if f.done {
		return
	}
	f.done = true
	_ = os.RemoveAll(f.Temp) // the next CreateFolder tries again
	_ = f.open.Close()
}
