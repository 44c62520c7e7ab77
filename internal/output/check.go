package output

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Check returns an error if a file with this path cannot be written. It is for use before a long computation.
func Check(path string) error {
	final, err := target(path)
	if err != nil {
		return err
	}
	if f, err := os.OpenFile(final, os.O_WRONLY, 0); err == nil {
		_ = f.Close() // errors do not matter: nothing was written
	} else if !errors.Is(err, fs.ErrNotExist) {
		return named(path, err)
	}
	return named(path, checkDir(filepath.Dir(final), filepath.Base(final)))
}

// CheckFolder returns an error if files cannot be written to this folder. The folder and its parents need not
// exist yet.
func CheckFolder(path string) error {
	final, err := follow(filepath.Clean(path))
	if err != nil {
		return err
	}
	for dir := final; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir):
			continue
		case err != nil:
			return named(path, err)
		case !info.IsDir():
			return fmt.Errorf("%s: %s is a file, not a folder", path, dir)
		}
		return named(path, checkDir(dir, "check"))
	}
}

// CheckNewFolder is CheckFolder for [CreateFolder]: if the folder exists, it must be empty.
func CheckNewFolder(path string) error {
	final, err := follow(filepath.Clean(path))
	if err == nil {
		err = checkEmpty(final)
	}
	if err == nil {
		err = CheckFolder(filepath.Dir(final))
	}
	return err
}

// checkDir creates a file in a folder and removes it.
func checkDir(dir, base string) error {
	f, err := createTemp(dir, base)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// Same reports whether two paths name the same file or folder, possibly through links. It need not exist yet.
func Same(a, b string) bool {
	a, errA := follow(a)
	b, errB := follow(b)
	if errA != nil || errB != nil {
		return false
	}
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	switch {
	case errA == nil && errB == nil:
		return os.SameFile(infoA, infoB)
	case errA == nil || errB == nil || filepath.Base(a) != filepath.Base(b):
		return false
	}
	dirA, dirB := filepath.Dir(a), filepath.Dir(b)
	if filepath.Clean(dirA) == filepath.Clean(dirB) {
		return true
	}
	return dirA != a && dirB != b && Same(dirA, dirB)
}
