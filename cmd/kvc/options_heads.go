package main

import (
	"encoding/json"
	"fmt"
	"slices"

	"kvcompress/heads"
	"kvcompress/ref"
	"kvcompress/trace/regular"
)

// mapKey is a key of --set for methods with the option full: map=FILE sets full to the full
// heads of a map that kvc heads wrote.
const mapKey = "map"

// takesMap reports whether the method of that name has the option full.
func takesMap(name string) bool {
	e, err := ref.FindMethod(name)
	return err == nil && slices.ContainsFunc(e.Options(), func(o ref.Option) bool { return o.Key == "full" })
}

// fullHeads reads a map of heads and returns the value of the option full.
func fullHeads(file string) (json.RawMessage, error) {
	f, err := regular.OpenFile(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	defer f.Close()
	m, err := heads.ReadMap(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return json.Marshal(m.FullHeads())
}
