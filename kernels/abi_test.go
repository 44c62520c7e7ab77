package kernels

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestPage compares docs/kernels.md with the kernels: the page must have all kernels, with the arguments of
// each in order. other maps names on the page to names in the sources.
func TestPage(t *testing.T) {
	text, err := os.ReadFile("../docs/kernels.md")
	if err != nil {
		t.Fatal(err)
	}
	page := documented(string(text))
	other := map[string]string{"f": "factors"}
	seen := map[string]bool{}
	files, err := filepath.Glob("cu/*.cu")
	if err != nil || len(files) != len(Modules()) {
		t.Fatal(files, err)
	}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for name, params := range parameters(string(source)) {
			for i, p := range params {
				if o, ok := other[p]; ok {
					params[i] = o
				}
			}
			seen[name] = true
			if got, ok := page[name]; !ok || !slices.Equal(got, params) {
				t.Errorf("%s: %s takes %q, docs/kernels.md says %q", file, name, params, got)
			}
		}
	}
	for name := range page {
		if !seen[name] {
			t.Errorf("docs/kernels.md has %s, which no source has", name)
		}
	}
	for _, name := range Names() {
		if i := strings.LastIndexByte(name, '_'); !seen[name] && !seen[name[:i]+"_F"] {
			t.Errorf("%s is in no source", name)
		}
	}
}

var (
	headline = regexp.MustCompile(`^\*\*(\w+)\*\*(?:, \*\*(\w+)\*\*)?`)
	argument = regexp.MustCompile("^\\| (`[^|]*`) \\|")
	quotedAs = regexp.MustCompile("`(\\w+)`")
	entry    = regexp.MustCompile(`extern "C" __global__ void (?:__launch_bounds__\([^)]*\)\s*)?(\w+)(##format)?\(([^)]*)\)`)
	lastWord = regexp.MustCompile(`(\w+)\s*$`)
)

// documented returns the arguments of each kernel on the page.
func documented(page string) map[string][]string {
	kernels := map[string][]string{}
	var now []string
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, "**") {
			now = nil
		}
		if m := headline.FindStringSubmatch(line); m != nil {
			for _, name := range m[1:] {
				if name != "" {
					now = append(now, name)
					kernels[name] = nil
				}
			}
		}
		m := argument.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		for _, word := range quotedAs.FindAllStringSubmatch(m[1], -1) {
			for _, name := range now {
				kernels[name] = append(kernels[name], word[1])
			}
		}
	}
	// The page describes this kernel only by the differences.
	costs := kernels["costs"]
	if i := slices.Index(costs, "newest"); i >= 0 {
		kernels["costs_random"] = append(slices.Clone(costs[:i]), "heads", "sequence", "seed")
	}
	return kernels
}

// parameters returns the names of the parameters of each kernel in a source. The name of a kernel with
// variants for the formats ends in F, and its parameters are those of the fp8 variants, as only these have
// scales.
func parameters(source string) map[string][]string {
	kernels := map[string][]string{}
	source = strings.ReplaceAll(source, "\\\n", "\n")
	for _, m := range entry.FindAllStringSubmatch(source, -1) {
		name := m[1]
		if m[2] != "" {
			name += "F"
		}
		var params, plain []string
		for _, p := range strings.Split(m[3], ",") {
			word := lastWord.FindStringSubmatch(p)[1]
			params = append(params, word)
			if !strings.HasPrefix(word, "k_scale") && !strings.HasPrefix(word, "v_scale") {
				plain = append(plain, word)
			}
		}
		if others, ok := kernels[name]; ok && !slices.Equal(others, plain) {
			params = []string{"other parameters than those of other formats, but for scales"}
		}
		kernels[name] = params
	}
	return kernels
}
