package main

import (
	"context"
	"errors"

	"kvcompress/sim"
)

// The exit codes of every command.
const (
	exitDone        = 0   // done and in agreement
	exitFailed      = 1   // a disagreement, or a failed check
	exitUsage       = 2   // wrong use, or a job that could not be done
	exitInterrupted = 130 // by a signal, as a shell has it: 128 and SIGINT
)

// failure is a disagreement or a failed check, which the command has already reported in
// full. The error says it in one line.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// usageError is wrong use: a flag or argument that cannot be meant.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

// exitCode returns the exit code for a command's error. ctx is done if a signal came.
func exitCode(ctx context.Context, err error) int {
	switch {
	case err == nil:
		return exitDone
	case ctx.Err() != nil:
		return exitInterrupted
	case errors.As(err, new(failure)), errors.As(err, new(*sim.RuleError)):
		return exitFailed
	default:
		return exitUsage
	}
}

// interrupted says of a command that was interrupted what it has done all the same.
func interrupted(err error, done string) error {
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted: " + done)
	}
	return err
}
