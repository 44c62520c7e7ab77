// Package regular opens and reads regular files only. All files whose names come from outside are opened with
// it: opening a pipe would block, and a device such as /dev/zero has size 0 but never ends.
package regular

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// ErrNotRegular is the error for a directory, a device, a pipe or a socket.
var ErrNotRegular = errors.New("not a regular file")

// Open opens a file of fsys. Its errors do not contain the file's name.
func Open(fsys fs.FS, name string) (fs.File, error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, Short(err)
	}
	if !info.Mode().IsRegular() {
		return nil, ErrNotRegular
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, Short(err)
	}
	return f, nil
}

// OpenFile is Open for a path. The file can be read in parts.
func OpenFile(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, Short(err)
	}
	if !info.Mode().IsRegular() {
		return nil, ErrNotRegular
	}
	f, err := os.OpenFile(path, os.O_RDONLY|nonblock, 0) // nonblock, because a pipe may have replaced the file by now
	if err != nil {
		return nil, Short(err)
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		_ = f.Close() // errors do not matter: nothing was written
		return nil, cmp.Or(Short(err), ErrNotRegular)
	}
	return f, nil
}

// Read reads a file of fsys of at most the given number of bytes. It allocates memory only for bytes actually
// read, whatever size the file reports. Its errors do not contain the file's name.
func Read(fsys fs.FS, name string, most int64) ([]byte, error) {
	f, err := Open(fsys, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, most)
}

// ReadFile is Read for a path.
func ReadFile(path string, most int64) ([]byte, error) {
	f, err := OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, most)
}

func readAll(f fs.File, most int64) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, Short(err)
	}
	if info.Size() > most {
		return nil, tooLong(most)
	}
	return ReadAll(f, most)
}

// ReadAll reads all of r, which may have at most the given number of bytes.
func ReadAll(r io.Reader, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, Short(err)
	}
	if int64(len(data)) > most {
		return nil, tooLong(most)
	}
	return data, nil
}

func tooLong(most int64) error {
	if most%(1<<20) == 0 {
		return fmt.Errorf("the file is longer than %d MiB", most>>20)
	}
	return fmt.Errorf("the file is longer than %d bytes", most)
}

// Short removes the path from an error, for callers that add it themselves.
func Short(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
