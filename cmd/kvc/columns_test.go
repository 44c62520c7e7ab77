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

// TestPageInputs checks the numbers among the inputs of a page: thousands have separators, and a price its cents.
func TestPageInputs(t *testing.T) {
	t.Chdir(t.TempDir())
	for line, want := range map[string][]string{
		"sim --max-cache-tokens 512 --max-num-batched-tokens 8192 --max-model-len 8227 --slo-ttft 1500ms": {">5,000,000<", ">8,192<", ">8,227<", ">first token within 1.5 s<"},
		"sweep --compression tokens:512 --max-num-batched-tokens 8192 --price l4=0.8":                     {">5,000,000<", ">8,192<", ">$0.80 an hour<"},
	} {
		args := append(strings.Fields(line), "--requests", "six-stories", "--model", "llama-3.1-8b", "--gpu", "l4", "--html", "page.html")
		if code, _, errs := kvc(args...); code != exitDone {
			t.Fatalf("%v: %d: %s", args, code, errs)
		}
		page, err := os.ReadFile("page.html")
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range want {
			if !strings.Contains(string(page), text) {
				t.Errorf("%s: no %s", line, text)
			}
		}
	}
	if got := hourly(1.255) + " " + hourly(12000); got != "1.255 12,000.00" {
		t.Error(got)
	}
}

// TestUnknownForm checks that kvc calibrate names every form that it fits to if a file has none of them.
func TestUnknownForm(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("bad.csv", []byte("model,gpu,foo\nllama-3.1-8b,l4,1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, errs := kvc("calibrate", "--measurements", "bad.csv", "-o", "fit.json")
	for _, form := range []string{"serving runs", "a log of measured requests", "a throughput benchmark", "timings of kernels"} {
		if code != exitUsage || !strings.Contains(errs, form) {
			t.Errorf("%d: %s: no %s", code, errs, form)
		}
	}
}
