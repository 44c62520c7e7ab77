package main

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvcompress/report"
	"kvcompress/sim"
	"kvcompress/sim/catalog"
	"kvcompress/sim/cost"
	"kvcompress/sim/plan"
	"kvcompress/sim/sweep"
)

// newFooter returns what stands at the foot of a page.
func newFooter(cmd *cobra.Command, expected []string) report.Footer {
	return report.Footer{Date: today(os.Getenv, time.Now), Version: version(), Command: commandLine(cmd), Expected: expected}
}

// expectedOn says which error the times on a card are to be expected to have.
func expectedOn(profile *cost.Profile, card catalog.Card, scheduler sim.Scheduler) string {
	e := plan.Expect(profile, card, scheduler)
	return card.Name + ": " + e.Text
}

// expectedOf says it of the cards of points.
func expectedOf(profile *cost.Profile, points []sweep.Point, scheduler sim.Scheduler) []string {
	var texts []string
	for i := range points {
		if i > 0 && points[i].Card == points[i-1].Card {
			continue
		}
		if card, err := catalog.FindCard(points[i].Card); err == nil {
			if text := expectedOn(profile, card, scheduler); !slices.Contains(texts, text) {
				texts = append(texts, text)
			}
		}
	}
	return texts
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
