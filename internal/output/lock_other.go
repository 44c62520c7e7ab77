//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package output

import "os"

// lock does nothing: a file that is open cannot be removed here.
func lock(*os.File) {}

// removeLeftover removes a temporary file, which fails while someone writes it, and reports
// whether it is gone. A folder is left, since files in it that are not open would go.
func removeLeftover(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular() && os.Remove(path) == nil
}
