package regular

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestOneDoor checks that only this package opens users' files and only internal/output writes
// them.
func TestOneDoor(t *testing.T) {
	doors := map[string]string{
		"trace/regular":   "it opens",
		"internal/output": "it writes",
		"kernels/mutants": "its files are the repository's own",
		"kernels/cuda":    "it asks the driver for its version",
		"kernels/capture": "into a folder of internal/output",
		"validate/kit":    "into a folder of internal/output",
		"kernels/mutate":  "into a temporary folder of its own, for another program",
		"journal":         "it is continued",
	}
	calls := []string{"Create", "Open", "OpenFile", "ReadFile", "WriteFile", "Rename", "CreateTemp", "MkdirTemp", "OpenInRoot", "OpenRoot"}
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || len(d.Name()) > 2 && d.Name()[0] == '.') {
			return filepath.SkipDir
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(rel))
		if _, ok := doors[dir]; ok || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasPrefix(dir, "kernels/mutants/") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "os" && slices.Contains(calls, s.Sel.Name) {
					t.Errorf("%s calls os.%s: package regular opens, and internal/output writes", rel, s.Sel.Name)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
