package validate

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"

	"kvcompress/internal/jsonlines"
	"kvcompress/internal/words"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
	"kvcompress/strictjson"
	"kvcompress/trace"
)

// GoldenFormat is the version of the golden format.
const GoldenFormat = 1

// Golden is the recorded result of a replay: for every step and stage a digest of each part of the state, and
// the few numbers that a person would check.
type Golden struct {
	Format  int          `json:"format"`
	Trace   string       `json:"trace"`
	Options sim.Options  `json:"options"`
	Totals  sim.Totals   `json:"totals"`
	Steps   []GoldenStep `json:"steps"`
}

// GoldenStep is one iteration of the scheduler.
type GoldenStep struct {
	Step    int           `json:"step"`
	Kind    sim.Kind      `json:"kind"`
	Batch   []kv.SeqID    `json:"batch"`
	Running int           `json:"running"`
	Waiting int           `json:"waiting"`
	Usage   kv.Usage      `json:"usage"`
	Stages  []GoldenStage `json:"stages"`
}

// GoldenStage is one stage of the engine in a step.
type GoldenStage struct {
	Stage  ref.Stage  `json:"stage"`
	Seqs   []kv.SeqID `json:"seqs"`
	KVs    int        `json:"kvs"`              // held by the stage's sequences afterwards; for decide, evicted
	Blocks int        `json:"blocks"`           // likewise
	Moves  int        `json:"moves,omitempty"`  // of a move stage
	Asked  int        `json:"asked,omitempty"`  // of a decide stage, in the method's unit (blocks or KVs)
	Needs  int        `json:"needs,omitempty"`  // blocks that a decide stage needs to be free
	Digest []Digest   `json:"digest,omitempty"` // of each part, in order of dependency
}

// Digest is the first 64 bits of a SHA-256 over one part of a stage's result, as little-endian numbers.
type Digest struct {
	Part string `json:"part"`
	Sum  string `json:"sum"`
}

// Record replays a trace on an engine, by default the reference, and returns its golden result. progress is
// as in [sim.Hooks], and may be nil.
func Record(ctx context.Context, name string, t *trace.Trace, opt sim.Options, progress func(rows int), engine NewEngine) (*Golden, error) {
	if engine == nil {
		engine = Reference
	}
	g := &Golden{Format: GoldenFormat, Trace: name}
	var stages []GoldenStage
	var d digester
	report, err := sim.ReplayOn(ctx, t, opt, sim.Hooks{
		Progress: progress,
		Event:    func(e ref.Event) { stages = append(stages, d.stage(e)) },
		Step: func(s *sim.Step) {
			g.Steps = append(g.Steps, GoldenStep{
				Step: s.Index, Kind: s.Kind, Batch: s.Batch, Running: s.Running, Waiting: s.Waiting, Usage: s.Usage, Stages: stages,
			})
			stages = nil
		},
	}, func(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (sim.Engine, error) {
		return engine(cfg, open, observe)
	})
	if err != nil {
		return nil, err
	}
	g.Options, g.Totals = report.Options, report.Totals
	return g, nil
}

// Write writes the golden result as JSON with one line per step.
func (g *Golden) Write(w io.Writer) error {
	out := bufio.NewWriter(w)
	head := *g
	head.Steps = []GoldenStep{}
	encoded, err := json.Marshal(head)
	if err != nil {
		return err
	}
	open, ok := bytes.CutSuffix(encoded, []byte("[]}"))
	if !ok {
		return errors.New("golden: steps are not the last field")
	}
	out.Write(open)
	if err := jsonlines.WriteArray(out, g.Steps); err != nil {
		return err
	}
	out.WriteString("}\n")
	return out.Flush()
}

// maxGoldenBytes bounds a golden file.
const maxGoldenBytes = 1 << 30

// ReadGolden reads what Write has written. Its errors do not name the file.
func ReadGolden(r io.Reader) (*Golden, error) {
	dec := json.NewDecoder(io.LimitReader(r, maxGoldenBytes))
	dec.DisallowUnknownFields()
	g := new(Golden)
	if err := dec.Decode(g); err == io.EOF {
		return nil, errors.New("the file is empty")
	} else if err != nil {
		return nil, strictjson.Plain(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("there is data after the result")
	}
	if g.Format != GoldenFormat {
		return nil, fmt.Errorf("format %d, this program knows %d: run `kvc golden update`", g.Format, GoldenFormat)
	}
	return g, nil
}

// Difference is the first difference of two golden results.
type Difference struct {
	Step  int       `json:"step"` // −1: in the options or totals
	Stage ref.Stage `json:"stage,omitempty"`
	What  string    `json:"what"`
	Want  string    `json:"want"`
	Got   string    `json:"got"`
}

// Where returns the step, stage and part of the difference.
func (d *Difference) Where() string {
	switch {
	case d.Step < 0:
		return d.What
	case d.Stage == "":
		return fmt.Sprintf("step %d: %s", d.Step, d.What)
	default:
		return fmt.Sprintf("step %d, stage %s: %s", d.Step, d.Stage, d.What)
	}
}

// String returns the difference as one line.
func (d *Difference) String() string {
	return fmt.Sprintf("%s: golden %s, now %s", d.Where(), d.Want, d.Got)
}

// Compare returns the first difference of got from the golden result, nil if
// there is none.
func (g *Golden) Compare(got *Golden) *Difference {
	if d := differ(-1, "", "options", g.Options, got.Options); d != nil {
		return d
	}
	for i := range max(len(g.Steps), len(got.Steps)) {
		if i >= len(g.Steps) || i >= len(got.Steps) {
			return &Difference{i, "", "number of steps", fmt.Sprint(len(g.Steps)), fmt.Sprint(len(got.Steps))}
		}
		if d := g.Steps[i].compare(&got.Steps[i]); d != nil {
			return d
		}
	}
	return differ(-1, "", "totals", g.Totals, got.Totals)
}

func (s *GoldenStep) compare(got *GoldenStep) *Difference {
	for i := range max(len(s.Stages), len(got.Stages)) {
		if i >= len(s.Stages) || i >= len(got.Stages) {
			return &Difference{s.Step, "", "stages", stageNames(s.Stages), stageNames(got.Stages)}
		}
		a, b := s.Stages[i], got.Stages[i]
		if a.Stage != b.Stage || !slices.Equal(a.Seqs, b.Seqs) {
			return &Difference{s.Step, "", "stages", stageNames(s.Stages), stageNames(got.Stages)}
		}
		for j := range min(len(a.Digest), len(b.Digest)) {
			if a.Digest[j] != b.Digest[j] {
				return &Difference{s.Step, a.Stage, fmt.Sprintf("%s of sequences %v", a.Digest[j].Part, a.Seqs),
					fmt.Sprintf("%s (%s)", a.Digest[j].Sum, a.numbers()), fmt.Sprintf("%s (%s)", b.Digest[j].Sum, b.numbers())}
			}
		}
		if d := differ(s.Step, a.Stage, "result", a, b); d != nil {
			return d
		}
	}
	want, now := *s, *got
	want.Stages, now.Stages = nil, nil
	return differ(s.Step, "", "outcome", want, now)
}

func (s *GoldenStage) numbers() string {
	return fmt.Sprintf("%s, %s", words.Count(s.KVs, "KV"), words.Count(s.Blocks, "block"))
}

// stageNames lists stages with their sequences.
func stageNames(stages []GoldenStage) string {
	var names []string
	for _, s := range stages {
		names = append(names, fmt.Sprint(s.Stage, " ", s.Seqs))
	}
	return strings.Join(names, ", ")
}

// differ compares two values as JSON, in which an omitted empty field equals nil, and names the first field
// that differs.
func differ(step int, stage ref.Stage, what string, want, got any) *Difference {
	if reflect.DeepEqual(want, got) {
		return nil
	}
	a, errA := plain(want)
	b, errB := plain(got)
	if err := errors.Join(errA, errB); err != nil {
		return &Difference{step, stage, what, "", err.Error()}
	}
	path, x, y := firstDifferent(what, a, b)
	if path == "" {
		return nil
	}
	return &Difference{step, stage, path, text(x), text(y)}
}

// plain returns a value as decoded from its JSON: maps, slices and numbers.
func plain(v any) (any, error) {
	encoded, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(encoded))
	dec.UseNumber()
	var out any
	err = dec.Decode(&out)
	return out, err
}

// firstDifferent returns the path of the first field, by name, in which two plain values differ, and its two
// values; "" if they are equal.
func firstDifferent(path string, a, b any) (string, any, any) {
	x, isMap := a.(map[string]any)
	y, both := b.(map[string]any)
	if !isMap || !both {
		if reflect.DeepEqual(a, b) {
			return "", nil, nil
		}
		return path, a, b
	}
	names := slices.Sorted(maps.Keys(x))
	for name := range y {
		if _, ok := x[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if at, u, v := firstDifferent(path+"."+name, x[name], y[name]); at != "" {
			return at, u, v
		}
	}
	return "", nil, nil
}

// text returns a plain value as JSON.
func text(v any) string {
	if v == nil {
		return "none"
	}
	encoded, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(encoded)
}
