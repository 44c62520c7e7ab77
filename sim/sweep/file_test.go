package sweep

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kvcompress/journal"
)

func TestParseShard(t *testing.T) {
	env := func(pairs ...string) func(string) string {
		return func(name string) string {
			if i := slices.Index(pairs, name); i >= 0 {
				return pairs[i+1]
			}
			return ""
		}
	}
	slurm := env("SLURM_ARRAY_TASK_ID", "4", "SLURM_ARRAY_TASK_COUNT", "8", "SLURM_ARRAY_TASK_MIN", "1")
	for _, test := range []struct {
		in   string
		env  func(string) string
		want string
	}{
		{"0/1", env(), "0/1"}, {"7/8", env(), "7/8"},
		{"auto/8", env("JOB_COMPLETION_INDEX", "3"), "3/8"},
		{"auto", slurm, "3/8"}, {"auto/5", slurm, "3/5"}, {"auto/3", slurm, ""},
		{"auto", env("JOB_COMPLETION_INDEX", "3"), ""}, {"auto/8", env(), ""},
		{"8/8", env(), ""}, {"-1/8", env(), ""}, {"1", env(), ""}, {"a/b", env(), ""}, {"0/0", env(), ""}, {"0/9999999", env(), ""}, {"", env(), ""},
	} {
		s, err := journal.ParseShard(test.in, test.env)
		if (err != nil) != (test.want == "") || err == nil && s.String() != test.want {
			t.Errorf("%q: %v, %v; want %q", test.in, s, err, test.want)
		}
	}
	var all []int
	for i := range 4 {
		all = append(all, journal.Shard{I: i, N: 4}.Indices(10)...)
	}
	if slices.Sort(all); !slices.Equal(all, All(10)) {
		t.Errorf("shards have %v", all)
	}
}

// runShard runs a shard as the command does, until some of its points are done.
func runShard(t *testing.T, dir string, s journal.Shard, points []Point, atMost int) (ran int) {
	t.Helper()
	j := must(OpenJournal(dir, s, Header{Digest: "abc", Items: len(points), Inputs: []byte(`{}`)}))
	defer j.Close()
	var left []int
	for _, i := range s.Indices(len(points)) {
		if j.Done(i) == nil {
			left = append(left, i)
		}
	}
	stop := errors.New("stop")
	_, err := Run(t.Context(), points, left, 2, fake, func(o *Outcome) error {
		if ran == atMost {
			return stop
		}
		ran++
		return j.Add(o)
	})
	if errors.Is(err, stop) {
		return ran
	}
	if err != nil {
		t.Fatal(err)
	}
	must(j.Finish())
	return ran
}

// A shard that is stopped, with its last line cut off, continues where it was; and
// the merged shards equal an unsharded sweep.
func TestResumeAndMerge(t *testing.T) {
	a := axes()
	points := must(a.Points())
	whole, parts := t.TempDir(), t.TempDir()
	runShard(t, whole, journal.Whole(), points, len(points))
	const n = 3
	var files []*File
	for i := range n {
		s := journal.Shard{I: i, N: n}
		path := filepath.Join(parts, s.FileName("sweep"))
		if i == 1 {
			runShard(t, parts, s, points, 3)
			if _, err := os.Stat(path); err == nil {
				t.Error("a shard that was stopped has a finished file")
			}
			f := must(os.OpenFile(path+".part", os.O_APPEND|os.O_WRONLY, 0))
			must(f.WriteString(`{"index":4,"mod`))
			f.Close()
			_, err := Merge(append(slices.Clone(files), must(ReadFile(path+".part"))))
			var missing *journal.IncompleteError
			if !errors.As(err, &missing) || missing.Missing != 24-8-3 || !slices.Contains(missing.Shards, "2/3") {
				t.Errorf("an unfinished sweep: %v", err)
			}
			if ran := runShard(t, parts, s, points, 100); ran != 8-3 {
				t.Errorf("resumed, it ran %d points", ran)
			}
		}
		runShard(t, parts, s, points, 100)
		files = append(files, must(ReadFile(path)))
	}
	if ran := runShard(t, parts, journal.Shard{I: 1, N: n}, points, 100); ran != 0 {
		t.Errorf("a finished shard ran %d points", ran)
	}
	slices.Reverse(files)
	merged := must(Merge(files))
	var got bytes.Buffer
	if err := journal.Write(&got, &kind, merged.Header, merged.Items); err != nil {
		t.Fatal(err)
	}
	want := must(os.ReadFile(filepath.Join(whole, journal.Whole().FileName("sweep"))))
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("merged:\n%s\nwhole:\n%s", got.Bytes(), want)
	}
	if names := must(filepath.Glob(filepath.Join(parts, "*"))); len(names) != n {
		t.Errorf("left are %v", names)
	}
}

func TestMergeRefuses(t *testing.T) {
	a := axes()
	points := must(a.Points())
	file := func(sweep string, throughput float64) *File {
		o := must(fake(context.Background(), points[0]))
		o.ThroughputPerCard = throughput
		return &File{Header: Header{Digest: sweep, Items: 1, Shard: "0/2"}, Items: []Outcome{o}}
	}
	for want, files := range map[string][]*File{
		"no file":           nil,
		"different sweeps":  {file("a", 1), file("b", 1)},
		"different results": {file("a", 1), file("a", 2)},
	} {
		if _, err := Merge(files); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if m, err := Merge([]*File{file("a", 1), file("a", 1)}); err != nil || len(m.Items) != 1 {
		t.Errorf("equal results twice: %v", err)
	}
}

func TestOtherSweepInTheFolder(t *testing.T) {
	dir := t.TempDir()
	a := axes()
	runShard(t, dir, journal.Whole(), must(a.Points()), 100)
	if _, err := OpenJournal(dir, journal.Whole(), Header{Digest: "def", Items: 24}); err == nil || !strings.Contains(err.Error(), "another sweep") {
		t.Errorf("got %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("{\"kvc_sweep\":1,\"sweep\":\"x\",\"points\":2,\"shard\":\"0/1\",\"inputs\":{}}\n{\"index\":1,\"model\":\"m\"}\n"))
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		file, err := Read(bytes.NewReader(in))
		if err != nil {
			return
		}
		if merged, err := Merge([]*File{file}); err == nil && len(merged.Items) != file.Header.Items {
			t.Error(fmt.Sprint(len(merged.Items), " of ", file.Header.Items))
		}
	})
}
