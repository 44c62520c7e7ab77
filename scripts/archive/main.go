// Command archive packs a folder into a .zip or a .tar.gz:
//
//	go run ./scripts/archive FOLDER FILE TIME
//
// Equal folders give equal bytes on every system: files are sorted by name, have the
// modification time TIME (RFC 3339) and no owner, and are executable if their owner can
// execute them.
package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"kvcompress/internal/output"
	"kvcompress/trace/regular"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "archive:", err)
		os.Exit(2)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return errors.New("want FOLDER FILE TIME")
	}
	at, err := time.Parse(time.RFC3339, args[2])
	if err != nil {
		return err
	}
	return output.Write(args[1], func(w io.Writer) error {
		switch {
		case strings.HasSuffix(args[1], ".zip"):
			return writeZip(w, args[0], at.UTC())
		case strings.HasSuffix(args[1], ".tar.gz"):
			return writeTar(w, args[0], at.UTC())
		}
		return fmt.Errorf("%s: want a .zip or a .tar.gz", args[1])
	})
}

// entry is a file of an archive.
type entry struct {
	name string // slash-separated path that begins with the folder's name
	mode fs.FileMode
	size int64
	path string
}

// entries yields the files of a folder in the order of their names.
func entries(dir string, add func(entry) error) error {
	return filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s: %w", file, regular.ErrNotRegular)
		}
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if info.Mode()&0o100 != 0 || filepath.Ext(file) == ".exe" {
			mode = 0o755
		}
		return add(entry{path.Join(filepath.Base(dir), filepath.ToSlash(rel)), mode, info.Size(), file})
	})
}

func copyFile(w io.Writer, file string) error {
	f, err := regular.OpenFile(file)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

func writeZip(w io.Writer, dir string, at time.Time) error {
	z := zip.NewWriter(w)
	err := entries(dir, func(e entry) error {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate, Modified: at}
		h.SetMode(e.mode)
		part, err := z.CreateHeader(h)
		if err != nil {
			return err
		}
		return copyFile(part, e.path)
	})
	return errors.Join(err, z.Close())
}

func writeTar(w io.Writer, dir string, at time.Time) error {
	packed, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	t := tar.NewWriter(packed)
	err = entries(dir, func(e entry) error {
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: e.name, Mode: int64(e.mode), Size: e.size, ModTime: at}); err != nil {
			return err
		}
		return copyFile(t, e.path)
	})
	return errors.Join(err, t.Close(), packed.Close())
}
