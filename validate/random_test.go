package validate

import (
	"context"
	"errors"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"kvcompress/internal/testsize"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/ref/draw"
	"kvcompress/trace"
)

// interrupting is an engine that interrupts the run in its first prefill.
type interrupting struct {
	Engine
	cancel func()
}

func (e *interrupting) Prefill(kv.SeqID, int) error {
	e.cancel()
	return context.Canceled
}

// TestRandomInterrupted checks that an interrupted operation, which only one of the engines has
// finished, is no divergence.
func TestRandomInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r, err := Random(ctx, 1, 4, allMethods(t), Run{Engine: func(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (Engine, error) {
		e, err := Reference(cfg, open, observe)
		return &interrupting{e, cancel}, err
	}}, nil)
	if !errors.Is(err, context.Canceled) || r.Failed != nil {
		t.Errorf("%v, %v", r.Failed, err)
	}
}

// TestRandomReference runs random pipelines on two reference engines, one of which is restored from a
// snapshot after every operation.
func TestRandomReference(t *testing.T) {
	restored := func(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (Engine, error) {
		e, err := Reference(cfg, open, observe)
		return &restoring{Engine: e}, err
	}
	methods, pipelines := allMethods(t), testsize.Of(4, 8, 60)
	r, err := Random(context.Background(), 1, pipelines, methods, Run{Engine: restored}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Failed != nil {
		t.Error(r.Failed)
	}
	if r.Pipelines != pipelines || r.Operations < 3*pipelines || r.Values < 1e5 || len(r.Methods) != len(methods) {
		t.Errorf("%+v", r)
	}
	if n := r.Methods[0]; n.Method != ref.KVCompress || n.Pipelines < pipelines/6 || n.Pipelines > pipelines/2 {
		t.Errorf("%+v", n)
	}
}

// allMethods returns the methods that an engine can run.
func allMethods(t testing.TB) []*draw.Method {
	t.Helper()
	methods, _, err := draw.Methods()
	if err != nil {
		t.Fatal(err)
	}
	return methods
}

// only returns one method.
func only(t testing.TB, name string) []*draw.Method {
	t.Helper()
	m, err := draw.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	return []*draw.Method{m}
}

// TestRandomPipelinesOf draws pipelines of all methods. A seed always gives the same pipeline, which survives
// JSON; every method occurs; a third are KV-Compress.
func TestRandomPipelinesOf(t *testing.T) {
	methods := allMethods(t)
	have := map[string]int{}
	for seed := range uint64(600) {
		p, err := RandomPipelineOf(seed, methods)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.check(); err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		have[p.method()]++
		if seed < 50 {
			if p.method() == ref.KVCompress && !reflect.DeepEqual(p, RandomPipeline(seed)) {
				t.Errorf("seed %d: %s", seed, p)
			}
			if again, err := RandomPipelineOf(seed, methods); err != nil || !reflect.DeepEqual(p, again) {
				t.Errorf("seed %d gives two pipelines", seed)
			}
		}
		var read Pipeline
		if err := readJSON(fstest.MapFS{pipelineFile: {Data: []byte(p.String())}}, pipelineFile, &read); err != nil || !reflect.DeepEqual(p, read) {
			t.Errorf("%s is read as %s, %v", p, read, err)
		}
	}
	if n := have[ref.KVCompress]; n < 150 || n > 250 {
		t.Errorf("%d of 600 pipelines are of %s", n, ref.KVCompress)
	}
	for _, m := range methods {
		if have[m.Name] < 5 {
			t.Errorf("%d of 600 pipelines are of %s", have[m.Name], m.Name)
		}
	}
}

// TestRandomRefused: if an engine does not run a method, another is drawn.
func TestRandomRefused(t *testing.T) {
	refusing := func(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (Engine, error) {
		if cfg.Method != "" {
			return nil, &ref.UnsupportedError{Err: errors.New("no " + cfg.Method)}
		}
		return Reference(cfg, open, observe)
	}
	r, err := Random(context.Background(), 1, 5, append(only(t, ref.KVCompress), only(t, "knorm")...), Run{Engine: refusing}, nil)
	if err != nil || r.Failed != nil || r.Pipelines != 5 || r.Methods[0].Pipelines != 5 || r.Methods[1].Refused == 0 || r.Methods[1].Why != "no knorm" {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := Random(context.Background(), 1, 5, only(t, "random"), Run{Engine: refusing}, nil); err == nil || !strings.Contains(err.Error(), "in a row: no random") || r.Pipelines != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestShrinkSettings finds a bug that occurs when a KV is folded into an existing stand-in, and shrinks the
// method's options too.
func TestShrinkSettings(t *testing.T) {
	bug := func(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (Engine, error) {
		return Reference(cfg, open, func(e ref.Event) {
			if e.Stage == ref.StageDecide {
				for _, edit := range e.Plan.Edits {
					if edit.Op == ref.StandIn {
						e.Parts = nil
					}
				}
			}
			observe(e)
		})
	}
	r, err := Random(context.Background(), 3, 200, only(t, "razor"), Run{Engine: bug}, nil)
	if err != nil {
		t.Fatal(err)
	}
	f := r.Failed
	if f == nil || f.Divergence == nil || f.Divergence.What != "parts of the stage" {
		t.Fatalf("%+v", r)
	}
	p := f.Pipeline
	if len(p.Operations) != 2 || p.Shape != (kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 8}) || p.Rope != nil || len(p.Config.Set) > 2 {
		t.Errorf("not small: %s", p)
	}
}

// restoring is the reference engine, restored from its own cache before every decode step.
type restoring struct{ Engine }

func (r *restoring) Decode(batch []kv.SeqID) error {
	if err := r.Restore(r.Engine.(*ref.Engine).Cache()); err != nil {
		return err
	}
	return r.Engine.Decode(batch)
}

// interrupted is the reference engine, interrupted as it begins a prompt.
type interrupted struct{ Engine }

func (interrupted) Prefill(kv.SeqID, int) error { return context.Canceled }

// TestInterruptedPipeline: an engine that is interrupted before the reference has not diverged.
func TestInterruptedPipeline(t *testing.T) {
	p, err := RandomPipelineOf(1, only(t, ref.KVCompress))
	if err != nil {
		t.Fatal(err)
	}
	o, err := p.Run(t.Context(), func(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (Engine, error) {
		e, err := Reference(cfg, open, observe)
		return interrupted{e}, err
	}, Tolerance{})
	if !errors.Is(err, context.Canceled) || o.Divergence != nil {
		t.Errorf("%v, %+v", err, o.Divergence)
	}
}

// TestShrink finds a bug that occurs, after a compression, if a head has more than one block and a KV in the
// last slot of the first.
func TestShrink(t *testing.T) {
	bug := func(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (Engine, error) {
		return Reference(cfg, open, func(e ref.Event) {
			if e.Stage == ref.StageMove {
				if h := lastHead(&e); len(h.Table) > 1 && cfg.BlockSize > 1 {
					e.Cache.Data[0][e.Cache.Slot(h, cfg.BlockSize-1)] = float32(math.NaN())
				}
			}
			observe(e)
		})
	}
	r, err := Random(context.Background(), 1, 200, only(t, ref.KVCompress), Run{Engine: bug}, nil)
	if err != nil {
		t.Fatal(err)
	}
	f := r.Failed
	if f == nil || f.Divergence == nil || f.Divergence.What != "metric" {
		t.Fatalf("%+v", r)
	}
	p := f.Pipeline
	if len(p.Operations) > 2 || p.Shape != (kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 8}) || p.Operations[0].Tokens != 3 || p.Config.BlockSize != 2 {
		t.Errorf("not small: %s", p)
	}
	if text := f.String(); !strings.Contains(text, "NaN") || !strings.Contains(text, `"operation":"prefill"`) {
		t.Error(text)
	}
	// The shrunk pipeline can be replayed.
	dir := t.TempDir()
	if err := f.Dump(dir); err != nil {
		t.Fatal(err)
	}
	if again, err := Replay(t.Context(), os.DirFS(dir), Run{Engine: bug}); err != nil || again.Divergence == nil || again.Divergence.Error() != f.Divergence.Error() {
		t.Errorf("%v, %v; want %v", again, err, f.Divergence)
	}
	if right, err := Replay(t.Context(), os.DirFS(dir), Run{Engine: Reference}); err != nil || right.Divergence != nil {
		t.Errorf("without the bug: %v, %v", right, err)
	}
}

// TestPipelineRefuses reads invalid pipelines.
func TestPipelineRefuses(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{`"seed":7`, `"seed":7,"seed":8`, "seed"},
		{`"tokens":[9]`, `"tokens":[]`, "sequence 0"},
		{`"tokens":[9]`, `"tokens":[9,1099511627776]`, "1099511627776 tokens"},
		{`"sequences":[0]`, `"sequences":[-1]`, "sequence -1"},
		{`"sequences":[0]`, `"sequences":[]`, "of 0 sequences"},
		{`"head_size":8`, `"head_size":-8`, "head_size"},
		{`"blocks":40`, `"blocks":67000000`, "more than"},
		{`"scale":1`, `"scale":1e30`, "scale"},
		{`"operation":"prefill"`, `"operation":"fly"`, "fly"},
		{`"operations"`, `"before":33,"operations"`, "before 33"},
		{`"operations"`, `"before":3200000000,"operations"`, "before 3200000000"},
		{`"operation":"prefill","sequences":[0]`, `"operation":"scores","sequences":[0,0]`, "scores"},
		{`{"shape"`, `{"rats":1,"shape"`, "rats"},
	} {
		text := Pipeline{
			Shape:      kv.Shape{Layers: 1, KVHeads: 1, Group: 1, HeadSize: 8},
			Config:     ref.Default(),
			Inputs:     Inputs{Seed: 7, Tokens: []int{9}, Scale: 1},
			Operations: []Operation{{OpPrefill, []kv.SeqID{0}, 9}},
		}
		text.Config.Blocks = 40
		if _, err := Replay(t.Context(), fstest.MapFS{pipelineFile: {Data: []byte(text.String())}}, Run{Engine: Reference}); err != nil {
			t.Fatal(err)
		}
		changed := strings.Replace(text.String(), c.old, c.new, 1)
		if _, err := Replay(t.Context(), fstest.MapFS{pipelineFile: {Data: []byte(changed)}}, Run{Engine: Reference}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", changed, err, c.want)
		}
	}
}

// TestRandomPipelines checks that the pipelines of many seeds include every kind of awkward case, that all of
// their parts are used, and that a seed always gives the same pipeline.
func TestRandomPipelines(t *testing.T) {
	have := map[string]int{}
	for seed := range uint64(1000) {
		p := RandomPipeline(seed)
		if seed < 20 && !reflect.DeepEqual(p, RandomPipeline(seed)) {
			t.Errorf("seed %d gives two pipelines", seed)
		}
		s, c, m := p.Shape, p.Config.Compression, p.Config.Metric
		for what, is := range map[string]bool{
			"1 head": s.Layers*s.KVHeads == 1, "many heads": s.Layers*s.KVHeads > 8, "group 1": s.Group == 1, "group 8": s.Group == 8, "odd group": s.Group == 7, "group past a warp's queries": s.Group == 12,
			"head size 8": s.HeadSize == 8, "head size 80": s.HeadSize == 80, "head size 256": s.HeadSize == 256,
			"block size 1": p.Config.BlockSize == 1, "block size 32": p.Config.BlockSize == 32,
			"integers": p.Inputs.Integers, "tiny": p.Inputs.Scale == 0x1p-40, "beyond f16": p.Inputs.Scale == 0x1p17,
			"1 token": p.Inputs.Tokens[0] == 1, "partition edge": p.Inputs.Tokens[0] == 129, "two partition edges": p.Inputs.Tokens[0] == 257,
			"even layers": c.EvenLayers, "control layers": len(c.ControlLayers) > 0, "uniform": c.Uniform, "random": c.Random, "bias": c.HeadBias != nil,
			"rate": c.Rate > 0, "tokens": c.MaxCacheTokens > 0, "sinks": c.Sinks > 0, "no protected window": c.ProtectedWindow == 0,
			"avg": m.Reduction == ref.Avg, "L1": m.Norm == ref.L1, "prefill only": m.PrefillOnly, "own options": len(p.Own) > 0, "own options beside the run's": len(p.Own) > 0 && len(p.Own) < len(p.Inputs.Tokens), "pool 31": m.MaxPool == 31, "buffer": m.Buffer > 0, "window 300": m.Window == 300,
			"scales": p.Config.KVScale != nil, "scales of each layer": p.Config.KVScale != nil && len(p.Config.KVScale.K) > 1,
			"2¹⁶ blocks": s.Heads()*p.Inputs.Tokens[0] > 1<<16, "more heads than threads": s.Heads() > 256, "many layers": s.Layers > 32, "many sequences": len(p.Inputs.Tokens) > 8, "many KVs": p.Inputs.Tokens[0] > 4096,
			"edges": p.Inputs.Edges, "subnormal": p.Inputs.Scale == 0x1p-128, "scores far apart": p.Inputs.Scale == 12,
			"positions past 16 bits": p.Inputs.Tokens[0] > 1<<16-12, "beyond 2 GiB": p.Before > 0, "rows beyond 2 GiB": p.BeforeRows > 0, "many magnitudes": p.Inputs.Spread, "many bias bins": c.HeadBias != nil && len(c.HeadBias.Bins) > 4,
			"costs nearly the same": slices.ContainsFunc(p.Operations, func(op Operation) bool { return op.Kind == OpScores }),
			p.Config.DType.String(): true,
		} {
			if is {
				have[what]++
			} else {
				have[what] += 0
			}
		}
	}
	for what, n := range have {
		if n < 2 {
			t.Errorf("%s: %d of 1000 pipelines", what, n)
		}
	}
}

// FuzzPipeline runs any small pipeline.
func FuzzPipeline(f *testing.F) {
	for seed := range uint64(5) {
		f.Add([]byte(RandomPipeline(seed).String()))
	}
	for _, name := range []string{"razor", "h2o-mask", "ada-snapkv", "duo-attention"} {
		p, err := RandomPipelineOf(1, only(f, name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(p.String()))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var p Pipeline
		dir := fstest.MapFS{pipelineFile: {Data: text}}
		if readJSON(dir, pipelineFile, &p) == nil && p.check() == nil && (p.work() > 1e7 || p.Config.Blocks*p.Config.BlockSize > 1e5 || len(p.Operations) > 50) {
			t.Skip("too much work")
		}
		if r, err := Replay(t.Context(), dir, Run{Engine: Reference}); err == nil && r.Divergence != nil {
			t.Error(r.Divergence)
		}
	})
}
