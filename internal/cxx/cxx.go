// Package cxx demangles the names of C++.
package cxx

import (
	"strings"

	"github.com/ianlancetaylor/demangle"
)

// maxName bounds the length of a name to be demangled, and 2^maxPlain that of the result.
const (
	maxName  = 4096
	maxPlain = 13
)

// Demangle returns a mangled name as it is written in C++; an error if it is not mangled, or too long.
func Demangle(name string, options ...demangle.Option) (string, error) {
	if len(name) > maxName {
		return "", demangle.ErrNotMangledName
	}
	return demangle.ToString(name, append(options, demangle.NoClones, demangle.MaxLength(maxPlain))...)
}

// Variable returns the name of a variable without the function or namespace that it is in, or the name itself if
// it is not mangled.
func Variable(name string) string {
	plain, err := Demangle(name, demangle.NoParams)
	if err != nil {
		return name
	}
	return plain[strings.LastIndexByte(plain, ':')+1:]
}
