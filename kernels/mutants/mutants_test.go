package mutants

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"

	"kvcompress/internal/testsize"
)

var update = flag.Bool("update", false, "look for what notices each bug, from the input that did last, and write it down")

const (
	noticedFile = "testdata/noticed.json"
	page        = "../../docs/planted-bugs.md"
)

// noticed is the check that detects a bug, and the input in which it does.
type noticed struct {
	Input string `json:"input"`
	By    string `json:"by"`
}

// sampled reports whether a test of this size runs the mutant or replay with the name: about a tenth
// of all names with -short, usually a sixth.
func sampled(name string) bool {
	return crc32.ChecksumIEEE([]byte(name))%testsize.Of[uint32](10, 6, 1) == 0
}

// TestEveryBugIsNoticed plants the sampled bugs and those without a record, and runs the input that detects each according
// to the record in testdata. With -update it plants all bugs and searches for such inputs, beginning with the recorded one.
func TestEveryBugIsNoticed(t *testing.T) {
	archive, err := ReadArchive(ArchiveFile)
	if err != nil {
		t.Fatal(err)
	}
	all, record := All(), readRecord(t)
	found := make([]noticed, len(all))
	t.Run("bugs", func(t *testing.T) {
		for i := range all {
			last, recorded := record[all[i].Name]
			if recorded && !sampled(all[i].Name) && !*update {
				found[i] = last
				continue
			}
			t.Run(all[i].Name, func(t *testing.T) {
				t.Parallel()
				tried := []string{last.Input}
				if *update {
					tried = append(tried, inputs(&all[i])...)
				}
				found[i] = notice(t, &all[i], archive, tried)
				switch {
				case found[i].By == "":
					t.Errorf("not noticed: %s", all[i].Bug)
				case found[i] != last && !*update:
					t.Errorf("noticed by %q, and the record has %q", found[i], last)
				}
			})
		}
	})
	if t.Failed() && !*update {
		t.Fatal("go test ./kernels/mutants -update looks for what notices each bug, and writes it down")
	}
	record = map[string]noticed{}
	for i := range all {
		if found[i].By != "" {
			record[all[i].Name] = found[i]
		}
	}
	text, err := json.MarshalIndent(record, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	same(t, noticedFile, append(text, '\n'))
	same(t, page, pageOf(all, found))
}

// TestNothingElseIsNoticed runs the same inputs without a bug.
func TestNothingElseIsNoticed(t *testing.T) {
	if testing.Short() {
		t.Skip("it runs dozens of pipelines")
	}
	tried := map[string]bool{}
	for _, n := range readRecord(t) {
		if tried[n.Input] || !sampled(n.Input) || strings.HasPrefix(n.Input, "trace ") { // kvc validate runs the bundled traces without a bug
			continue
		}
		tried[n.Input] = true
		t.Run(n.Input, func(t *testing.T) {
			t.Parallel()
			if by, err := (&planted{}).run(n.Input); by != "" || err != nil {
				t.Errorf("noticed by %q, error %v", by, err)
			}
		})
	}
}

// notice runs inputs on engines with a bug until the bug is detected.
func notice(t *testing.T, m *Mutant, archive Archive, inputs []string) noticed {
	replaced := m.Kernels(ptxOf(t, m, archive))
	format := ""
	for entry := range replaced {
		if strings.HasSuffix(entry, "_"+m.format()) {
			format = m.format()
		}
	}
	for _, input := range inputs {
		if input == "" {
			continue // there is no record
		}
		p := planted{kernels: replaced, format: format}
		by, err := p.run(input)
		if err != nil {
			t.Fatalf("%s: %v", input, err)
		}
		if by != "" {
			t.Logf("%s: %s", input, by)
			return noticed{input, by}
		}
	}
	return noticed{}
}

// ptxOf returns the PTX of a mutant from the archive or, if its source has changed since
// then, compiled by clang-19.
func ptxOf(t *testing.T, m *Mutant, archive Archive) []byte {
	source, err := m.Source(os.DirFS("../cu"))
	if err != nil {
		t.Fatal(err)
	}
	if text, ok := archive[source.Digest()]; ok {
		return text
	}
	if _, err := exec.LookPath("clang++-19"); err != nil {
		t.Fatalf("%s is out of date: go generate ./kernels/mutants, which needs clang-19", ArchiveFile)
	}
	text, err := source.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func readRecord(t *testing.T) map[string]noticed {
	record := map[string]noticed{}
	text, err := os.ReadFile(noticedFile)
	if *update && errors.Is(err, fs.ErrNotExist) {
		return record
	}
	if err == nil {
		err = json.Unmarshal(text, &record)
	}
	if err != nil {
		t.Fatal(err)
	}
	return record
}

// same checks that a file has the contents that the test computes, or with -update writes it.
func same(t *testing.T, name string, want []byte) {
	if *update {
		if err := os.WriteFile(name, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Errorf("%s is not what the test makes: go test ./kernels/mutants -update", name)
	}
}

// pageOf returns the contents of docs/planted-bugs.md.
func pageOf(all []Mutant, found []noticed) []byte {
	var b bytes.Buffer
	b.WriteString(introduction)
	for i, m := range all {
		fmt.Fprintf(&b, "| %s | %s | %s | %s (%s) |\n", m.Name, m.File, m.Bug, found[i].By, found[i].Input)
	}
	return b.Bytes()
}

const introduction = `# Planted bugs

A validation is worth what it would have noticed. Each of these bugs is a small edit of
a kernel, planted by itself (kernels/mutants); the table says what notices it: the
comparison with the reference after every stage, or a checker of the PTX machine, in a
bundled trace, which ` + "`kvc validate`" + ` replays, or in the random or edge pipelines of a seed, which
` + "`kvc validate --random 1 --seed N`" + ` runs, with ` + "`--method`" + ` where one is named. The test fails
where a bug goes unnoticed:

    go test ./kernels/mutants

| bug | in | what is wrong | noticed by |
|---|---|---|---|
`
