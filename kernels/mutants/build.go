package mutants

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Source has the files that the PTX of a mutant is built from.
type Source struct {
	module string
	files  map[string]string // the module, the headers and the build script, after the mutant's edit
}

// entriesOf matches a line that instantiates a module's kernels for one format of the
// cache: "ENTRIES(bf16)".
var entriesOf = regexp.MustCompile(`(?m)^[A-Z_]+\((f32|f16|bf16|e4m3|e5m2)\)\n`)

// Source returns the mutant's sources. cu has the kernels' original sources. Kernels are
// instantiated only for the mutant's format of the cache.
func (m *Mutant) Source(cu fs.FS) (*Source, error) {
	names, err := fs.Glob(cu, "*.cuh")
	if err != nil {
		return nil, err
	}
	s := &Source{module: m.module(), files: map[string]string{}}
	for _, name := range append(names, s.module, "build") {
		text, err := fs.ReadFile(cu, name)
		if err != nil {
			return nil, fmt.Errorf("mutants: %s: %w", m.Name, err)
		}
		s.files[name] = string(text)
	}
	if s.files[m.File], err = m.edit(s.files[m.File]); err != nil {
		return nil, err
	}
	s.files[s.module] = entriesOf.ReplaceAllStringFunc(s.files[s.module], func(line string) string {
		if strings.HasSuffix(line, "("+m.format()+")\n") {
			return line
		}
		return "\n" // an empty line, so line numbers do not change
	})
	return s, nil
}

// Digest returns the SHA-256 of the source, in hexadecimal.
func (s *Source) Digest() string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		fmt.Fprintf(h, "%s\n%d\n%s", name, len(s.files[name]), s.files[name])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Build compiles the source to PTX with clang-19.
func (s *Source) Build(ctx context.Context) ([]byte, error) {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	for name, text := range s.files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			return nil, err
		}
	}
	if out, err := exec.CommandContext(ctx, filepath.Join(dir, "build"), s.module).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	return os.ReadFile(filepath.Join(dir, strings.TrimSuffix(s.module, ".cu")+".ptx"))
}
