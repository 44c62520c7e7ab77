package words

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func Example() {
	fmt.Println(Count(1, "trace"), Count(int64(2), "query"), Count(uint64(0), "key"), Count(3, "array"))
	fmt.Println(Number(999), Number(-1000), Number(1536000), Whole(-999.5), Decimal(2047.84, 1), Decimal(-0.1234, 3), Count(2000, "token"))
	fmt.Println(OfAll(1, 1, "trace", "differ"), OfAll(2, 3, "trace", "differ"))
	fmt.Println(List([]string{"query", "key"}))
	fmt.Println(Do(1, "were not compared"), Do(0, "were not compared"), Do(1, "are"), Do(1, "differ in part"))
	// Output:
	// 1 trace 2 queries 0 keys 3 arrays
	// 999 -1,000 1,536,000 -1,000 2,047.8 -0.123 2,000 tokens
	// 1 of 1 trace differs 2 of 3 traces differ
	// query, key
	// was not compared were not compared is differs in part
}

// verbs are words in -s that are no plural nouns: "layer %d has".
var verbs = map[string]bool{
	"is": true, "has": true, "keeps": true, "occurs": true, "fails": true, "attends": true, "disagrees": true, "follows": true, "holds": true, "does": true,
}

// TestCounted checks that counts are formatted by this package, so that 1 has a singular noun: no
// format string has a number before a plural noun, except after words of a bound ("at most %d
// tokens") or in a product ("%d layers × %d heads").
func TestCounted(t *testing.T) {
	plural := regexp.MustCompile(`%[dv] ([A-Za-z]+s)\b( ×)?`)
	bound := regexp.MustCompile(`(most|least|than|to|×|[Aa]ll|the|these|this many) ?$`)
	for _, dir := range []string{"cmd/kvc", "report", "sim/plan", "validate/kit"} {
		err := filepath.WalkDir(filepath.Join("..", "..", dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				l, ok := n.(*ast.BasicLit)
				if !ok || l.Kind != token.STRING {
					return true
				}
				for _, m := range plural.FindAllStringSubmatchIndex(l.Value, -1) {
					if !verbs[l.Value[m[2]:m[3]]] && m[4] < 0 && !bound.MatchString(l.Value[:m[0]]) {
						t.Errorf("%s: %s: want words.Count", path, l.Value)
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
}
