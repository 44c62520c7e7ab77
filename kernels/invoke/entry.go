package invoke

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ianlancetaylor/demangle"

	"kvcompress/internal/cxx"
)

// maxListed is the number of names that an error lists.
const maxListed = 20

// FindEntry returns the kernel name that a word refers to: the name itself, or its C++ form with or without
// parameters, template arguments and namespaces, if that is unambiguous.
func FindEntry(names []string, word string) (string, error) {
	if slices.Contains(names, word) {
		return word, nil
	}
	squeezed := squeeze(word)
	var found [plainForms][]string // matches, by form
	for _, name := range names {
		for i, form := range plainNames(name) {
			if form != "" && squeeze(form) == squeezed && !slices.Contains(found[i], name) {
				found[i] = append(found[i], name)
			}
		}
	}
	for _, of := range found {
		switch {
		case len(of) == 1:
			return of[0], nil
		case len(of) > 1:
			var list []string
			for _, name := range of {
				list = append(list, fmt.Sprintf("%s (%s)", name, Plain(name)))
			}
			return "", fmt.Errorf("%q may be any of %s", word, listed(list))
		}
	}
	if len(names) == 0 {
		return "", fmt.Errorf("no kernel %q: the file has none", word)
	}
	// List the kernels with the same bare name, or if there are none, all.
	base := bareName(word)
	var near, all []string
	for _, name := range names {
		forms := plainNames(name)
		form := forms[1]
		if form == "" {
			form = name
		}
		if forms[plainForms-1] == base && base != "" {
			near = append(near, form)
		}
		all = append(all, form)
	}
	if near != nil {
		all = near
	}
	return "", fmt.Errorf("no kernel %q: there are %s", word, listed(slices.Compact(all)))
}

func squeeze(s string) string { return strings.ReplaceAll(s, " ", "") }

// plainForms is the number of forms that plainNames returns.
const plainForms = 5

// plainNames returns the C++ forms of a name: with parameters, without them, without namespaces, without
// template arguments, and without both.
func plainNames(name string) (forms [plainForms]string) {
	for i, options := range [][]demangle.Option{
		{}, {demangle.NoParams}, nil, {demangle.NoParams, demangle.NoTemplateParams},
	} {
		if options == nil {
			continue
		}
		form, err := cxx.Demangle(name, options...)
		if err != nil {
			return [plainForms]string{}
		}
		forms[i] = form
	}
	forms[2], forms[4] = withoutScope(forms[1]), withoutScope(forms[3])
	return forms
}

// withoutScope removes the namespaces before a name.
func withoutScope(name string) string {
	head, rest := name, ""
	if i := strings.IndexByte(name, '<'); i >= 0 {
		head, rest = name[:i], name[i:]
	}
	if i := strings.LastIndex(head, "::"); i >= 0 {
		head = head[i+2:]
	}
	return head + rest
}

// bareName returns the bare name in a user's word.
func bareName(word string) string {
	if i := strings.IndexAny(word, "<("); i >= 0 {
		word = word[:i]
	}
	return withoutScope(strings.TrimSpace(word))
}

// listed lists names, at most maxListed of them.
func listed(names []string) string {
	text := strings.Join(names[:min(len(names), maxListed)], ", ")
	if more := len(names) - maxListed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// Plain returns a kernel's name in C++, or the name itself if it is not mangled.
func Plain(name string) string {
	if form, err := cxx.Demangle(name); err == nil {
		return form
	}
	return name
}
