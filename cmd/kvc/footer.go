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

// newFooter returns the footer of a page: the command, the version and the date.
func newFooter(command string) report.Footer {
	return report.Footer{Date: today(os.Getenv, time.Now), Version: version(), Command: command}
}

// today returns the date. SOURCE_DATE_EPOCH, in seconds since 1970, replaces it, so that pages
// are reproducible (reproducible-builds.org).
func today(getenv func(string) string, now func() time.Time) string {
	t := now()
	if s, err := strconv.ParseInt(getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil && s >= 0 && s < 1<<37 {
		t = time.Unix(s, 0)
	}
	return t.UTC().Format(time.DateOnly)
}

// elsewhere are the flags that do not affect the results, only how they are computed and where
// they go.
var elsewhere = map[string]bool{"workers": true, "shard": true, "out": true, "html": true, "csv": true, "plots": true, "json": true, "per-request": true, "per-step": true, "chrome-trace": true}

// commandLine returns the command with the flags that were given and affect the results.
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

// asWord returns a word quoted for a shell where that is needed.
func asWord(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:,=+%@", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
