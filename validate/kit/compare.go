package kit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"kvcompress/validate"
)

// Options say how arrays are compared.
type Options struct {
	Tolerance validate.Tolerance // for computed floats: all except keys and values
	Parts     []string           // names of the parts to compare; nil: all
}

// Compare compares another implementation's arrays with an export. Missing arrays are listed in the report.
// The error lists files that could not be read, or is the context's; the report then has what was compared so
// far.
func Compare(ctx context.Context, export, theirs fs.FS, opt Options) (*Report, error) {
	m, err := ReadManifest(export)
	if err != nil {
		return nil, err
	}
	if err := m.has(opt.Parts); err != nil {
		return nil, err
	}
	r := &Report{Trace: m.Trace, Files: []FileResult{}, Parts: []PartResult{}, Results: []Result{}}
	var errs []error
	for i := range m.Stages {
		if err := ctx.Err(); err != nil {
			return r, errors.Join(append(errs, err)...)
		}
		s := &m.Stages[i]
		if len(s.Parts) == 0 {
			continue
		}
		c := stageComparison{m: m, stage: s, opt: &opt, golden: openFolder(export, s.Path), theirs: openFolder(theirs, s.Path)}
		errs = append(errs, c.compare(r)...)
		c.golden.close()
		c.theirs.close()
	}
	if r.Unknown, err = m.unknown(theirs); err != nil {
		errs = append(errs, err)
	}
	return r, errors.Join(errs...)
}

// UnknownPartError means that the export has no such part.
type UnknownPartError struct {
	Part  string
	There []string // the parts that the export has
}

func (e *UnknownPartError) Error() string {
	return fmt.Sprintf("the export has no part %q: want one of %s", e.Part, strings.Join(e.There, ", "))
}

// has returns an *UnknownPartError if one of the parts is not in the export.
func (m *Manifest) has(parts []string) error {
	var there []string
	for i := range m.Stages {
		for j := range m.Stages[i].Parts {
			if name := m.Stages[i].Parts[j].Name; !slices.Contains(there, name) {
				there = append(there, name)
			}
		}
	}
	for _, p := range parts {
		if !slices.Contains(there, p) {
			return &UnknownPartError{p, there}
		}
	}
	return nil
}

// maxUnknown bounds the number of reported unknown files, maxWalked the number of files visited.
const (
	maxUnknown = 20
	maxWalked  = 1 << 20
)

// unknown returns files and tensors of theirs that are not in the export, such as misspelt ones.
func (m *Manifest) unknown(theirs fs.FS) ([]string, error) {
	known := map[string]bool{}
	add := func(at string, parts []Part) {
		for i := range parts {
			known[NPY.fileOf(at, parts[i].Name)] = true
			known[Safetensors.fileOf(at, "")] = true
		}
	}
	for i := range m.Inputs {
		add(m.Inputs[i].Path, m.Inputs[i].Parts)
	}
	for i := range m.Stages {
		add(m.Stages[i].Path, m.Stages[i].Parts)
	}
	var found []string
	walked := 0
	err := fs.WalkDir(theirs, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		isArray := strings.HasSuffix(name, ".npy") || strings.HasSuffix(name, ".safetensors")
		if !d.IsDir() && isArray && !known[name] {
			found = append(found, name)
		}
		if walked++; walked == maxWalked || len(found) == maxUnknown {
			return fs.SkipAll
		}
		return nil
	})
	for i := range m.Stages {
		s := &m.Stages[i]
		f := openFolder(theirs, s.Path)
		if f.st != nil && len(found) < maxUnknown {
			for _, name := range f.st.Names() {
				if !slices.ContainsFunc(s.Parts, func(p Part) bool { return p.Name == name }) {
					found = append(found, Safetensors.fileOf(s.Path, "")+", tensor "+name)
				}
			}
		}
		f.close()
	}
	return found[:min(len(found), maxUnknown)], err
}

// stageComparison compares the parts of one stage.
type stageComparison struct {
	m              *Manifest
	stage          *Stage
	opt            *Options
	golden, theirs *folder
}

// compare adds the stage's results to a report, and returns what could not be read.
func (c *stageComparison) compare(r *Report) []error {
	r.Files = append(r.Files, FileResult{Name: c.stage.Path, Kind: c.stage.Stage})
	var errs []error
	for i := range c.stage.Parts {
		p := &c.stage.Parts[i]
		if c.opt.Parts != nil && !slices.Contains(c.opt.Parts, p.Name) {
			continue
		}
		x := Result{File: p.File, Kind: p.Name, Step: c.stage.Step, Stage: c.stage.Stage, Sequences: c.stage.Sequences}
		cmp := partComparison{stageComparison: c, part: p, result: &x}
		switch err := cmp.compare(); {
		case errors.Is(err, errAbsent):
			x.Skipped = "missing in theirs"
		case err != nil:
			x.Skipped, x.Error = "unreadable", err.Error()
			errs = append(errs, err)
		default:
			x.Agree = x.Differ == 0
			if x.Divergence != nil {
				x.Divergence.More = x.Differ - 1
				x.Mismatch = x.Divergence.Line()
			}
		}
		r.add(x)
	}
	return errs
}

// errAbsent means that a part is missing in theirs.
var errAbsent = errors.New("absent")

// expected opens a part of the export and checks it against the manifest.
func (c *stageComparison) expected(p *Part) (*array, error) {
	want, _ := elementOf(p.DType)
	a, err := c.golden.array(p.Name, want)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("the export: %s is missing: export again", p.File)
	case err != nil:
		return nil, fmt.Errorf("the export: %w", err)
	case a.element != want || !slices.Equal(a.shape, p.shape()):
		return nil, fmt.Errorf("the export: %s is %s %v, and its manifest says %s %v: export again", a.name, a.element.name, a.shape, want.name, p.shape())
	}
	return a, nil
}

// part returns the part with that name, which exists.
func (c *stageComparison) part(name string) *Part {
	i := slices.IndexFunc(c.stage.Parts, func(p Part) bool { return p.Name == name })
	return &c.stage.Parts[i]
}
