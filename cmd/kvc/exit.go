package main

import "errors"

// The exit codes of every command.
const (
	exitDone   = 0 // done and in agreement
	exitFailed = 1 // a disagreement, a failed check, or an error on the way
	exitUsage  = 2 // wrong use
)

// failure is a result that the command has already reported in full: a
// disagreement or a failed check. The error says it in one line.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// usageError is wrong use: a flag or argument that cannot be meant.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

// exitCode returns the exit code for a command's error.
func exitCode(err error) int {
	var usage usageError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, new(failure)):
		return exitFailed
	case errors.As(err, &usage):
		return exitUsage
	default:
		return exitFailed
	}
}
