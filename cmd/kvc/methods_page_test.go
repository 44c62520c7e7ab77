package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kvcompress/internal/docstest"
	"kvcompress/ref"
)

var update = flag.Bool("update", false, "rewrite the table in docs/methods.md")

// methodPage returns the page in docs/methods of a method, and its heading there.
func methodPage(name string) (page, heading string) {
	switch name {
	case "snapkv-published":
		return "snapkv.md", "## " + name
	case "snapkv-kvpress", "streaming-llm-kvpress":
		return "kvpress.md", "## " + name
	default:
		return name + ".md", "# " + name
	}
}

// TestMethodsPage compares the table in docs/methods.md with the table of methods. It checks that
// every method has a page, in the form of the others, which names every option with its default.
func TestMethodsPage(t *testing.T) {
	const path, begin, end = "../../docs/methods.md", "-update writes it -->\n", "<!-- end -->"
	var table strings.Builder
	table.WriteString("| method | watches | does | from | when | reads | bytes of a token and KV head |\n|---|---|---|---|---|---|---|\n")
	for _, e := range ref.Methods() {
		page, heading := methodPage(e.Name)
		link := "methods/" + page
		if strings.HasPrefix(heading, "## ") {
			link += "#" + e.Name
		}
		fmt.Fprintf(&table, "| [%s](%s) | %s | %s | %s | %s | %s | %s |\n", e.Name, link, e.Watches, e.Does, e.From, e.When, e.Reads, e.Payload)
	}
	docstest.Between(t, path, begin, end, table.String(), *update, "go test ./cmd/kvc -run MethodsPage -update")

	for _, e := range ref.Methods() {
		name, heading := methodPage(e.Name)
		text, err := os.ReadFile(filepath.Join("../../docs/methods", name))
		if err != nil {
			t.Error(err)
			continue
		}
		page := "\n" + string(text)
		wants := []string{"\n" + heading + "\n", "**Memory.**"}
		if strings.HasPrefix(heading, "# ") {
			for axis, what := range map[string]string{"watches": e.Watches, "does": e.Does, "from": e.From, "when": e.When, "reads": e.Reads} {
				if what != "" {
					wants = append(wants, "\n| "+axis+" | ")
				}
			}
			wants = append(wants, "**Idea", "**Options.**", "**Checked against**")
		}
		if e.Name != ref.KVCompress {
			for _, o := range e.Options() {
				wants = append(wants, "`"+o.Key+"`")
			}
		}
		if !e.Planned {
			wants = append(wants, "../images/kept/"+e.Name+".svg")
		}
		for _, want := range wants {
			if !strings.Contains(page, want) {
				t.Errorf("docs/methods/%s, %s: no %q", name, e.Name, want)
			}
		}
		for _, o := range e.Options() { // as in `window` (32)
			stated := regexp.MustCompile("`"+regexp.QuoteMeta(o.Key)+"` \\(`?([^)`,;:]*)").FindAllStringSubmatch(page, -1)
			if len(stated) > 0 && !slices.ContainsFunc(stated, func(m []string) bool { return m[1] == strings.Trim(o.Default, `"`) }) {
				t.Errorf("docs/methods/%s: %s has the default %s, not %s", name, o.Key, o.Default, stated[0][1])
			}
		}
	}
}

// TestLinks checks that links between the pages lead to files.
func TestLinks(t *testing.T) {
	var pages []string
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../docs/methods/*.md", "../../ref/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	link := regexp.MustCompile(`\]\(([^)#\s]+)(#[^)\s]*)?\)`)
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", page, m[1])
			}
		}
	}
}
