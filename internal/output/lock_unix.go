//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package output

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// lock marks an open file or folder as being written, for as long as it is open. A file
// system without locks has none, and then nothing of it is taken for a leftover.
func lock(f *os.File) { _ = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }

// removeLeftover removes a temporary file or folder that nobody is writing, and reports
// whether it is gone.
func removeLeftover(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return false
	}
	return !isAt(f) || os.RemoveAll(path) == nil
}
