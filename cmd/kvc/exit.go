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
	exitInterrupted = 130 // interrupted by a signal: 128 + SIGINT, as in shells
)

// failure is a disagreement or a failed check. The command has already printed the details; the
// error is a summary in one line.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// usageError is wrong use: an invalid flag or argument.
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

// interrupted returns the error of a command that was interrupted; done says what it has done
// nevertheless, or that "nothing is written".
func interrupted(err error, done string) error {
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted: " + done)
	}
	return err
}
