package trace

import (
	"errors"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvcompress/dtype"
	"kvcompress/kv"
)

var smallShape = kv.Shape{Layers: 3, KVHeads: 2, Group: 2, HeadSize: 8}

func recordedMeta() Meta {
	return Meta{FormatVersion: 1, Name: "t", Model: "m", Shape: smallShape, DType: dtype.F16, Source: Source{Kind: Recorded}}
}

// token makes the q, k and v of one token, in values that every format holds.
func token(s kv.Shape, rng *rand.Rand) [3][]float32 {
	var out [3][]float32
	for t := Q; t <= V; t++ {
		out[t] = make([]float32, s.Layers*t.row(s))
		for i := range out[t] {
			out[t][i] = float32(rng.IntN(255)-127) / 16
		}
	}
	return out
}

// record writes a request with random tensors, and returns them by token.
func record(t *testing.T, w *Writer, r Request, tokens int, rng *rand.Rand) [][3][]float32 {
	t.Helper()
	rw, err := w.Begin(r.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer rw.Abort()
	var all [][3][]float32
	for range tokens {
		x := token(w.meta.Shape, rng)
		if err := rw.Append(x[Q], x[K], x[V]); err != nil {
			t.Fatal(err)
		}
		all = append(all, x)
	}
	if err := rw.Finish(r); err != nil {
		t.Fatal(err)
	}
	return all
}

// row is the row of t of one token in one layer.
func row(s kv.Shape, all [][3][]float32, t Tensor, layer, token int) []float32 {
	return all[token][t][layer*t.row(s):][:t.row(s)]
}

func TestWriteAndRead(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, format := range []dtype.DType{dtype.F32, dtype.F16, dtype.BF16} {
		for _, extra := range []int{0, 1} {
			dir := filepath.Join(t.TempDir(), "new", "trace")
			meta := recordedMeta()
			meta.DType = format
			if extra == 1 {
				meta.Rope = &Rope{Base: 1e6, RotarySize: 8, Pairing: Interleaved}
			}
			w, err := Create(dir, meta)
			if err != nil {
				t.Fatal(err)
			}
			defer w.Abort()
			requests := []Request{
				{ID: "a", ArrivalNS: 0, PromptTokens: 1, OutputTokens: 1},
				{ID: "b.1", ArrivalNS: 5, PromptTokens: 7, OutputTokens: 4, Session: "é", PrefixHashes: []uint64{1, math.MaxUint64}},
			}
			var data [][][3][]float32
			for _, r := range requests {
				data = append(data, record(t, w, r, r.CachedTokens()+extra, rng))
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			entries, _ := os.ReadDir(dir)
			if len(entries) != 4 {
				t.Errorf("files left: %v", entries)
			}
			tr, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(meta, tr.Meta); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(requests, tr.Requests()); diff != "" {
				t.Error(diff)
			}
			for i := range requests {
				x, err := tr.Tensors(i)
				if err != nil {
					t.Fatal(err)
				}
				if got, want := x.Tokens(), len(data[i]); got != want {
					t.Errorf("%d tokens, want %d", got, want)
				}
				checkTensors(t, x, smallShape, data[i])
				if err := x.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// checkTensors reads x as prefills and decodes do, and compares.
func checkTensors(t *testing.T, x Tensors, s kv.Shape, want [][3][]float32) {
	t.Helper()
	read := func(name Tensor, layer, from, n int) {
		dst := make([]float32, n*name.row(s))
		if err := x.Read(dst, name, layer, from, n); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if !slices.Equal(row(s, want, name, layer, from+i), dst[i*name.row(s):][:name.row(s)]) {
				t.Fatalf("%v, layer %d, token %d differs", name, layer, from+i)
			}
		}
	}
	for layer := range s.Layers {
		for name := Q; name <= V; name++ {
			read(name, layer, 0, len(want))
			read(name, layer, len(want)/2, len(want)-len(want)/2)
			read(name, layer, len(want), 0)
		}
	}
	for token := range want {
		for layer := range s.Layers {
			for name := Q; name <= V; name++ {
				read(name, layer, token, 1)
			}
		}
	}
	for token := len(want) - 1; token >= 0; token-- {
		read(K, token%s.Layers, token, 1)
	}
}

// TestReadWindows reads files by windows and single rows, and checks that no more than the
// windows and a row is in memory.
func TestReadWindows(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, shape := range []kv.Shape{
		smallShape,
		{Layers: 8, KVHeads: 4, Group: 3, HeadSize: 64},    // rows too far apart to read through
		{Layers: 40, KVHeads: 8, Group: 16, HeadSize: 128}, // a token of Q is larger than the window
	} {
		dir := t.TempDir()
		meta := recordedMeta()
		meta.Shape = shape
		w, err := Create(dir, meta)
		if err != nil {
			t.Fatal(err)
		}
		r := Request{ID: "a", PromptTokens: 23, OutputTokens: 5}
		data := record(t, w, r, 27, rng)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		s, err := openStored(os.DirFS(dir), meta, r)
		if err != nil {
			t.Fatal(err)
		}
		checkTensors(t, s, shape, data)
		held := 0
		for _, x := range s.tensors {
			held += cap(x.window) + cap(x.scratch)
		}
		if most := 3*windowSize + 2*(Q.row(shape)+2*K.row(shape)); held == 0 || held > most {
			t.Errorf("%+v: %d bytes are held, want at most %d", shape, held, most)
		}
		if _, whole := s.r.(memory); whole {
			t.Errorf("%+v: the file is in memory", shape)
		}
		s.Close()
	}
}

func TestWriterRefuses(t *testing.T) {
	ok := Request{ID: "a", ArrivalNS: 10, PromptTokens: 2, OutputTokens: 1}
	rng := rand.New(rand.NewPCG(1, 2))
	begin := func(w *Writer, id string) *RequestWriter {
		rw, err := w.Begin(id)
		if err != nil {
			t.Fatal(err)
		}
		return rw
	}
	full := func(w *Writer, id string) *RequestWriter {
		rw := begin(w, id)
		for range 2 {
			x := token(smallShape, rng)
			if err := rw.Append(x[Q], x[K], x[V]); err != nil {
				t.Fatal(err)
			}
		}
		return rw
	}
	with := func(change func(*[3][]float32)) func(w *Writer) error {
		return func(w *Writer) error {
			x := token(smallShape, rng)
			rw := full(w, "b")
			change(&x)
			err := rw.Append(x[Q], x[K], x[V])
			if again := rw.Append(x[Q], x[K], x[V]); again != err {
				t.Errorf("Append after an error: %v", again)
			}
			if again := rw.Finish(ok); again != err {
				t.Errorf("Finish after an error: %v", again)
			}
			return err
		}
	}
	for _, tc := range []struct {
		name string
		do   func(w *Writer) error
		want string
	}{
		{"add to recorded", func(w *Writer) error { return w.Add(ok) }, "must have tensors"},
		{"path", func(w *Writer) error { _, err := w.Begin("../x"); return err }, `id "../x"`},
		{"dot", func(w *Writer) error { _, err := w.Begin(".x"); return err }, `id ".x"`},
		{"empty id", func(w *Writer) error { _, err := w.Begin(""); return err }, "id is empty"},
		{"twice begun", func(w *Writer) error { begin(w, "a"); _, err := w.Begin("a"); return err }, "already"},
		{"again", func(w *Writer) error {
			if err := full(w, "a").Finish(ok); err != nil {
				t.Fatal(err)
			}
			_, err := w.Begin("a")
			return err
		}, "already"},
		{"unsorted", func(w *Writer) error {
			if err := full(w, "a").Finish(ok); err != nil {
				t.Fatal(err)
			}
			return full(w, "b").Finish(Request{ID: "b", ArrivalNS: 9, PromptTokens: 1, OutputTokens: 2})
		}, "sorted"},
		{"other id", func(w *Writer) error { return full(w, "b").Finish(ok) }, `begun as "b"`},
		{"bad request", func(w *Writer) error { return full(w, "a").Finish(Request{ID: "a", PromptTokens: 3}) }, "output_tokens is 0"},
		{"too few tokens", func(w *Writer) error { return begin(w, "a").Finish(ok) }, "0 tokens were appended"},
		{"still begun", func(w *Writer) error { begin(w, "a"); return w.Close() }, "still being recorded"},
		{"no requests", func(w *Writer) error { return w.Close() }, "no requests"},
		{"closed", func(w *Writer) error { w.Abort(); _, err := w.Begin("a"); return err }, "closed"},
		{"short q", with(func(x *[3][]float32) { x[Q] = x[Q][1:] }), "q: 95 elements, want 3 layers × 4 heads × 8 = 96"},
		{"long v", with(func(x *[3][]float32) { x[V] = append(x[V], 0) }), "v: 49 elements"},
		{"NaN", with(func(x *[3][]float32) { x[K][16+8+5] = float32(math.NaN()) }), "k: NaN at token 2, layer 1, head 1, element 5"},
		{"overflow", with(func(x *[3][]float32) { x[V][0] = -70000 }), "v: -70000 at token 2, layer 0, head 0, element 0 is too large for f16"},
	} {
		dir := t.TempDir()
		w, err := Create(dir, recordedMeta())
		if err != nil {
			t.Fatal(err)
		}
		err = tc.do(w)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want %q", tc.name, err, tc.want)
		}
		w.Abort()
		if _, err := Open(dir); err == nil {
			t.Errorf("%s: a trace was left", tc.name)
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	dir := t.TempDir()
	bad := recordedMeta()
	bad.Shape.HeadSize = 12
	if _, err := Create(dir, bad); err == nil || !strings.Contains(err.Error(), "multiple of 8") {
		t.Error(err)
	}
	meta := recordedMeta()
	meta.Source.Kind = Imported
	w, err := Create(dir, meta)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add(Request{ID: "a", PromptTokens: 1, OutputTokens: 1}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(dir, meta); !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), "already has a trace") {
		t.Error(err)
	}
	for _, name := range []string{"requests.jsonl", "x.safetensors"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Create(dir, meta); !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), name) {
			t.Error(err)
		}
	}
	tr, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Tensors(0); err == nil || !strings.Contains(err.Error(), "request a: the trace has no tensors of this request") {
		t.Error(err)
	}
}

// TestAbortAll: an aborted trace leaves no files, and files that were there before stay.
func TestAbortAll(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	begin := func(dir string) *Writer {
		w, err := Create(dir, recordedMeta())
		if err != nil {
			t.Fatal(err)
		}
		record(t, w, Request{ID: "a", PromptTokens: 2, OutputTokens: 1}, 2, rng)
		return w
	}
	own := t.TempDir()
	w := begin(own)
	if err := os.WriteFile(filepath.Join(own, "README"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.Abort()
	entries, err := os.ReadDir(own)
	if err != nil || len(entries) != 1 || entries[0].Name() != "README" {
		t.Error(entries, err)
	}
	made := filepath.Join(t.TempDir(), "new")
	begin(made).Abort()
	if _, err := os.Lstat(made); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	// Close fails after requests.jsonl is there.
	w = begin(own)
	if err := os.Mkdir(filepath.Join(own, metaFile), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err == nil {
		t.Error("Close wrote over a folder")
	}
	w.Abort()
	if entries, err := os.ReadDir(own); err != nil || len(entries) != 2 {
		t.Error(entries, err)
	}
}

// TestAbort: an aborted request can be recorded again, and leaves nothing.
func TestAbort(t *testing.T) {
	dir := t.TempDir()
	w, err := Create(dir, recordedMeta())
	if err != nil {
		t.Fatal(err)
	}
	rw, err := w.Begin("a")
	if err != nil {
		t.Fatal(err)
	}
	rw.Abort()
	rw.Abort()
	rng := rand.New(rand.NewPCG(1, 2))
	record(t, w, Request{ID: "a", PromptTokens: 2, OutputTokens: 1}, 2, rng)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w.Abort()
	if _, err := Open(dir); err != nil {
		t.Error(err)
	}
}
