package kit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"kvcompress/internal/testsize"
	"kvcompress/npy"
	"kvcompress/ref"
	"kvcompress/traces"
	"kvcompress/validate"
)

func exportOf(t testing.TB, name string) *Export {
	t.Helper()
	b, err := traces.Bundled(name)
	if err != nil {
		t.Fatal(err)
	}
	return &Export{Name: b.Name, Trace: b.Trace, Options: b.Options, Arrays: NPY}
}

// writeTo plans and writes an export to a new folder.
func writeTo(t testing.TB, x *Export) (string, *Manifest) {
	t.Helper()
	m, err := x.Plan(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "golden")
	if err := x.Write(context.Background(), dir, m); err != nil {
		t.Fatal(err)
	}
	return dir, m
}

// inMemory copies a folder into memory, for tests that change it.
func inMemory(t testing.TB, dir string) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		files[name] = &fstest.MapFile{Data: data}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// clone returns a copy in which files can be replaced.
func clone(files fstest.MapFS) fstest.MapFS {
	out := fstest.MapFS{}
	for name, f := range files {
		out[name] = f
	}
	return out
}

func compare(t testing.TB, golden, theirs fs.FS, opt Options) *Report {
	t.Helper()
	r, err := Compare(context.Background(), golden, theirs, opt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestDigests computes the digests of golden results from exported arrays: an export must contain exactly
// what a golden result covers.
func TestDigests(t *testing.T) {
	names := []string{"uniform-fp8", "recall/razor", "gqa/h2o-mask", "block-size-1", "random-fp8", "recall/snapkv", "gqa/h2o-real-drop", "gqa/tova", "story", "by-request"}
	for _, name := range names[:testsize.Of(2, 4, len(names))] { // the last two have thousands of files
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, m := writeTo(t, exportOf(t, name))
			b, err := traces.Bundled(name)
			if err != nil {
				t.Fatal(err)
			}
			f, err := b.FS.Open(traces.GoldenFile)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			golden, err := validate.ReadGolden(f)
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, step := range golden.Steps {
				for _, want := range step.Stages {
					s := &m.Stages[n]
					n++
					if s.Step != step.Step || s.Stage != want.Stage || !slices.Equal(s.Sequences, want.Seqs) {
						t.Fatalf("%s is step %d, %s of %v", s.Path, step.Step, want.Stage, want.Seqs)
					}
					for _, d := range want.Digest {
						if got := digestOf(t, dir, s, d.Part, m); got != d.Sum {
							t.Fatalf("%s: %s is %s, golden %s", s.Path, d.Part, got, d.Sum)
						}
					}
				}
			}
			if n != len(m.Stages) {
				t.Errorf("%d stages, golden %d", len(m.Stages), n)
			}
		})
	}
}

// digestOf computes a digest of package validate (see its digest.go) from exported arrays.
func digestOf(t *testing.T, dir string, s *Stage, name string, m *Manifest) string {
	load := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(dir, NPY.fileOf(s.Path, name)))
		if err != nil {
			t.Fatal(err)
		}
		r := bytes.NewReader(data)
		if _, err := npy.ReadHeader(r); err != nil {
			t.Fatal(err)
		}
		return data[len(data)-r.Len():]
	}
	hash := sha256.New()
	lists := func(counts, entries, before []byte) { // each preceded by its count
		for i := 0; i < len(counts); i += 4 {
			n := 4 * int(binary.LittleEndian.Uint32(counts[i:]))
			hash.Write(before[i : i+4])
			hash.Write(entries[:n])
			entries = entries[n:]
		}
	}
	switch name {
	case "tables":
		lists(load("block_counts"), load("tables"), load("kv_counts"))
	case "evicted":
		lists(load("evicted_counts"), load("evicted"), load("evicted_counts"))
	case "hidden", "folded", "into":
		if s.Stage != ref.StageDecide {
			hash.Write(load(name))
			break
		}
		// Only heads with such a list are digested.
		counts, entries := load(name+"_counts"), load(name)
		for i := 0; i < len(counts); i += 4 {
			if n := 4 * int(binary.LittleEndian.Uint32(counts[i:])); n > 0 {
				hash.Write(counts[i : i+4])
				hash.Write(entries[:n])
				entries = entries[n:]
			}
		}
	case "kv":
		keys, values := load("keys"), load("values")
		row := m.Options.RowBytes()
		for i := 0; i < len(keys); i += row {
			hash.Write(keys[i : i+row])
			hash.Write(values[i : i+row])
		}
	case "free":
		hash.Write(load("owners"))
	default:
		hash.Write(load(name))
	}
	return hex.EncodeToString(hash.Sum(nil)[:8])
}

// TestFormats compares exports in the two formats, and checks that no temporary files are left.
func TestFormats(t *testing.T) {
	for _, name := range []string{"story", "recall/snapkv", "uniform-fp8", "mha"} {
		x := exportOf(t, name)
		x.Steps = 6
		dir, m := writeTo(t, x)
		x.Arrays = Safetensors
		other, _ := writeTo(t, x)
		for _, pair := range [][2]string{{dir, other}, {other, dir}, {dir, dir}} {
			r := compare(t, os.DirFS(pair[0]), os.DirFS(pair[1]), Options{})
			if r.Agree == 0 || r.Agree != r.Cases || r.Skipped > 0 || r.Unknown != nil || r.Failure(true) != nil {
				t.Errorf("%s: %d of %d agree, %d skipped, unknown %v", name, r.Agree, r.Cases, r.Skipped, r.Unknown)
			}
		}
		entries, err := os.ReadDir(filepath.Dir(dir))
		if err != nil || len(entries) != 1 {
			t.Errorf("%s: beside the folder are %v, %v", name, entries, err)
		}
		if last := m.Stages[len(m.Stages)-1]; last.Step != 5 {
			t.Errorf("%s: the last of 6 steps is %d", name, last.Step)
		}
		back, err := ReadManifest(os.DirFS(dir))
		if err != nil {
			t.Fatal(err)
		}
		var a, b bytes.Buffer
		if err := errors.Join(m.Write(&a), back.Write(&b)); err != nil || a.String() != b.String() {
			t.Errorf("%s: the manifest is another when it is read: %v", name, err)
		}
	}
}

// smallest is an export of few steps, shared by all tests that change it.
var smallest = sync.OnceValues(func() (fstest.MapFS, *Manifest) {
	b, err := traces.Bundled("gqa/razor")
	if err != nil {
		panic(err)
	}
	x := &Export{Name: b.Name, Trace: b.Trace, Options: b.Options, Steps: 3, Arrays: NPY}
	m, err := x.Plan(context.Background())
	if err != nil {
		panic(err)
	}
	dir, err := os.MkdirTemp("", "kit")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := x.Write(context.Background(), filepath.Join(dir, "golden"), m); err != nil {
		panic(err)
	}
	files := fstest.MapFS{}
	for i := range m.Stages {
		for _, p := range m.Stages[i].Parts {
			data, err := os.ReadFile(filepath.Join(dir, "golden", p.File))
			if err != nil {
				panic(err)
			}
			files[p.File] = &fstest.MapFile{Data: data}
		}
	}
	var text bytes.Buffer
	if err := m.Write(&text); err != nil {
		panic(err)
	}
	files[ManifestFile] = &fstest.MapFile{Data: text.Bytes()}
	return files, m
})

// TestPlanted changes one bit in the first and in the last element of every part of every stage, and checks
// the reported place.
func TestPlanted(t *testing.T) {
	names := []string{"gqa/razor", "uniform-fp8", "recall/snapkv", "gqa/h2o-mask", "story"}
	for _, name := range names[:testsize.Of(1, 2, len(names))] {
		x := exportOf(t, name)
		x.Steps = 5
		dir, m := writeTo(t, x)
		golden := inMemory(t, dir)
		seen := map[string]bool{}
		for i := range m.Stages {
			s := &m.Stages[i]
			for _, p := range s.Parts {
				n, _ := p.Elements()
				if kind := string(s.Stage) + p.Name; n == 0 || seen[kind] {
					continue
				} else {
					seen[kind] = true
				}
				e, _ := elementOf(p.DType)
				data := golden[p.File].Data
				for _, at := range []int{len(data) - int(n)*e.size, len(data) - e.size} {
					theirs := clone(golden)
					changed := slices.Clone(data)
					changed[at] ^= 1
					theirs[p.File] = &fstest.MapFile{Data: changed}
					r := compare(t, golden, theirs, Options{})
					if r.First == nil || r.First.File != p.File || r.First.Step != s.Step || r.First.Stage != s.Stage || r.Failure(false) == nil {
						t.Errorf("%s: %s, byte %d: found %+v", name, p.File, at, r.First)
						continue
					}
					if p.Counts == "" && len(p.Dims) > 0 && p.Dims[0].Axis == AxisSequence && r.First.At.Layer < 0 {
						t.Errorf("%s: %s: no layer in %+v", name, p.File, r.First.At)
					}
					if p.Counts != "" && (r.First.At.Layer < 0 || r.First.At.Head < 0 || r.First.At.Index < 0) {
						t.Errorf("%s: %s: no place in %+v", name, p.File, r.First.At)
					}
					isCounts := strings.HasSuffix(p.Name, countsSuffix)
					if !isCounts && (r.Cases-r.Agree != 1 || r.First.More != 0) {
						t.Errorf("%s: %s: %d arrays differ, %d more values", name, p.File, r.Cases-r.Agree, r.First.More)
					}
					alone := compare(t, golden, theirs, Options{Parts: []string{p.Name}})
					if alone.First == nil || alone.First.Line() != r.First.Line() {
						t.Errorf("%s: %s alone: %+v", name, p.File, alone.First)
					}
				}
			}
		}
		if len(seen) < 10 {
			t.Errorf("%s: only %d parts", name, len(seen))
		}
	}
}
