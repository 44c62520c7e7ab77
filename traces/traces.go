// Package traces holds the bundled traces, the options that each is replayed
// with, and the golden result of each replay.
//
//	NAME/trace.json, NAME/requests.jsonl, NAME/*.safetensors   the trace
//	NAME/options.json                                          sim.Options, of KV-Compress
//	NAME/golden.json                                           validate.Golden
//	NAME/methods/REPLAY/options.json, …/golden.json            the same of another method, or of
//	                                                           KV-Compress with other options
//
// The name of a replay is NAME, or NAME/REPLAY. Your own trace may have the same files in its
// folder. Start with [Open].
package traces

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"kvcompress/internal/near"
	"kvcompress/sim"
	"kvcompress/trace"
	"kvcompress/trace/regular"
)

//go:embed */*.json */*.jsonl */*.safetensors */methods/*/*.json
var bundled embed.FS

// Default is the bundled trace that commands use if none is named.
const Default = "six-stories"

// The files beside a trace with the options of its replay and the result; and the folder of a
// trace's further replays, each a folder with these two files.
const (
	OptionsFile = "options.json"
	GoldenFile  = "golden.json"
	MethodsDir  = "methods"
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

// Replays returns the names of the bundled replays: each trace, followed by its methods.
func Replays() []string {
	var replays []string
	for _, name := range Names() {
		replays = append(replays, name)
		files, err := fs.Sub(bundled, name)
		if err != nil {
			continue // the name of a folder that is there is a valid path
		}
		for _, method := range methods(files) {
			replays = append(replays, name+"/"+method)
		}
	}
	return replays
}

// methods returns the names of a trace's further replays, sorted.
func methods(files fs.FS) []string {
	found, err := fs.Glob(files, MethodsDir+"/*/"+OptionsFile)
	if err != nil {
		return nil // only if the pattern is malformed
	}
	for i, name := range found {
		found[i] = path.Base(path.Dir(name))
	}
	return found
}

// Expand returns the replays that a name stands for: itself, or for NAME/... the trace NAME and
// all its methods.
func Expand(name string) ([]string, error) {
	base, all := strings.CutSuffix(name, "/...")
	if !all {
		return []string{name}, nil
	}
	files, _, err := Find(base)
	if err != nil {
		return nil, err
	}
	names := []string{base}
	for _, method := range methods(files) {
		names = append(names, base+"/"+method)
	}
	return names, nil
}

// Bundle is a trace with the options to replay it with.
type Bundle struct {
	Name    string // of the replay
	Dir     string // where options and golden result lie; empty if they are bundled
	FS      fs.FS  // the folder that has them
	Trace   *trace.Trace
	Options sim.Options
}

// Find returns the files of a trace: of the directory with that name, or else of the bundled
// trace. dir is empty for a bundled one.
func Find(nameOrDir string) (files fs.FS, dir string, err error) {
	info, err := os.Stat(nameOrDir)
	switch {
	case err == nil && info.IsDir():
		return os.DirFS(nameOrDir), nameOrDir, nil
	case slices.Contains(Names(), nameOrDir):
		files, err = fs.Sub(bundled, nameOrDir)
		return files, "", err
	case err == nil:
		return nil, "", fmt.Errorf("%s is a file, and a trace is a folder; kvc trace import makes one from a log of requests", nameOrDir)
	default:
		return nil, "", fmt.Errorf("trace %q is neither a directory nor one of the bundled%s: %s", nameOrDir, near.Hint(nameOrDir, Names()), strings.Join(Names(), ", "))
	}
}

// place is the location of a replay.
type place struct {
	name   string
	files  fs.FS
	dir    string // empty for a bundled one
	method string // of the trace's methods; empty for its own options
}

// locate finds a replay: the trace of that name, or a method NAME/REPLAY of one.
func locate(name string) (place, error) {
	files, dir, err := Find(name)
	if err == nil {
		return place{name, files, dir, ""}, nil
	}
	base, method, ok := cutLast(name)
	if !ok {
		return place{}, err
	}
	files, dir, notFound := Find(base)
	if notFound != nil {
		return place{}, err
	}
	there := methods(files)
	switch {
	case len(there) == 0:
		return place{}, err
	case !slices.Contains(there, method):
		return place{}, fmt.Errorf("trace %s has no replay %q among its %s: %s", base, method, MethodsDir, strings.Join(there, ", "))
	}
	return place{base, files, dir, method}, nil
}

// cutLast cuts a name at its last slash.
func cutLast(name string) (before, after string, ok bool) {
	i := strings.LastIndexByte(name, '/')
	if i <= 0 || i == len(name)-1 {
		return name, "", false
	}
	return name[:i], name[i+1:], true
}

// Check returns an error if a name stands for no replay. The error lists the names.
func Check(name string) error {
	_, err := locate(name)
	return err
}

// Bundled opens a bundled replay by its name, even if a directory has the same name.
func Bundled(name string) (*Bundle, error) {
	if !slices.Contains(Replays(), name) {
		return nil, fmt.Errorf("no trace %q is bundled", name)
	}
	name, method, _ := strings.Cut(name, "/")
	files, err := fs.Sub(bundled, name)
	if err != nil {
		return nil, err
	}
	return place{name, files, "", method}.open(context.Background())
}

// Open opens a replay. name is the directory of a trace or else the name of a bundled one, or
// NAME/REPLAY for one of its methods. The options are those of its options.json, or the defaults
// if it has none.
func Open(name string) (*Bundle, error) { return OpenContext(context.Background(), name) }

// OpenContext is Open, but ends with the context's error if the context is done.
func OpenContext(ctx context.Context, name string) (*Bundle, error) {
	p, err := locate(name)
	if err != nil {
		return nil, err
	}
	return p.open(ctx)
}

func (p place) open(ctx context.Context) (*Bundle, error) {
	b := &Bundle{Name: filepath.Base(filepath.Clean(p.name)), Dir: p.dir, FS: p.files}
	var err error
	if b.Trace, err = trace.OpenContext(ctx, p.files, p.dir); err != nil {
		return nil, err
	}
	if b.Trace.Meta.RequestsOnly() {
		return nil, fmt.Errorf("%s holds requests only, and no tensors to replay", p.name)
	}
	if name := b.Trace.Meta.Name; name != "" {
		b.Name = name
	}
	if p.method != "" {
		b.Name += "/" + p.method
		if p.dir != "" {
			b.Dir = filepath.Join(p.dir, MethodsDir, p.method)
			b.FS = os.DirFS(b.Dir) // fs.Sub has no Stat, and opens pipes
		} else if b.FS, err = fs.Sub(p.files, path.Join(MethodsDir, p.method)); err != nil {
			return nil, err
		}
	}
	if b.Options, err = readOptions(b.FS); err != nil {
		return nil, fmt.Errorf("%s: %s: %w", path.Join(p.name, p.method), OptionsFile, err)
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
