package invoke

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ianlancetaylor/demangle"
)

// maxListed is how many names an error lists.
const maxListed = 20

// FindEntry returns which of the names of kernels is meant by a word: the name itself,
// or what it is in C++, with or without parameters, template arguments and namespaces,
// as long as only one kernel is.
func FindEntry(names []string, word string) (string, error) {
	if slices.Contains(names, word) {
		return word, nil
	}
	squeezed := squeeze(word)
	var forms [4][]string // what matches, from the closest on
	for _, name := range names {
		for i, form := range plainNames(name) {
			if form != "" && squeeze(form) == squeezed && !slices.Contains(forms[i], name) {
				forms[i] = append(forms[i], name)
			}
		}
	}
	for _, found := range forms {
		switch {
		case len(found) == 1:
			return found[0], nil
		case len(found) > 1:
			return "", fmt.Errorf("%q may be any of %s", word, listNames(found))
		}
	}
	if len(names) == 0 {
		return "", fmt.Errorf("no kernel %q: the file has none", word)
	}
	return "", fmt.Errorf("no kernel %q: there are %s", word, listNames(names))
}

func squeeze(s string) string { return strings.ReplaceAll(s, " ", "") }

// plainNames returns a name as it is in C++: with parameters, without them, without
// template arguments, and without namespaces as well.
func plainNames(name string) (forms [4]string) {
	full, err := demangle.ToString(name, demangle.NoClones)
	if err != nil {
		return forms
	}
	short, err := demangle.ToString(name, demangle.NoClones, demangle.NoParams)
	if err != nil {
		return forms
	}
	bare, err := demangle.ToString(name, demangle.NoClones, demangle.NoParams, demangle.NoTemplateParams)
	if err != nil {
		return forms
	}
	last := bare
	if i := strings.LastIndex(bare, "::"); i >= 0 {
		last = bare[i+2:]
	}
	return [4]string{full, short, bare, last}
}

// listNames lists names, with those of C++ in parentheses.
func listNames(names []string) string {
	var list []string
	for _, name := range names[:min(len(names), maxListed)] {
		if form := Plain(name); form != name {
			name += " (" + form + ")"
		}
		list = append(list, name)
	}
	text := strings.Join(list, ", ")
	if more := len(names) - maxListed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// Plain returns a kernel's name as it is in C++, or the name if it is not mangled.
func Plain(name string) string {
	if form, err := demangle.ToString(name, demangle.NoClones); err == nil {
		return form
	}
	return name
}
