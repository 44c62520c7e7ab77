package main

import (
	"github.com/spf13/pflag"

	"kvcompress/validate"
)

// engineFlags are the flags of a command that runs an engine beside the reference.
type engineFlags struct{}

func (f *engineFlags) add(*pflag.FlagSet) {}

// engines makes engines as the flags ask for.
type engines struct {
	make    validate.NewEngine
	device  string // on which they run
	command string // the flags that ask for the same
}

func (e *engines) String() string { return "The reference and itself" }

func (f *engineFlags) open() (*engines, error) { return &engines{make: validate.Reference}, nil }
