package main

import (
	"html"
	"os"
	"regexp"
	"strings"
	"testing"
)

// mixedColumns returns the columns of numbers of a page's tables, with two of their cells, whose units or numbers of decimals
// differ.
func mixedColumns(page string) []string {
	var wrong []string
	cell := regexp.MustCompile(`(?s)<t[hd]([^>]*)>(.*?)</t[hd]>`)
	number := regexp.MustCompile(`^\$?-?[0-9,]+(?:\.([0-9]+))?(.*)$`)
	for _, table := range regexp.MustCompile(`(?s)<table.*?</table>`).FindAllString(page, -1) {
		first := map[int]string{} // cell of each column
		var heads []string
		for i, row := range regexp.MustCompile(`(?s)<tr.*?</tr>`).FindAllString(table, -1) {
			for at, c := range cell.FindAllStringSubmatch(row, -1) {
				text := html.UnescapeString(c[2])
				if i == 0 {
					heads = append(heads, strings.ReplaceAll(text, "<br>", " "))
				}
				m := number.FindStringSubmatch(text)
				if i == 0 || m == nil || strings.Contains(c[1], `class="l`) {
					continue
				}
				before := number.FindStringSubmatch(first[at])
				switch {
				case before == nil:
					first[at] = text
				case len(m[1]) != len(before[1]) || m[2] != before[2]:
					wrong = append(wrong, heads[at]+": "+first[at]+" and "+text)
				}
			}
		}
	}
	return wrong
}

// TestColumnsAlike checks that all numbers of a column have one unit and one number of decimals, on the pages of
// projections whose times are from milliseconds to many minutes.
func TestColumnsAlike(t *testing.T) {
	t.Chdir(t.TempDir())
	run := func(line string) {
		t.Helper()
		if code, _, errs := kvc(strings.Fields(line)...); code != exitDone && code != exitFailed {
			t.Fatalf("%s: exit code %d: %s", line, code, errs)
		}
	}
	run("trace generate --requests 200 --arrivals poisson:5/s --prompt lognormal:1500,4000 --output lognormal:100,400 -o load")
	for _, line := range []string{
		"sim --gpu l4 --max-cache-tokens 512 --max-num-batched-tokens 8192 --slo-ttft 2s",
		"sim --gpu h100",
		"sweep --gpu l4,h100 --compression none,tokens:512 --load 0.01,0.5,1 --max-num-seqs 8,128 --slo-ttft 2s --price l4=0.01,h100=3",
		"plan --gpu l4,h100 --compression none,tokens:512 --slo-ttft 2s --slo-tpot 60ms --price l4=0.80,h100=3",
	} {
		run(line + " --requests load --model llama-3.1-8b --html page.html")
		page, err := os.ReadFile("page.html")
		if err != nil {
			t.Fatal(err)
		}
		if got := mixedColumns(string(page)); got != nil {
			t.Errorf("%s:\n%s", line, strings.Join(got, "\n"))
		}
	}
	if mixedColumns(`<table><tr><th>ms</th></tr><tr><td>1.50</td></tr><tr><td>2.5</td></tr></table>`) == nil {
		t.Error("a column with one and two decimals is not found")
	}
}
