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

	"kvcompress/sim"
	"kvcompress/trace"
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

// Open opens a bundled trace by its name, or a trace in a directory. A directory
// named with a separator, as in ./story, is never taken for a bundled trace. The
// options are those of its options.json, or the defaults if it has none.
func Open(nameOrDir string) (*Bundle, error) {
	b := &Bundle{Name: nameOrDir}
	var err error
	if info, statErr := fs.Stat(bundled, nameOrDir); fs.ValidPath(nameOrDir) && statErr == nil && info.IsDir() {
		if b.FS, err = fs.Sub(bundled, nameOrDir); err != nil {
			return nil, err
		}
		b.Trace, err = trace.OpenFS(b.FS)
	} else {
		if _, err := os.Stat(nameOrDir); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("trace %q is neither a directory nor one of the bundled: %v", nameOrDir, Names())
		}
		b.Dir, b.FS = nameOrDir, os.DirFS(nameOrDir)
		b.Name = filepath.Base(filepath.Clean(nameOrDir))
		b.Trace, err = trace.Open(nameOrDir)
	}
	if err != nil {
		return nil, err
	}
	if b.Trace.Meta.Name != "" {
		b.Name = b.Trace.Meta.Name
	}
	if b.Options, err = readOptions(b.FS); err != nil {
		return nil, fmt.Errorf("%s: %s: %w", nameOrDir, OptionsFile, err)
	}
	return b, nil
}

func readOptions(fsys fs.FS) (sim.Options, error) {
	f, err := fsys.Open(OptionsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return sim.DefaultOptions(), nil
	}
	if err != nil {
		return sim.Options{}, err
	}
	defer f.Close()
	return sim.ReadOptions(f)
}
