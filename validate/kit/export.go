package kit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"kvcompress/internal/output"
	"kvcompress/internal/words"
	"kvcompress/kv"
	"kvcompress/npy"
	"kvcompress/ref"
	"kvcompress/safetensors"
	"kvcompress/sim"
	"kvcompress/trace"
)

// Export says which replay is exported, and which parts of it.
type Export struct {
	Name    string // of the trace
	Trace   *trace.Trace
	Options sim.Options
	Steps   int         // number of scheduler steps, from the first; 0: all
	Stages  []ref.Stage // stages to export parts of; nil: all
	Arrays  Format

	// Progress is as in [sim.Hooks], and may be nil. Both Plan and Write call it.
	Progress func(rows int)
}

// Plan replays the trace on the reference engine and returns what Write will write.
func (x *Export) Plan(ctx context.Context) (*Manifest, error) {
	opt := x.Options
	opt.Fill(x.Trace.Meta, x.Trace.Requests())
	m := &Manifest{Format: ManifestFormat, Trace: x.Name, Arrays: x.Arrays, Shape: opt.Shape, Rope: opt.Rope, Options: opt, Inputs: []Inputs{}, Stages: []Stage{}}
	entered := map[kv.SeqID]int{}
	r := replay{Export: x, stage: func(s Stage, _ []content) error {
		for i, id := range s.Sequences {
			entered[id] = max(entered[id], s.Tokens[i])
		}
		m.Stages = append(m.Stages, s)
		return nil
	}}
	if err := r.run(ctx); err != nil {
		return nil, err
	}
	for id, request := range x.Trace.Requests() {
		tokens, ok := entered[kv.SeqID(id)]
		if !ok {
			continue
		}
		in := Inputs{Sequence: kv.SeqID(id), Request: request.ID, Tokens: tokens, Compression: request.Compression, Path: inputsPath(kv.SeqID(id))}
		for _, t := range []trace.Tensor{trace.Q, trace.K, trace.V} {
			heads := AxisHead
			if t == trace.Q {
				heads = AxisQueryHead
			}
			in.Parts = append(in.Parts, Part{Name: t.String(), Value: "element of " + t.String(), DType: "f32", File: x.Arrays.fileOf(in.Path, t.String()), Dims: []Dim{
				{AxisToken, int64(tokens)}, {AxisLayer, int64(opt.Shape.Layers)}, {heads, int64(t.Heads(opt.Shape))}, {AxisElement, int64(opt.Shape.HeadSize)},
			}})
		}
		m.Inputs = append(m.Inputs, in)
	}
	return m, nil
}

// Size is the size of an export, without file headers.
type Size struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

func (s *Size) add(arrays Format, parts []Part) {
	for i := range parts {
		e, _ := elementOf(parts[i].DType)
		n, _ := parts[i].Elements()
		s.Bytes += n * int64(e.size)
	}
	switch {
	case arrays == NPY:
		s.Files += len(parts)
	case len(parts) > 0:
		s.Files++
	}
}

// Sizes returns the size of the inputs, and of the stages by name.
func (m *Manifest) Sizes() (inputs Size, stages map[ref.Stage]Size) {
	for i := range m.Inputs {
		inputs.add(m.Arrays, m.Inputs[i].Parts)
	}
	stages = map[ref.Stage]Size{}
	for i := range m.Stages {
		s := stages[m.Stages[i].Stage]
		s.add(m.Arrays, m.Stages[i].Parts)
		stages[m.Stages[i].Stage] = s
	}
	return inputs, stages
}

// Write replays the trace again and writes what Plan has planned to a new or empty folder. It writes to a
// temporary folder beside it and renames that at the end, so that the export is complete or absent.
func (x *Export) Write(ctx context.Context, dir string, m *Manifest) error {
	folder, err := output.CreateFolder(dir)
	if err != nil {
		return err
	}
	defer folder.Discard()
	if err := x.write(ctx, folder.Temp, m); err != nil {
		return err
	}
	return folder.Commit()
}

// write writes all files to an existing folder.
func (x *Export) write(ctx context.Context, dir string, m *Manifest) error {
	n := 0
	r := replay{
		Export: x,
		stage: func(s Stage, parts []content) error {
			if n == len(m.Stages) || s.Path != m.Stages[n].Path || len(s.Parts) != len(m.Stages[n].Parts) {
				return fmt.Errorf("%s: the trace's second replay differs from the first: have its files changed?", s.Path)
			}
			for i := range s.Parts {
				if !slices.Equal(s.Parts[i].Dims, m.Stages[n].Parts[i].Dims) {
					return fmt.Errorf("%s: %s has other dims in the trace's second replay: have its files changed?", s.Path, s.Parts[i].Name)
				}
			}
			n++
			return writeParts(dir, x.Arrays, s.Path, parts)
		},
		inputs: func(open func(kv.SeqID) (trace.Tensors, error)) error {
			for i := range m.Inputs {
				if err := writeInputs(ctx, dir, m, &m.Inputs[i], open); err != nil {
					return err
				}
			}
			return nil
		},
	}
	if err := r.run(ctx); err != nil {
		return err
	}
	if n != len(m.Stages) {
		return fmt.Errorf("the trace's second replay has %s, and the first had %d: have its files changed?", words.Count(n, "stage"), len(m.Stages))
	}
	f, err := os.Create(filepath.Join(dir, ManifestFile))
	if err != nil {
		return err
	}
	return errors.Join(m.Write(f), f.Close())
}

// replay replays a trace up to a step.
type replay struct {
	*Export
	stage  func(Stage, []content) error                           // called for each stage, during its event
	inputs func(open func(kv.SeqID) (trace.Tensors, error)) error // called at the end; may be nil

	step, number int   // of the next stage
	err          error // returned by stage
}

// errEnough ends a replay after the last step to export.
var errEnough = errors.New("enough steps")

func (r *replay) run(ctx context.Context) error {
	var open func(kv.SeqID) (trace.Tensors, error)
	opt := r.Options
	opt.Fill(r.Trace.Meta, r.Trace.Requests())
	_, err := sim.ReplayOn(ctx, r.Trace, opt, sim.Hooks{
		Progress: r.Progress,
		Event:    r.event,
		Step:     func(s *sim.Step) { r.step, r.number = s.Index+1, 0 },
	}, func(cfg ref.Config, tensors func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (sim.Engine, error) {
		open = tensors
		engine, err := ref.NewEngine(cfg, tensors, observe)
		if err != nil {
			return nil, err
		}
		return &stopping{engine, r.stopped}, nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	if r.err != nil { // returned for the last stage
		return r.err
	}
	if r.inputs != nil && open != nil {
		return r.inputs(open)
	}
	return nil
}

// stopped returns the reason to stop the replay, or nil.
func (r *replay) stopped() error {
	if r.err == nil && r.Steps > 0 && r.step >= r.Steps {
		return errEnough
	}
	return r.err
}

// event handles one event of the engine.
func (r *replay) event(e ref.Event) {
	if r.stopped() != nil {
		return
	}
	s := Stage{Step: r.step, Stage: e.Stage, Sequences: slices.Clone(e.Seqs), Path: stagePath(r.step, r.number, e.Stage), Parts: []Part{}}
	r.number++
	for _, id := range e.Seqs {
		tokens := 0
		if q := e.Cache.Sequence(id); q != nil {
			tokens = q.Len
		}
		s.Tokens = append(s.Tokens, tokens)
	}
	var parts []content
	if r.Stages == nil || slices.Contains(r.Stages, e.Stage) {
		parts = stageParts(e)
	}
	for i := range parts {
		parts[i].File = r.Arrays.fileOf(s.Path, parts[i].Name)
		s.Parts = append(s.Parts, parts[i].Part)
	}
	r.err = r.stage(s, parts)
}

// stopping is the reference engine, whose operations fail once stopped returns an error.
type stopping struct {
	*ref.Engine
	stopped func() error
}

func (s *stopping) Prefill(id kv.SeqID, n int) error {
	if err := s.stopped(); err != nil {
		return err
	}
	return s.Engine.Prefill(id, n)
}

func (s *stopping) Decode(batch []kv.SeqID) error {
	if err := s.stopped(); err != nil {
		return err
	}
	return s.Engine.Decode(batch)
}

func (s *stopping) Compress(id kv.SeqID) (ref.Compressed, error) {
	if err := s.stopped(); err != nil {
		return ref.Compressed{}, err
	}
	return s.Engine.Compress(id)
}

func (s *stopping) Release(id kv.SeqID) error {
	if err := s.stopped(); err != nil {
		return err
	}
	return s.Engine.Release(id)
}

// writeParts writes parts to files at a path below dir.
func writeParts(dir string, arrays Format, at string, parts []content) error {
	if len(parts) == 0 {
		return nil
	}
	if arrays == Safetensors {
		return writeFile(dir, arrays.fileOf(at, ""), func(dst []byte) ([]byte, error) {
			infos := make([]safetensors.Info, len(parts))
			for i := range parts {
				e, _ := elementOf(parts[i].DType)
				infos[i] = safetensors.Info{Name: parts[i].Name, DType: e.safetensorsType(), Shape: parts[i].shape()}
			}
			dst, err := safetensors.AppendHeader(dst, infos, 0)
			for i := range parts {
				dst = parts[i].append(dst)
			}
			return dst, err
		})
	}
	for i := range parts {
		p := &parts[i]
		e, _ := elementOf(p.DType)
		if err := writeFile(dir, arrays.fileOf(at, p.Name), func(dst []byte) ([]byte, error) {
			dst, err := npy.AppendHeader(dst, npy.Header{Type: e.npyType(), Shape: p.shape()})
			return p.append(dst), err
		}); err != nil {
			return err
		}
	}
	return nil
}

// writeFile writes the bytes that fill appends to a file below dir.
func writeFile(dir, name string, fill func(dst []byte) ([]byte, error)) error {
	text, err := fill(nil)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}
