package validate

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"kvcompress/internal/testsize"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
	"kvcompress/traces"
)

// always is the reference engine with a bug at every stage of the given name.
func always(stage ref.Stage, do func(*ref.Event)) NewEngine {
	return func(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (Engine, error) {
		return Reference(cfg, open, func(e ref.Event) {
			if e.Stage == stage {
				do(&e)
			}
			observe(e)
		})
	}
}

// TestDump dumps a stage of each kind and replays it: with the bug, which must show again, and without.
func TestDump(t *testing.T) {
	for stage, do := range map[ref.Stage]func(*ref.Event){
		ref.StagePrefill: func(e *ref.Event) { e.Cache.Data[0][lastSlot(e, 0)]++ },
		ref.StageDecode:  func(e *ref.Event) { e.Cache.Key(lastSlot(e, lastHead(e).Len-1))[0] ^= 1 },
		ref.StageDecide:  func(e *ref.Event) { change(e, "evicted", func(p *ref.Part) { p.Ints[0]++ }) },
		ref.StageMove: func(e *ref.Event) {
			if moves := e.Parts[0]; moves.Dims[0].N > 3 {
				e.Cache.Positions[moves.Ints[2*3]] = 0
			}
		},
		ref.StageRelease: func(e *ref.Event) { e.Cache.Owners[5].Seq = 3 },
	} {
		t.Run(string(stage), func(t *testing.T) {
			t.Parallel()
			b := open(t, "random-fp8")
			ctx := context.Background()
			run := Run{Engine: always(stage, do)}
			r, err := Trace(ctx, b.Name, b.Trace, b.Options, run)
			if err != nil || r.Divergence == nil {
				t.Fatal(r.Divergence, err)
			}
			dir := t.TempDir() // contains files of an earlier dump
			if err := os.WriteFile(filepath.Join(dir, pipelineFile), []byte("{}"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := Dump(ctx, dir, b.Trace, b.Options, r.Divergence); err != nil {
				t.Fatal(err)
			}
			again, err := Replay(t.Context(), os.DirFS(dir), run)
			if err != nil {
				t.Fatal(err)
			}
			want, got := r.Divergence, again.Divergence
			if got == nil {
				t.Fatal("the bug does not show again")
			}
			if got.What != want.What || got.Place != want.Place || got.Want != want.Want || got.Got != want.Got || got.More != want.More || got.Stage != stage {
				t.Errorf("now  %v\nwant %v", got, want)
			}
			if again.Found != want.Error() || again.Mismatches() != 1+want.More {
				t.Errorf("%+v", again)
			}
			if right, err := Replay(t.Context(), os.DirFS(dir), Run{Engine: Reference}); err != nil || right.Divergence != nil || right.Values < 100 {
				t.Errorf("without the bug: %+v, %v", right, err)
			}
		})
	}
}

// TestDumpOwn dumps a compression of a sequence with its own options. The dump must contain them: with the
// run's options the compression would differ.
func TestDumpOwn(t *testing.T) {
	b := open(t, "by-request")
	ctx := context.Background()
	run := Run{Engine: always(ref.StageDecide, func(e *ref.Event) {
		if b.Trace.Requests()[e.Seqs[0]].Compression != nil {
			change(e, "asked", func(p *ref.Part) { p.Ints[0]++ })
		}
	})}
	r, err := Trace(ctx, b.Name, b.Trace, b.Options, run)
	if err != nil || r.Divergence == nil {
		t.Fatal(r.Divergence, err)
	}
	dir := t.TempDir()
	if err := Dump(ctx, dir, b.Trace, b.Options, r.Divergence); err != nil {
		t.Fatal(err)
	}
	again, err := Replay(t.Context(), os.DirFS(dir), run)
	if err != nil || again.Divergence == nil || again.Divergence.Want != r.Divergence.Want || again.Divergence.Got != r.Divergence.Got {
		t.Errorf("%v, %v; want %v", again, err, r.Divergence)
	}
	path := filepath.Join(dir, dumpFile)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	without := regexp.MustCompile(`,\s*"compression": \{\s*"max_cache_tokens": 40,\s*"protected_window": 8\s*\}`).ReplaceAll(text, nil)
	if len(without) == len(text) {
		t.Fatalf("the dump does not have the options:\n%s", text)
	}
	if err := os.WriteFile(path, without, 0o600); err != nil {
		t.Fatal(err)
	}
	if other, err := Replay(t.Context(), os.DirFS(dir), run); err != nil || other.Divergence != nil && other.Divergence.Want == r.Divergence.Want {
		t.Errorf("without the options: %+v, %v", other, err)
	}
}

// TestDumpPages dumps a decode step and a compression with quantized or merged pages, where the bug changes a
// byte.
func TestDumpPages(t *testing.T) {
	each := testsize.Of(2, 1, 1) // one in this many pairs of a replay and a stage is run
	for i, c := range []struct{ replay, what string }{{"gqa/kivi", "byte of quantized V"}, {"gqa/minicache", "byte of merged V"}, {"gqa/minicache+kivi", "byte of merged V"}} {
		for j, stage := range []ref.Stage{ref.StageDecode, ref.StageMove} {
			if (i+j)%each > 0 {
				continue
			}
			t.Run(c.replay+"/"+string(stage), func(t *testing.T) {
				b := open(t, c.replay)
				ctx := context.Background()
				n := 0
				run := Run{Engine: always(stage, func(e *ref.Event) {
					heads := e.Cache.Sequence(e.Seqs[0]).Heads
					h := &heads[len(heads)-e.Cache.Shape().KVHeads-1] // of a layer that is merged with a deeper one
					if n++; n > 20 && len(h.Values) > 0 {
						e.Cache.Units(&h.Values[0], func(_ int, unit []byte) { unit[1] ^= 1 })
					}
				})}
				r, err := Trace(ctx, b.Name, b.Trace, b.Options, run)
				if err != nil || r.Divergence == nil || r.Divergence.What != c.what {
					t.Fatal(r.Divergence, err)
				}
				dir := t.TempDir()
				if err := Dump(ctx, dir, b.Trace, b.Options, r.Divergence); err != nil {
					t.Fatal(err)
				}
				again, err := Replay(t.Context(), os.DirFS(dir), run)
				if err != nil || again.Divergence == nil || again.Divergence.Want != r.Divergence.Want || again.Divergence.Got != r.Divergence.Got {
					t.Errorf("%v, %v; want %v", again, err, r.Divergence)
				}
				if right, err := Replay(t.Context(), os.DirFS(dir), Run{Engine: Reference}); err != nil || right.Divergence != nil || right.Values < 100 {
					t.Errorf("without the bug: %+v, %v", right, err)
				}
			})
		}
	}
}

// TestDumpAnswers does the same for an engine that gives its scheduler a wrong answer.
func TestDumpAnswers(t *testing.T) {
	b := open(t, testTrace)
	ctx := context.Background()
	run := Run{Engine: func(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (Engine, error) {
		e, err := Reference(cfg, open, observe)
		return &boastful{e}, err
	}}
	r, err := Trace(ctx, b.Name, b.Trace, b.Options, run)
	if err != nil || r.Divergence == nil || r.Divergence.What != "usage" {
		t.Fatal(r.Divergence, err)
	}
	dir := t.TempDir()
	if err := Dump(ctx, dir, b.Trace, b.Options, r.Divergence); err != nil {
		t.Fatal(err)
	}
	again, err := Replay(t.Context(), os.DirFS(dir), run)
	if err != nil || again.Divergence == nil || again.Divergence.What != "usage" || again.Divergence.Got != r.Divergence.Got {
		t.Errorf("%v, %v; want %v", again, err, r.Divergence)
	}
}

// boastful is the reference engine, but claims that nothing is wasted when it holds much.
type boastful struct{ Engine }

func (b *boastful) Usage() kv.Usage {
	u := b.Engine.Usage()
	if u.KVs > 300 {
		u.Wasted = 0
	}
	return u
}

// dumped returns the files of a dump.
func dumped(t testing.TB) fstest.MapFS {
	b, err := traces.Open("block-size-1")
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	r, err := Trace(ctx, b.Name, b.Trace, b.Options, Run{Engine: always(ref.StageDecode, func(e *ref.Event) {
		if e.Cache.Sequence(e.Seqs[0]).Len > 60 {
			e.Cache.Data[0][lastSlot(e, 0)] = float32(math.NaN())
		}
	})})
	if err != nil || r.Divergence == nil {
		t.Fatal(r.Divergence, err)
	}
	dir := t.TempDir()
	if err := Dump(ctx, dir, b.Trace, b.Options, r.Divergence); err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{}
	for _, name := range []string{dumpFile, tensorFile} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: text}
	}
	return files
}

// TestReplayRefuses replays invalid dumps.
func TestReplayRefuses(t *testing.T) {
	files := dumped(t)
	if _, err := Replay(t.Context(), files, Run{Engine: Reference}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		edit func(map[string]any)
		want string
	}{
		{"format", func(m map[string]any) { m["format"] = 9 }, "format 9"},
		{"unknown field", func(m map[string]any) { m["rats"] = 1 }, "rats"},
		{"shape", func(m map[string]any) { m["shape"].(map[string]any)["layers"] = 0 }, "layers"},
		{"blocks", func(m map[string]any) { m["config"].(map[string]any)["blocks"] = 1 << 40 }, "blocks"},
		{"more blocks", func(m map[string]any) {
			c := m["config"].(map[string]any)
			c["blocks"] = c["blocks"].(float64) + 1
		}, `there is no tensor "keys"`},
		{"operation", func(m map[string]any) { m["operation"].(map[string]any)["operation"] = "dance" }, "dance"},
		{"sequences", func(m map[string]any) { m["sequences"] = []any{} }, `there is no tensor "lengths"`},
		{"other sequence", func(m map[string]any) { m["operation"].(map[string]any)["sequences"] = []any{7} }, "sequence 7 is not in the cache"},
		{"no tokens", func(m map[string]any) { m["sequences"].([]any)[0].(map[string]any)["tokens"] = 1 }, "KVs of 1 tokens"},
		{"other tokens", func(m map[string]any) {
			q := m["sequences"].([]any)[0].(map[string]any)
			q["tokens"] = q["tokens"].(float64) - 1
		}, "has position"},
		{"many tokens", func(m map[string]any) { m["sequences"].([]any)[0].(map[string]any)["tokens"] = math.MaxInt32 }, "2147483647 tokens"},
		{"a batch of none", func(m map[string]any) { m["operation"].(map[string]any)["sequences"] = []any{} }, "no sequences"},
		{"negative", func(m map[string]any) { m["sequences"].([]any)[0].(map[string]any)["tokens"] = -1 }, "-1 tokens"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m map[string]any
			if err := json.Unmarshal(files[dumpFile].Data, &m); err != nil {
				t.Fatal(err)
			}
			c.edit(m)
			text, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			changed := fstest.MapFS{dumpFile: {Data: text}, tensorFile: files[tensorFile]}
			if _, err := Replay(t.Context(), changed, Run{Engine: Reference}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want an error with %q", err, c.want)
			}
		})
	}
	for name, want := range map[string]string{
		"keys": "element NaN", "values": "element NaN", "metrics": "metric of NaN", "positions": "position -1", "owners": "has another owner",
		"lengths": "length of -1", "tables": "entry 0 is -1", "free": "is in the free list", "q.0": "q: NaN", "k.0": "k: NaN", "v.0": "v: NaN",
	} {
		t.Run(name, func(t *testing.T) {
			changed := fstest.MapFS{dumpFile: files[dumpFile], tensorFile: {Data: withOnes(t, files[tensorFile].Data, name)}}
			if _, err := Replay(t.Context(), changed, Run{Engine: Reference}); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want an error with %q", err, want)
			}
		})
	}
	if _, err := Replay(t.Context(), fstest.MapFS{dumpFile: files[dumpFile]}, Run{Engine: Reference}); err == nil {
		t.Error("no error without tensors")
	}
}

// withOnes returns a safetensors file with all bits of one tensor set.
func withOnes(t *testing.T, file []byte, tensor string) []byte {
	file = slices.Clone(file)
	n := 8 + int(binary.LittleEndian.Uint64(file))
	var header map[string]struct {
		Offsets []int `json:"data_offsets"`
	}
	if err := json.Unmarshal(file[8:n], &header); err != nil || len(header[tensor].Offsets) != 2 {
		t.Fatal(tensor, err)
	}
	for i := header[tensor].Offsets[0]; i < header[tensor].Offsets[1]; i++ {
		file[n+i] = 0xff
	}
	return file
}

// FuzzReplay replays dumps with one byte of the JSON or of the tensors changed.
func FuzzReplay(f *testing.F) {
	files := dumped(f)
	f.Add(files[dumpFile].Data, uint32(0), byte(0))
	f.Add(files[dumpFile].Data, uint32(len(files[tensorFile].Data)-1), byte(0x80))
	f.Add([]byte("{}"), uint32(5000), byte(1))
	f.Fuzz(func(t *testing.T, text []byte, at uint32, bits byte) {
		tensors := append([]byte(nil), files[tensorFile].Data...)
		tensors[int(at)%len(tensors)] ^= bits
		_, _ = Replay(t.Context(), fstest.MapFS{dumpFile: {Data: text}, tensorFile: {Data: tensors}}, Run{Engine: Reference})
	})
}
