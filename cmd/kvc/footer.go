package main

import (
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvcompress/report"
)

// newFooter returns what stands at the foot of a page.
func newFooter(command string) report.Footer {
	return report.Footer{Date: today(os.Getenv, time.Now), Version: version(), Command: command}
}

// today returns the date, or that of SOURCE_DATE_EPOCH, in seconds since 1970, which makes
// pages the same whenever they are made (reproducible-builds.org).
func today(getenv func(string) string, now func() time.Time) string {
	t := now()
	if s, err := strconv.ParseInt(getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil && s >= 0 && s < 1<<37 {
		t = time.Unix(s, 0)
	}
	return t.UTC().Format(time.DateOnly)
}

// elsewhere are the flags that say how and where something is done, and not what.
var elsewhere = map[string]bool{"workers": true, "shard": true, "out": true, "html": true, "csv": true, "plots": true, "json": true, "per-request": true, "per-step": true, "chrome-trace": true}

// commandLine is the command with the flags that were given, without those that say where
// results go.
func commandLine(cmd *cobra.Command) string {
	words := []string{cmd.CommandPath()}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if elsewhere[f.Name] {
			return
		}
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
			if !strings.HasSuffix(f.Value.Type(), "Array") { // an array is a flag that occurs several times
				values = []string{strings.Join(values, ",")}
			}
		}
		for _, v := range values {
			if f.Value.Type() == "bool" {
				words = append(words, "--"+f.Name+"="+v)
				continue
			}
			words = append(words, "--"+f.Name, asWord(v))
		}
	})
	return strings.Join(words, " ")
}

// asWord quotes a word for a shell where it has to be.
func asWord(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:,=+%@", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
