package kit

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"kvcompress/internal/output"
	"kvcompress/npy"
	"kvcompress/ref"
	"kvcompress/safetensors"
	"kvcompress/strictjson"
	"kvcompress/validate"
)

// firstOf returns the first part with a name in a stage of a kind.
func firstOf(t testing.TB, m *Manifest, stage ref.Stage, name string) (*Stage, *Part) {
	t.Helper()
	for i := range m.Stages {
		s := &m.Stages[i]
		if j := slices.IndexFunc(s.Parts, func(p Part) bool { return p.Name == name }); s.Stage == stage && j >= 0 {
			return s, &s.Parts[j]
		}
	}
	t.Fatalf("no %s of a %s", name, stage)
	return nil, nil
}

// npyFile is a .npy file.
func npyFile(t testing.TB, kind string, shape []int64, data []byte) *fstest.MapFile {
	t.Helper()
	header, err := npy.AppendHeader(nil, npy.Header{Type: kind, Shape: shape})
	if err != nil {
		t.Fatal(err)
	}
	return &fstest.MapFile{Data: append(header, data...)}
}

// body returns the bytes after the header of a .npy file.
func body(t testing.TB, f *fstest.MapFile) []byte {
	t.Helper()
	r := bytes.NewReader(f.Data)
	if _, err := npy.ReadHeader(r); err != nil {
		t.Fatal(err)
	}
	return f.Data[len(f.Data)-r.Len():]
}

// TestTypes gives the expected values in other types and shapes.
func TestTypes(t *testing.T) {
	golden, m := smallest()
	_, outputs := firstOf(t, m, ref.StageDecode, "outputs")
	_, positions := firstOf(t, m, ref.StagePrefill, "positions")
	_, keys := firstOf(t, m, ref.StagePrefill, "keys")
	floats := element{"f32", floating, 4, 0}.floats(nil, body(t, golden[outputs.File]))
	ints := element{i32, integer, 4, 0}.ints(nil, body(t, golden[positions.File]))
	format, _ := elementOf(keys.DType)
	stored := format.floats(nil, body(t, golden[keys.File]))
	doubles := func(values []float32) (raw []byte) {
		for _, v := range values {
			raw = binary.LittleEndian.AppendUint64(raw, math.Float64bits(float64(v)))
		}
		return raw
	}
	longs := func(values []int64) (raw []byte) {
		for _, v := range values {
			raw = binary.LittleEndian.AppendUint64(raw, uint64(v))
		}
		return raw
	}
	for _, c := range []struct {
		name  string
		part  *Part
		kind  string
		shape []int64
		data  []byte
		want  string // substring of the error or mismatch; empty if they agree
	}{
		{"outputs as binary64", outputs, "<f8", outputs.shape(), doubles(floats), ""},
		{"keys as binary64", keys, "<f8", keys.shape(), doubles(stored), ""},
		{"keys as binary32", keys, "<f4", keys.shape(), appendFloats(nil, stored...), ""},
		{"keys as their bits", keys, map[int]string{1: "|u1", 2: "<u2", 4: "<u4"}[format.size], keys.shape(), body(t, golden[keys.File]), ""},
		{"positions as int64", positions, "<i8", positions.shape(), longs(ints), ""},
		{"positions as uint64", positions, "<u8", positions.shape(), longs(ints), ""},
		{"beyond int64", positions, "<u8", positions.shape(), bytes.Repeat([]byte{255}, 8*len(ints)), "theirs 9223372036854775807"},
		{"NaN", outputs, "<f4", outputs.shape(), bytes.Repeat([]byte{255}, 4*len(floats)), "theirs NaN = 0xffffffff"},
		{"integers for floats", outputs, "<i4", outputs.shape(), make([]byte, 4*len(floats)), "elements are i32, want f32"},
		{"floats for integers", positions, "<f8", positions.shape(), doubles(make([]float32, len(ints))), "elements are f64, want integers"},
		{"big-endian", outputs, ">f4", outputs.shape(), make([]byte, 4*len(floats)), "big-endian"},
		{"complex", outputs, "<c8", outputs.shape(), make([]byte, 8*len(floats)), "dtype <c8 is not supported"},
		{"flat", outputs, "<f4", []int64{int64(len(floats))}, appendFloats(nil, floats...), "shape: golden ["},
		{"one short", positions, "<i8", []int64{int64(len(ints) - 1)}, longs(ints[1:]), "length of the list: position, of all heads"},
		{"a truncated file", positions, "<i8", positions.shape(), longs(ints[1:]), "does not match the"},
		{"one too long", positions, "<i8", positions.shape(), longs(append(ints, 1)), "does not match the"},
		{"no end", positions, "|u1", []int64{math.MaxInt64}, []byte{1}, "does not match the"},
		{"empty", positions, "|u1", []int64{0, math.MaxInt64}, nil, "shape: golden ["},
	} {
		theirs := clone(golden)
		theirs[c.part.File] = npyFile(t, c.kind, c.shape, c.data)
		r, err := Compare(context.Background(), golden, theirs, Options{})
		text := ""
		if err != nil {
			text = err.Error()
		} else if r.First != nil {
			text = r.First.Line()
		}
		if (c.want == "") != (text == "") || !strings.Contains(text, c.want) {
			t.Errorf("%s: %q, want %q", c.name, text, c.want)
		}
		if err != nil && (!slices.ContainsFunc(r.Files, func(f FileResult) bool { return f.Error != "" }) || r.Agree != r.Cases || r.Skipped != 1) {
			t.Errorf("%s: the others are not compared: %d of %d agree, %d skipped", c.name, r.Agree, r.Cases, r.Skipped)
		}
	}
}

// TestHeads changes the lengths of heads: only lists of equal length are compared.
func TestHeads(t *testing.T) {
	golden, m := smallest()
	s, positions := firstOf(t, m, ref.StageMove, "positions")
	_, counts := firstOf(t, m, ref.StageMove, "kv_counts")
	was := element{i32, integer, 4, 0}.ints(nil, body(t, golden[counts.File]))
	ints := element{i32, integer, 4, 0}.ints(nil, body(t, golden[positions.File]))
	now := slices.Clone(was)
	now[1]++ // one more KV in layer 0, head 1 …
	list := slices.Insert(slices.Clone(ints), int(was[0]+was[1]), 77)
	list[len(list)-1] = 78 // … and another position in the last head
	theirs := clone(golden)
	raw := func(values []int64) (raw []byte) {
		for _, v := range values {
			raw = appendInts(raw, int32(v))
		}
		return raw
	}
	theirs[counts.File] = npyFile(t, "<i4", counts.shape(), raw(now))
	theirs[positions.File] = npyFile(t, "<i4", []int64{int64(len(list))}, raw(list))
	r := compare(t, golden, theirs, Options{Parts: []string{"positions"}})
	want := fmt.Sprintf("step %d, stage move of sequence %d: length of the list: position at sequence %d, layer 0, head 1: golden %d, theirs %d",
		s.Step, s.Sequences[0], s.Sequences[0], was[1], now[1])
	if r.First == nil || r.First.Line() != want || r.First.More != 1 {
		t.Errorf("found %+v, want %s", r.First, want)
	}
	now[0] = -1
	theirs[counts.File] = npyFile(t, "<i4", counts.shape(), raw(now))
	if _, err := Compare(context.Background(), golden, theirs, Options{}); err == nil || !strings.Contains(err.Error(), "a count of -1") {
		t.Error(err)
	}
	now[0] = math.MaxInt32
	theirs[counts.File] = npyFile(t, "<i4", counts.shape(), raw(now))
	if r := compare(t, golden, theirs, Options{}); r.part("positions").Differ != 1 {
		t.Errorf("of wrong counts: %+v", r.part("positions"))
	}
}

func TestTolerance(t *testing.T) {
	golden, m := smallest()
	_, outputs := firstOf(t, m, ref.StageDecode, "outputs")
	_, keys := firstOf(t, m, ref.StagePrefill, "keys")
	values := element{"f32", floating, 4, 0}.floats(nil, body(t, golden[outputs.File]))
	theirs := clone(golden)
	for i := range values {
		values[i] = math.Nextafter32(values[i], 100)
	}
	theirs[outputs.File] = npyFile(t, "<f4", outputs.shape(), appendFloats(nil, values...))
	for _, c := range []struct {
		tolerance validate.Tolerance
		agree     bool
	}{
		{validate.Tolerance{}, false}, {validate.Tolerance{ULPs: 1}, true}, {validate.Tolerance{RTol: 1e-6}, true}, {validate.Tolerance{RTol: 1e-9}, false},
		{validate.Tolerance{ATol: 1e-5}, true}, {validate.Tolerance{ATol: 1e-20}, false},
	} {
		r := compare(t, golden, theirs, Options{Tolerance: c.tolerance})
		if (r.Failure(true) == nil) != c.agree || c.agree && (r.Tolerated != len(values) || r.MaxULPs != 1) {
			t.Errorf("%+v: %d of %d agree, %d tolerated by %d ulp", c.tolerance, r.Agree, r.Cases, r.Tolerated, r.MaxULPs)
		}
	}
	changed := slices.Clone(golden[keys.File].Data)
	changed[len(changed)-1] ^= 1
	theirs[keys.File] = &fstest.MapFile{Data: changed}
	r := compare(t, golden, theirs, Options{Tolerance: validate.Tolerance{ULPs: 1 << 30, RTol: 0.5, ATol: 100}})
	if r.Cases-r.Agree != 1 || r.First.What != "key" {
		t.Errorf("a key within the tolerance: %+v", r.First)
	}
}

// TestAbsent removes files of theirs.
func TestAbsent(t *testing.T) {
	golden, m := smallest()
	s, outputs := firstOf(t, m, ref.StageDecode, "outputs")
	theirs := fstest.MapFS{outputs.File: golden[outputs.File], s.Path + "/output.npy": golden[outputs.File]}
	r := compare(t, golden, theirs, Options{})
	if r.Cases != 1 || r.Agree != 1 || r.Skipped != len(r.Results)-1 || r.Failure(false) != nil || r.Failure(true) == nil {
		t.Errorf("%d of %d agree, %d skipped of %d: %v, %v", r.Agree, r.Cases, r.Skipped, len(r.Results), r.Failure(false), r.Failure(true))
	}
	if !slices.Equal(r.Unknown, []string{s.Path + "/output.npy"}) {
		t.Errorf("unknown %v", r.Unknown)
	}
	if r := compare(t, golden, fstest.MapFS{"a.txt": {}}, Options{}); r.Failure(false) == nil || r.Unknown != nil {
		t.Errorf("nothing is there: %v, %v", r.Failure(false), r.Unknown)
	}
	if r := compare(t, golden, theirs, Options{Parts: []string{"evicted"}}); r.Failure(false) == nil {
		t.Error("nothing of the parts is there, and no failure")
	}
	_, err := Compare(context.Background(), golden, theirs, Options{Parts: []string{"output"}})
	if unknown := (*UnknownPartError)(nil); !errors.As(err, &unknown) {
		t.Error(err)
	}
	both := clone(golden)
	info := safetensors.Info{Name: "outputs", DType: safetensors.F32, Shape: outputs.shape()}
	header, err := safetensors.AppendHeader(nil, []safetensors.Info{info, {Name: "more", DType: safetensors.U8, Shape: []int64{0}}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	both[s.Path+".safetensors"] = &fstest.MapFile{Data: append(header, body(t, golden[outputs.File])...)}
	r, err = Compare(context.Background(), golden, both, Options{})
	if err == nil || !strings.Contains(err.Error(), "the array is also in "+s.Path+".safetensors: remove one") || !slices.Equal(r.Unknown, []string{s.Path + ".safetensors, tensor more"}) {
		t.Errorf("in both formats: %v, unknown %v", err, r.Unknown)
	}
}

// TestWriteRefuses checks that an export is complete or absent.
func TestWriteRefuses(t *testing.T) {
	x := exportOf(t, "uniform-fp8")
	x.Steps = 3
	m, err := x.Plan(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	top := t.TempDir()
	for name, prepare := range map[string]func(dir string) error{
		"full": func(dir string) error { return os.MkdirAll(filepath.Join(dir, "x"), 0o755) },
		"file": func(dir string) error { return os.WriteFile(dir, nil, 0o644) },
	} {
		dir := filepath.Join(top, name)
		if err := prepare(dir); err != nil {
			t.Fatal(err)
		}
		if err := x.Write(context.Background(), dir, m); err == nil || name == "full" && !errors.Is(err, output.ErrNotEmpty) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := *x
	rows := 0
	stopped.Progress = func(n int) {
		if rows += n; rows > n {
			cancel()
		}
	}
	if err := stopped.Write(ctx, filepath.Join(top, "stopped"), m); err == nil {
		t.Error("an export that was stopped has no error")
	}
	other := *x
	other.Options.Compression.MaxCacheTokens = 64
	if err := other.Write(context.Background(), filepath.Join(top, "other"), m); err == nil || !strings.Contains(err.Error(), "second replay") {
		t.Errorf("a replay other than the planned one: %v", err)
	}
	if err := os.Mkdir(filepath.Join(top, "empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("empty", filepath.Join(top, "link")); err != nil {
		t.Fatal(err)
	}
	if err := x.Write(context.Background(), filepath.Join(top, "link"), m); err != nil {
		t.Error(err)
	}
	var names []string
	entries, err := os.ReadDir(top)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if err != nil || !slices.Equal(names, []string{"empty", "file", "full", "link"}) {
		t.Errorf("there are %v, %v", names, err)
	}
	if _, err := ReadManifest(os.DirFS(filepath.Join(top, "empty"))); err != nil {
		t.Error(err)
	}
}

// TestStages exports the parts of some stages.
func TestStages(t *testing.T) {
	x := exportOf(t, "story")
	x.Stages = []ref.Stage{ref.StageDecide}
	all, err := exportOf(t, "story").Plan(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	m, err := x.Plan(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Stages) != len(all.Stages) {
		t.Errorf("%d stages, want all %d", len(m.Stages), len(all.Stages))
	}
	for i := range m.Stages {
		if s := &m.Stages[i]; (len(s.Parts) > 0) != (s.Stage == ref.StageDecide) {
			t.Errorf("%s: %d parts", s.Path, len(s.Parts))
		}
	}
}

// TestManifestRefuses changes the manifest.
func TestManifestRefuses(t *testing.T) {
	golden, _ := smallest()
	text := string(golden[ManifestFile].Data)
	for _, c := range []struct{ old, with, want string }{
		{`"format":1`, `"format":2`, "format is 2"},
		{`"format":1`, `"format":1,"rats":1`, `unknown field "rats"`},
		{`"format":1`, `"format":1,"format":1`, "occurs twice"},
		{`"arrays":"npy"`, `"arrays":"zip"`, `arrays: "zip"`},
		{`"layers":`, `"layers":-`, "layers"},
		{`"path":"inputs/0"`, `"path":"../0"`, `inputs[0]: path is "../0"`},
		{`"file":"inputs/0/q.npy"`, `"file":"/etc/passwd"`, `q: file is "/etc/passwd"`},
		{`"stage":"prefill"`, `"stage":"refill"`, `stage "refill"`},
		{`"name":"tables"`, `"name":"../tables"`, `name "../tables"`},
		{`"name":"tables"`, `"name":"block_counts"`, "each name once"},
		{`"counts":"block_counts"`, `"counts":"tables"`, `counts: "tables"`},
		{`"axis":"sequence","n":1`, `"axis":"sequence","n":9`, "9 sequences"},
		{`"axis":"sequence","n":1`, `"axis":"time","n":1`, `axis "time"`},
		{`"axis":"index","n":`, `"axis":"index","n":-`, "are negative"},
		{`"axis":"index","n":`, `"axis":"index","n":9999999999999`, "more than 2^40"},
		{`"dtype":"i32"`, `"dtype":"i33"`, `dtype "i33"`},
		{`"tokens":[`, `"tokens":[1,`, "counts of tokens"},
		{`"step":1,`, `"step":0,`, "path is"},
		{`"step":0,`, `"step":-1,`, "step -1 after step 0"},
	} {
		if !strings.Contains(text, c.old) {
			t.Fatalf("the manifest has no %s", c.old)
		}
		files := fstest.MapFS{ManifestFile: {Data: []byte(strings.Replace(text, c.old, c.with, 1))}}
		if _, err := ReadManifest(files); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s for %s: %v, want %q", c.with, c.old, err, c.want)
		}
	}
	for name, files := range map[string]fstest.MapFS{"there is no manifest.json": {}, "manifest.json: it is empty": {ManifestFile: {}}} {
		if _, err := ReadManifest(files); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want %q", err, name)
		}
	}
}

// TestExportRefuses changes an array of the export, so that it contradicts its manifest.
func TestExportRefuses(t *testing.T) {
	golden, m := smallest()
	_, counts := firstOf(t, m, ref.StagePrefill, "kv_counts")
	_, outputs := firstOf(t, m, ref.StageDecode, "outputs")
	n, _ := counts.Elements()
	for want, change := range map[string]func(fstest.MapFS){
		"is missing":     func(files fstest.MapFS) { delete(files, outputs.File) },
		"does not match": func(files fstest.MapFS) { files[outputs.File] = npyFile(t, "<f4", outputs.shape(), nil) },
		"and its manifest says": func(files fstest.MapFS) {
			files[outputs.File] = npyFile(t, "<f2", outputs.shape(), body(t, golden[outputs.File])[len(body(t, golden[outputs.File]))/2:])
		},
		"sums to": func(files fstest.MapFS) { files[counts.File] = npyFile(t, "<i4", counts.shape(), make([]byte, 4*n)) },
	} {
		changed := clone(golden)
		change(changed)
		if _, err := Compare(context.Background(), changed, golden, Options{}); err == nil || !strings.Contains(err.Error(), "the export: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestOutputs checks the annotations, JUnit XML and text.
func TestOutputs(t *testing.T) {
	golden, m := smallest()
	_, outputs := firstOf(t, m, ref.StageDecode, "outputs")
	_, keys := firstOf(t, m, ref.StageMove, "keys")
	theirs := clone(golden)
	changed := slices.Clone(golden[outputs.File].Data)
	changed[len(changed)-1] ^= 1
	theirs[outputs.File] = &fstest.MapFile{Data: changed}
	delete(theirs, keys.File)
	r := compare(t, golden, theirs, Options{})
	r.Trace = "a: 50%, b\nc"

	var annotations, text bytes.Buffer
	if err := errors.Join(r.GitHub(&annotations), r.Text(&text)); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(annotations.String()), "\n")
	for i, want := range []string{"::error title=a%3A 50%25%2C b%0Ac%3A first divergence::", "::error title=a%3A 50%25%2C b%0Ac%3A outputs::1 of", "::notice title=a%3A 50%25%2C b%0Ac%3A not compared::1 × keys", fmt.Sprint(r.Agree, " of ")} {
		if i >= len(lines) || !strings.HasPrefix(lines[i], want) {
			t.Errorf("annotation %d of %q, want %s", i, lines, want)
		}
	}
	for _, want := range []string{"stage decode of sequence", "outputs ", "golden  ", "theirs  ", "in  " + outputs.File, "1 array was not compared"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, &text)
		}
	}
	for _, all := range []bool{false, true} {
		var junit bytes.Buffer
		if err := r.JUnit(&junit, all); err != nil {
			t.Fatal(err)
		}
		var suites junitSuites
		if err := xml.Unmarshal(junit.Bytes(), &suites); err != nil {
			t.Fatal(err)
		}
		failures, skipped := 1, 1
		if all {
			failures, skipped = 2, 0
		}
		if suites.Tests != len(r.Results) || suites.Failures != failures || suites.Skipped != skipped || suites.Errors != 0 {
			t.Errorf("all %v: %d tests, %d failures, %d errors, %d skipped", all, suites.Tests, suites.Failures, suites.Errors, suites.Skipped)
		}
	}
}

// FuzzManifest reads manifests, and compares an export that has nothing else.
func FuzzManifest(f *testing.F) {
	golden, _ := smallest()
	text := golden[ManifestFile].Data
	f.Add(text[:bytes.LastIndex(text[:4000], []byte("\n"))])
	f.Add([]byte(`{"format":1,"trace":"a","arrays":"npy","shape":{"layers":1,"kv_heads":1,"group":1,"head_size":8},"options":{},"inputs":[],"stages":[
{"step":0,"stage":"move","sequences":[0],"tokens":[1],"path":"0000-0-move","parts":[
{"name":"c","value":"","dtype":"i32","dims":[{"axis":"head","n":1}],"file":"0000-0-move/c.npy"},
{"name":"a","value":"","dtype":"f16","dims":[{"axis":"index","n":1}],"counts":"c","file":"0000-0-move/a.npy"}]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		files := fstest.MapFS{ManifestFile: {Data: text}, "0000-0-move/c.npy": npyFile(t, "<i4", []int64{1}, []byte{1, 0, 0, 0}), "0000-0-move/a.npy": npyFile(t, "<f2", []int64{1}, []byte{0, 60})}
		m, err := ReadManifest(files)
		if err != nil {
			return
		}
		if r, err := Compare(context.Background(), files, files, Options{}); err == nil && r.Agree != r.Cases {
			t.Errorf("it differs from itself: %+v", r.First)
		}
		if err := m.Write(new(bytes.Buffer)); err != nil {
			t.Skip(strictjson.Excerpt(err.Error())) // JSON cannot represent it
		}
	})
}

// FuzzTheirs compares arrays of any bytes: the lists of heads, their counts, and a safetensors file.
func FuzzTheirs(f *testing.F) {
	golden, m := smallest()
	s, counts := firstOf(f, m, ref.StagePrefill, "kv_counts")
	_, positions := firstOf(f, m, ref.StagePrefill, "positions")
	f.Add(golden[counts.File].Data, golden[positions.File].Data, []byte{})
	f.Add([]byte{}, npyFile(f, "<i8", []int64{1 << 60}, nil).Data, []byte("\x02\x00\x00\x00\x00\x00\x00\x00{}"))
	f.Fuzz(func(t *testing.T, counts2, positions2, tensors []byte) {
		theirs := fstest.MapFS{}
		for name, data := range map[string][]byte{counts.File: counts2, positions.File: positions2, s.Path + ".safetensors": tensors} {
			if len(data) > 0 {
				theirs[name] = &fstest.MapFile{Data: data}
			}
		}
		r, err := Compare(context.Background(), golden, theirs, Options{Tolerance: validate.Tolerance{ULPs: 1}})
		if r == nil {
			t.Fatal(err)
		}
		if err := errors.Join(r.Text(new(bytes.Buffer)), r.GitHub(new(bytes.Buffer)), r.JUnit(new(bytes.Buffer), true)); err != nil {
			t.Fatal(err)
		}
	})
}
