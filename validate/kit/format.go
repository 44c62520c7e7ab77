package kit

import (
	"encoding/xml"
	"fmt"
	"io"
	"kvcompress/internal/words"
	"strings"
	"text/tabwriter"
)

// Text writes the report as text: a line for each part, missing arrays, and the first difference.
func (r *Report) Text(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PART\tARRAYS\tABSENT\tVALUES\tDIFFER\tRESULT")
	for i := range r.Parts {
		p := &r.Parts[i]
		result := "agree"
		switch {
		case p.Differ > 0:
			result = fmt.Sprintf("%s %s, the first in %s", words.Count(p.Cases-p.Agree, "array"), words.Do(p.Cases-p.Agree, "differ"), p.First)
		case p.Cases == 0:
			result = "not compared"
		case p.Tolerated > 0:
			result = fmt.Sprintf("agree, %s within the tolerance, by %s ulp at most", words.Number(p.Tolerated), words.Number(p.MaxULPs))
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", p.Name, words.Number(p.Cases), words.Number(p.Skipped), words.Number(p.Values), words.Number(p.Differ), result)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for i := range r.Files {
		if r.Files[i].Error != "" {
			fmt.Fprintf(w, "\nnot read: %s\n", r.Files[i].Error)
		}
	}
	if r.First != nil {
		fmt.Fprintf(w, "\n%s  in  %s\n", r.First.Text(r.Trace), r.First.File)
	}
	if len(r.Unknown) > 0 {
		fmt.Fprintf(w, "\nTheirs has files that are not in the export; are their names right?\n")
		for _, name := range r.Unknown {
			fmt.Fprintf(w, "  %s\n", name)
		}
	}
	_, err := fmt.Fprintf(w, "\n%s\n", r.summary())
	return err
}

// summary returns the report in one line.
func (r *Report) summary() string {
	text := fmt.Sprintf("%s, %s", words.OfAll(r.Agree, r.Cases, "array", "agree"), words.Count(r.Values, "value"))
	if r.Tolerated > 0 {
		text += fmt.Sprintf(", %s of them within the tolerance, by %s ulp at most", words.Number(r.Tolerated), words.Number(r.MaxULPs))
	}
	if r.Skipped > 0 {
		text += fmt.Sprintf("; %s %s", words.Count(r.Skipped, "array"), words.Do(r.Skipped, "were not compared"))
	}
	return text + "."
}

// GitHub writes the report as annotations of a GitHub workflow
// (https://docs.github.com/actions/reference/workflow-commands-for-github-actions): an error for the first
// difference, one for each part that differs and each unreadable file, and a notice of what was not compared.
// Then it writes the text for the log.
func (r *Report) GitHub(w io.Writer) error {
	if r.First != nil {
		annotate(w, "error", r.Trace+": first divergence", r.First.Text(r.Trace)+"in "+r.First.File)
	}
	var absent []string
	for i := range r.Parts {
		p := &r.Parts[i]
		if p.Differ > 0 {
			annotate(w, "error", r.Trace+": "+p.Name, fmt.Sprintf("%s, in %s of %s; the first in %s", words.OfAll(p.Cases-p.Agree, p.Cases, "array", "differ"), words.Number(p.Differ), words.Count(p.Values, "value"), p.First))
		}
		if p.Skipped > 0 {
			absent = append(absent, fmt.Sprintf("%d × %s", p.Skipped, p.Name))
		}
	}
	for i := range r.Files {
		if r.Files[i].Error != "" {
			annotate(w, "error", r.Trace+": not read", r.Files[i].Error)
		}
	}
	if len(absent) > 0 {
		annotate(w, "notice", r.Trace+": not compared", strings.Join(absent, ", "))
	}
	if len(r.Unknown) > 0 {
		annotate(w, "warning", r.Trace+": files that are not in the export", strings.Join(r.Unknown, "\n"))
	}
	if r.Cases == 0 {
		annotate(w, "error", r.Trace, "nothing was compared: none of the export's arrays is there")
	}
	_, err := fmt.Fprintln(w, r.summary())
	return err
}

// annotate writes a workflow command.
func annotate(w io.Writer, level, title, message string) {
	data := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	fmt.Fprintf(w, "::%s title=%s::%s\n", level, property.Replace(title), data.Replace(strings.TrimSpace(message)))
}

// The elements of a JUnit report, as CI systems read them.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Skipped  int          `xml:"skipped,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		Failure *junitMessage `xml:"failure"`
		Error   *junitMessage `xml:"error"`
		Skipped *junitMessage `xml:"skipped"`
	}
	junitMessage struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// JUnit writes the report as JUnit XML: a suite for each stage, a test for each part. With all, a missing
// part is a failure; otherwise it is skipped. If no test ran, one fails.
func (r *Report) JUnit(w io.Writer, all bool) error {
	suites := junitSuites{Name: r.Trace}
	var suite *junitSuite
	path := ""
	for i := range r.Results {
		x := &r.Results[i]
		if at := stageOf(x); suite == nil || at != path {
			suites.Suites = append(suites.Suites, junitSuite{Name: r.Trace + " " + at})
			suite, path = &suites.Suites[len(suites.Suites)-1], at
		}
		c := junitCase{Class: r.Trace + "." + path, Name: x.Kind}
		switch {
		case x.Error != "":
			c.Error = &junitMessage{x.Error, ""}
			suite.Errors++
		case x.Skipped != "" && all:
			c.Failure = &junitMessage{x.Skipped, ""}
			suite.Failures++
		case x.Skipped != "":
			c.Skipped = &junitMessage{x.Skipped, ""}
			suite.Skipped++
		case !x.Agree:
			c.Failure = &junitMessage{x.Mismatch, x.Divergence.Text(r.Trace)}
			suite.Failures++
		}
		suite.Tests++
		suite.Cases = append(suite.Cases, c)
	}
	if r.Cases == 0 {
		nothing := junitCase{Class: r.Trace, Name: "anything", Failure: &junitMessage{"nothing was compared: none of the export's arrays is there", ""}}
		suites.Suites = append(suites.Suites, junitSuite{Name: r.Trace, Tests: 1, Failures: 1, Cases: []junitCase{nothing}})
	}
	for _, s := range suites.Suites {
		suites.Tests += s.Tests
		suites.Failures += s.Failures
		suites.Errors += s.Errors
		suites.Skipped += s.Skipped
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", " ")
	if err := enc.Encode(suites); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// stageOf returns the path of a result's stage.
func stageOf(x *Result) string {
	if dir, _, ok := strings.Cut(x.File, "/"); ok {
		return dir
	}
	return strings.TrimSuffix(x.File, ".safetensors")
}
