package main

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// TestHelpOfFlags checks that the flags of every help text fit helpWidth columns, and that
// defaults are shown in a form that can be typed.
func TestHelpOfFlags(t *testing.T) {
	width, err := strconv.Atoi(helpWidth)
	if err != nil {
		t.Fatal(err)
	}
	untyped := regexp.MustCompile(`\(default (\[|.*\.0+\)|\))`)
	checked := 0
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		for line := range strings.Lines(cmd.UsageString()) {
			isFlag := strings.HasPrefix(line, "      ") || strings.HasPrefix(line, "  -")
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); isFlag && n > width {
				t.Errorf("%s: %d columns: %s", cmd.CommandPath(), n, line)
			}
			if untyped.MatchString(line) {
				t.Errorf("%s: a default that cannot be typed: %s", cmd.CommandPath(), line)
			}
			checked++
		}
		for _, sub := range cmd.Commands() {
			check(sub)
		}
	}
	check(newRootCmd(&strings.Builder{}, nil))
	if checked < 1000 {
		t.Errorf("%d lines of help", checked)
	}
}
