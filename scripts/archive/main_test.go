package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestArchives: equal folders, created in another order and at another time, give equal bytes that can be unpacked.
func TestArchives(t *testing.T) {
	t.Chdir(t.TempDir())
	const commit = "2024-05-06T07:08:09+02:00"
	names := []string{"kvc", "README.md", "docs/a.md", "docs/b/c.svg"}
	for i, dir := range []string{"one/kvc-1", "two/kvc-1"} {
		for j := range names {
			name := filepath.Join(dir, names[(j+i)%len(names)])
			mode := os.FileMode(0o640)
			if filepath.Base(name) == "kvc" {
				mode = 0o700
			}
			if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, bytes.Repeat([]byte(filepath.Base(name)), 1000), mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(name, time.Time{}, time.Unix(int64(1e9*(i+1)), 0)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, kind := range []string{".zip", ".tar.gz"} {
		var packed [2][]byte
		for i, dir := range []string{"one/kvc-1", "two/kvc-1"} {
			file := filepath.Join(filepath.Dir(dir), "packed"+kind)
			if err := run([]string{dir, file, commit}); err != nil {
				t.Fatal(err)
			}
			var err error
			if packed[i], err = os.ReadFile(file); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(packed[0], packed[1]) {
			t.Errorf("%s: equal folders give other bytes", kind)
		}
		got := map[string]string{}
		if kind == ".zip" {
			z, err := zip.NewReader(bytes.NewReader(packed[0]), int64(len(packed[0])))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range z.File {
				r, err := f.Open()
				if err != nil {
					t.Fatal(err)
				}
				text, err := io.ReadAll(r)
				if err != nil || len(text)%1000 != 0 || !f.Modified.Equal(time.Date(2024, 5, 6, 5, 8, 9, 0, time.UTC)) {
					t.Errorf("%s: %d bytes, %v, %v", f.Name, len(text), f.Modified, err)
				}
				got[f.Name] = f.Mode().String()
			}
		} else {
			z, err := gzip.NewReader(bytes.NewReader(packed[0]))
			if err != nil {
				t.Fatal(err)
			}
			r := tar.NewReader(z)
			for h, err := r.Next(); err != io.EOF; h, err = r.Next() {
				if err != nil {
					t.Fatal(err)
				}
				got[h.Name] = h.FileInfo().Mode().String()
			}
		}
		if len(got) != 4 || got["kvc-1/kvc"] != "-rwxr-xr-x" || got["kvc-1/docs/b/c.svg"] != "-rw-r--r--" {
			t.Errorf("%s: %v", kind, got)
		}
	}
	for _, args := range [][]string{nil, {"one", "a.rar", commit}, {"one", "a.zip", "yesterday"}, {"none", "a.zip", commit}} {
		if err := run(args); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
	if left, err := filepath.Glob("a.*"); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}
