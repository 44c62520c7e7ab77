//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package output

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// lock marks a file or folder as being written while it is open. On a file system without locks it does
// nothing, and nothing there is taken for a leftover.
func lock(f *os.File) { _ = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }

// removeLeftover removes a temporary file or folder that no program is writing, and reports whether it is
// gone.
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
