//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package output

import "os"

// lock does nothing: these systems do not remove an open file.
func lock(*os.File) {}

// removeLeftover removes a temporary file, which fails while a program has it open, and reports whether it is
// gone. It does not remove a folder, since files in it that are not open would be deleted.
func removeLeftover(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular() && os.Remove(path) == nil
}
