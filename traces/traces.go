// Package traces holds the bundled traces, the options that each is replayed
// with, and the golden result of each.
//
//	NAME/trace.json, NAME/requests.jsonl, NAME/*.safetensors   the trace
//	NAME/options.json                                          sim.Options
//	NAME/golden.json                                           validate.Golden
//
// A trace of one's own may have the same two files beside it.
package traces

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kvcompress/sim"
	"kvcompress/trace"
	"kvcompress/trace/regular"
)

//go:embed */*.json */*.jsonl */*.safetensors
var bundled embed.FS

// Default is the bundled trace that is taken where none is named.
const Default = "six-stories"

// The files beside a trace that say how to replay it, and what comes out.
const (
	OptionsFile = "options.json"
	GoldenFile  = "golden.json"
)

// Names returns the names of the bundled traces, sorted.
func Names() []string {
	entries, err := bundled.ReadDir(".")
	if err != nil {
		return nil // an embedded root can always be read
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Bundle is a trace with the options to replay it with.
type Bundle struct {
	Name    string
	Dir     string // where it lies; empty for a bundled one
	FS      fs.FS  // its files
	Trace   *trace.Trace
	Options sim.Options
}

// Find returns the files of a trace: of the directory of that name, or else of the
// bundled trace. dir is empty for a bundled one.
func Find(nameOrDir string) (files fs.FS, dir string, err error) {
	info, err := os.Stat(nameOrDir)
	switch {
	case err == nil && info.IsDir():
		return os.DirFS(nameOrDir), nameOrDir, nil
	case slices.Contains(Names(), nameOrDir):
		files, err = fs.Sub(bundled, nameOrDir)
		return files, "", err
	case err == nil:
		return nil, "", fmt.Errorf("%s is not a directory", nameOrDir)
	default:
		return nil, "", fmt.Errorf("trace %q is neither a directory nor one of the bundled: %s", nameOrDir, strings.Join(Names(), ", "))
	}
}

// Bundled opens a bundled trace by its name, whatever directories there are.
func Bundled(name string) (*Bundle, error) {
	if !slices.Contains(Names(), name) {
		return nil, fmt.Errorf("no trace %q is bundled", name)
	}
	files, err := fs.Sub(bundled, name)
	if err != nil {
		return nil, err
	}
	return open(name, files, "")
}

// Open opens a trace that Find finds. Its options are those of its options.json,
// or the defaults if it has none.
func Open(nameOrDir string) (*Bundle, error) {
	files, dir, err := Find(nameOrDir)
	if err != nil {
		return nil, err
	}
	return open(nameOrDir, files, dir)
}

func open(nameOrDir string, files fs.FS, dir string) (*Bundle, error) {
	b := &Bundle{Name: filepath.Base(filepath.Clean(nameOrDir)), Dir: dir, FS: files}
	var err error
	if dir == "" {
		b.Trace, err = trace.OpenFS(files)
	} else {
		b.Trace, err = trace.Open(dir) // its errors name the directory
	}
	if err != nil {
		return nil, err
	}
	if b.Trace.Meta.RequestsOnly() {
		return nil, fmt.Errorf("%s holds requests only, and no tensors to replay", nameOrDir)
	}
	if name := b.Trace.Meta.Name; name != "" {
		b.Name = name
	}
	if b.Options, err = readOptions(files); err != nil {
		return nil, fmt.Errorf("%s: %s: %w", nameOrDir, OptionsFile, err)
	}
	return b, nil
}

func readOptions(fsys fs.FS) (sim.Options, error) {
	f, err := regular.Open(fsys, OptionsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return sim.DefaultOptions(), nil
	}
	if err != nil {
		return sim.Options{}, err
	}
	defer f.Close()
	return sim.ReadOptions(f)
}
