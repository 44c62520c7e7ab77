package main

import (
	"encoding/json"
	"fmt"
	"slices"

	"kvcompress/heads"
	"kvcompress/ref"
	"kvcompress/trace/regular"
)

// mapKey is the key under which --set takes a file of kvc heads for methods that have the
// option full: which heads the file has full is what full is set to.
const mapKey = "map"

// takesMap reports whether the method of that name has the option full.
func takesMap(name string) bool {
	e, err := ref.FindMethod(name)
	return err == nil && slices.ContainsFunc(e.Options(), func(o ref.Option) bool { return o.Key == "full" })
}

// fullHeads reads a map of heads and returns the option full.
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
