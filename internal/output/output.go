// Package output writes files completely or not at all. A file is written under a temporary name in its final
// folder, and renamed when it is complete: if the program is killed or the disk is full, the old file stays.
//
// A temporary file is locked while it is being written. One without a lock was left by a program that was
// killed, and the next [Create] of the same file removes it.
package output

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// File is a file that is being written. Its errors name the final path.
type File struct {
	*os.File        // under its temporary name
	path     string // as given to Create
	final    string // path, with symbolic links resolved

	mu     sync.Mutex // an interrupt may call Discard during a write
	closed bool
	done   bool // renamed or removed
}

// Create begins a file. If path is a symbolic link, the file that it leads to is replaced. A folder, device
// or pipe with this path is an error. The caller ends the file with Commit or Discard.
func Create(path string) (*File, error) {
	final, err := target(path)
	if err != nil {
		return nil, err
	}
	dir, base := filepath.Split(final)
	if dir == "" {
		dir = "."
	}
	Clean(dir, func(name string) bool { return name == base })
	f, err := createTemp(dir, base)
	if err != nil {
		return nil, named(path, err)
	}
	if old, err := os.Stat(final); err == nil {
		if err := f.Chmod(old.Mode().Perm()); err != nil {
			return nil, errors.Join(named(path, err), f.Close(), os.Remove(f.Name()))
		}
	}
	return &File{File: f, path: path, final: final}, nil
}

// Path returns the file's final path.
func (f *File) Path() string { return f.path }

// Write appends to the file.
func (f *File) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, named(f.path, err)
}

// Close ends the writing; the file keeps its temporary name until Commit.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.close()
}

func (f *File) close() error {
	if f.closed {
		return nil
	}
	f.closed = true
	return named(f.path, f.File.Close())
}

// Commit closes the file and gives it its name. After an error nothing is left of the file. After Discard it
// returns an error.
func (f *File) Commit() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done {
		return fmt.Errorf("%s: the file was discarded", f.path)
	}
	err := f.close()
	if err == nil {
		err = named(f.path, os.Rename(f.Name(), f.final))
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the next Create tries again
	}
	f.done = true
	return err
}

// Discard removes the file. After Commit it does nothing. It may be called while another goroutine is
// writing, whose writes then fail.
func (f *File) Discard() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done {
		return
	}
	f.done = true
	_ = f.close()           // errors do not matter: the file is removed
	_ = os.Remove(f.Name()) // the next Create tries again
}

// Write writes a file whose content the function write produces.
func Write(path string, write func(io.Writer) error) error {
	f, err := Create(path)
	if err != nil {
		return err
	}
	defer f.Discard()
	b := bufio.NewWriterSize(f, 1<<16)
	if err := write(b); err != nil {
		return err
	}
	if err := b.Flush(); err != nil {
		return err
	}
	return f.Commit()
}

// WriteBytes writes a file with the given content.
func WriteBytes(path string, data []byte) error {
	return Write(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// maxLinks is the largest number of symbolic links that are followed, as in Linux.
const maxLinks = 40

// target follows symbolic links to the file that path means. The file need not exist; if it does, it must be
// a regular file.
func target(path string) (string, error) {
	final, err := follow(path)
	if err != nil {
		return "", err
	}
	info, err := os.Lstat(final)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return final, nil
	case err != nil:
		return "", named(path, err)
	case info.IsDir():
		return "", fmt.Errorf("%s: this is a folder, not a file", path)
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s: this is a device, pipe or socket, not a file", path)
	}
	return final, nil
}

// follow follows symbolic links in the last element of path.
func follow(path string) (string, error) {
	if path == "" {
		return "", errors.New("the file name is empty")
	}
	final := path
	for range maxLinks {
		info, err := os.Lstat(final)
		if err != nil || info.Mode()&fs.ModeSymlink == 0 {
			return final, nil
		}
		to, err := os.Readlink(final)
		if err != nil {
			return "", named(path, err)
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(final), to)
		}
		final = to
	}
	return "", fmt.Errorf("%s: more than %d symbolic links", path, maxLinks)
}

// named replaces the temporary path in an error of the file system by the final path.
func named(path string, err error) error {
	if err == nil {
		return nil
	}
	var p *fs.PathError
	var l *os.LinkError
	switch {
	case errors.As(err, &p):
		err = p.Err
	case errors.As(err, &l):
		err = l.Err
	}
	if dir := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) {
		if _, found := os.Stat(dir); found == nil { // in /proc, for example
			return fmt.Errorf("%s: no file can be made in the folder %s", path, dir)
		}
		return fmt.Errorf("%s: the folder %s does not exist", path, dir)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// A temporary name is a dot, the final name, a dot, 16 hexadecimal digits and ".tmp".
const (
	randomDigits = 16
	suffix       = ".tmp"
)

func tempName(base string) string {
	var b [randomDigits / 2]byte
	rand.Read(b[:]) // never fails
	return "." + base + "." + hex.EncodeToString(b[:]) + suffix
}

// finalName returns the final name of a temporary file, and whether temp is a temporary name.
func finalName(temp string) (string, bool) {
	name, ok := strings.CutSuffix(temp, suffix)
	if at := len(name) - randomDigits - 1; ok && at > 1 && name[0] == '.' && name[at] == '.' {
		if _, err := hex.DecodeString(name[at+1:]); err == nil {
			return name[1:at], true
		}
	}
	return "", false
}

// createTemp creates a locked temporary file.
func createTemp(dir, base string) (*os.File, error) {
	for {
		f, err := os.OpenFile(filepath.Join(dir, tempName(base)), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
		if err != nil {
			return nil, err
		}
		lock(f)
		if isAt(f) {
			return f, nil
		}
		// Another program removed it as a leftover before it was locked.
		_ = f.Close()
	}
}

// isAt reports whether an open file still has its name.
func isAt(f *os.File) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	at, err := os.Lstat(f.Name())
	return err == nil && os.SameFile(open, at)
}

// Clean removes what killed programs left of files and folders whose final names match, and returns how many
// matching ones are still being written.
func Clean(dir string, match func(final string) bool) (written int) {
	entries, _ := os.ReadDir(dir) // if it cannot be read, there is nothing to clean
	for _, e := range entries {
		final, ok := finalName(e.Name())
		if ok && match(final) && (e.IsDir() || e.Type().IsRegular()) && !removeLeftover(filepath.Join(dir, e.Name())) {
			written++
		}
	}
	return written
}
