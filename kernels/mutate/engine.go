package mutate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"

	"kvcompress/internal/work"
	"kvcompress/kernels"
	"kvcompress/kernels/coverage"
	"kvcompress/kernels/ptx"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/ref/draw"
	"kvcompress/trace"
	"kvcompress/validate"
)

// Check has the options for checking mutants of the engine's kernels. A mutant is run on
// random and edge pipelines that execute the mutated instruction, with all checks of the PTX
// machine, and the results are compared with the reference.
type Check struct {
	Methods []*draw.Method
	Seeds   int // pipelines of the seeds 1 to Seeds are tried
	// Runs is the number of pipelines after which it is guessed whether an undetected mutant is equivalent, not counting
	// those run for new branch directions. If it is not, it is run on up to MoreRuns others that execute it.
	Runs, MoreRuns int
	// Progress, if not nil, is called after each mutant.
	Progress func()

	parsed ptx.Cache // shared by all devices
}

// Survivor is an undetected mutant.
type Survivor struct {
	*Mutant
	Runs int `json:"runs"` // pipelines that executed the instruction
	// Equivalent says that the mutant is probably equivalent to the original. Why gives the reason for the guess.
	Equivalent bool   `json:"equivalent"`
	Why        string `json:"why"`
}

// KindCount counts the mutants of a kind, and those that were detected.
type KindCount struct {
	Kind       string `json:"kind"`
	Mutants    int    `json:"mutants"`
	Noticed    int    `json:"noticed"`
	Equivalent int    `json:"equivalent"` // undetected and probably equivalent
}

// Result is the result of mutation testing.
type Result struct {
	Seed       uint64      `json:"seed"`
	Mutants    int         `json:"mutants"`
	Noticed    int         `json:"noticed"`
	Equivalent int         `json:"equivalent"` // undetected and probably equivalent
	Kinds      []KindCount `json:"kinds"`
	Survivors  []Survivor  `json:"survivors"`
}

// Part returns the mutation score: detected mutants as a fraction of those that are not considered equivalent.
func (r *Result) Part() float64 {
	if r.Mutants == r.Equivalent {
		return 1
	}
	return float64(r.Noticed) / float64(r.Mutants-r.Equivalent)
}

// NewResult counts mutants. survivors are the undetected ones among them.
func NewResult(seed uint64, mutants []*Mutant, survivors []Survivor) *Result {
	r := &Result{Seed: seed, Kinds: []KindCount{}, Survivors: []Survivor{}}
	for _, m := range mutants {
		var survived *Survivor
		for i := range survivors {
			if survivors[i].Mutant == m {
				survived = &survivors[i]
			}
		}
		r.add(m, survived)
	}
	return r
}

// add counts a mutant. survived is nil if it was detected.
func (r *Result) add(m *Mutant, survived *Survivor) {
	i := slices.IndexFunc(r.Kinds, func(k KindCount) bool { return k.Kind == m.Kind })
	if i < 0 {
		i = len(r.Kinds)
		r.Kinds = append(r.Kinds, KindCount{Kind: m.Kind})
	}
	r.Mutants++
	r.Kinds[i].Mutants++
	switch {
	case survived == nil:
		r.Noticed++
		r.Kinds[i].Noticed++
		return
	case survived.Equivalent:
		r.Equivalent++
		r.Kinds[i].Equivalent++
	}
	r.Survivors = append(r.Survivors, *survived)
}

// EngineModules returns the engine's PTX modules.
func EngineModules() ([]*Module, error) {
	var list []*Module
	for _, name := range kernels.Modules() {
		text, err := kernels.PTX(name)
		if err != nil {
			return nil, err
		}
		m, err := Parse(name, text)
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, nil
}

// EngineGroup returns a kernel's name without the cache's format. It is a group function for Sample.
func EngineGroup(kernel string) string {
	if i := strings.LastIndexByte(kernel, '_'); i > 0 && kernels.IsKernel(kernel, kernel[:i]) {
		return kernel[:i]
	}
	return kernel
}

// batch is the number of seeds whose pipelines are tried together.
const batch = 8

// A mutant is first run on cheapRuns pipelines with few instructions. Then it is run on the pipeline with the most
// instructions of each batch, and on up to moreRuns pipelines in which its kernel takes a new branch direction.
const (
	cheapRuns = 6
	moreRuns  = 40
)

// tried is a mutant being checked.
type tried struct {
	*Mutant
	noticed string
	inputs  []*validate.Pipeline // that executed the instruction without detecting the mutant
	left    []*input             // further ones that execute the instruction
	plain   int                  // number of inputs that were not run for a new branch direction
	took    []uint8              // branch directions of the kernel that inputs took: see ptx.Coverage.Took
	err     error
}

// input is a pipeline with its coverage and cost.
type input struct {
	*validate.Pipeline
	covered ptx.Coverage
	cost    int64 // thread instructions
	parsed  *ptx.Cache
}

// Run checks mutants. Equal seeds, mutants and methods give equal results.
func (c *Check) Run(ctx context.Context, mutants []*Mutant) ([]Survivor, error) {
	all := make([]*tried, len(mutants))
	for i, m := range mutants {
		all[i] = &tried{Mutant: m}
	}
	left := slices.Clone(all)
	done := func(t *tried) bool { return t.noticed != "" || t.err != nil }
	for seed := 1; seed <= c.Seeds && len(left) > 0 && ctx.Err() == nil; seed += batch {
		inputs, err := c.inputs(ctx, uint64(seed), min(batch, c.Seeds-seed+1), left)
		if err != nil && ctx.Err() == nil {
			return nil, err
		}
		each(len(left), func(i int) {
			t := left[i]
			reach := slices.DeleteFunc(slices.Clone(inputs), func(in *input) bool { return !in.covered.Reached(t.Kernel, t.Line) })
			for k, in := range reach {
				if done(t) || ctx.Err() != nil {
					break
				}
				took := in.covered.Took(t.Kernel)
				switch {
				case t.plain < min(cheapRuns, c.Runs) || k == len(reach)-1 && t.plain < c.Runs:
					t.plain++
				case t.shows(took) && len(t.inputs)-t.plain < moreRuns:
				default:
					t.left = append(t.left, &input{Pipeline: in.Pipeline, cost: in.cost, parsed: in.parsed})
					continue
				}
				t.see(took)
				t.run(ctx, in)
			}
		})
		n := len(left)
		left = slices.DeleteFunc(left, done)
		c.progress(n - len(left))
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.progress(len(left))
	var unnoticed []*tried
	for _, t := range all {
		if t.err != nil {
			return nil, t.err
		}
		if t.noticed == "" {
			unnoticed = append(unnoticed, t)
		}
	}
	survivors := make([]Survivor, len(unnoticed))
	errs := make([]error, len(unnoticed))
	each(len(unnoticed), func(i int) {
		if survivors[i], errs[i] = unnoticed[i].judge(ctx, &c.parsed); !survivors[i].Equivalent {
			unnoticed[i].runLeft(ctx, c.MoreRuns)
			survivors[i].Runs = len(unnoticed[i].inputs)
		}
	})
	if err := errors.Join(append(errs, ctx.Err())...); err != nil {
		return nil, err
	}
	var surviving []Survivor
	for i, t := range unnoticed {
		if t.noticed == "" {
			surviving = append(surviving, survivors[i])
		}
	}
	return surviving, nil
}

// judge is guess, followed by the arguments.
func (t *tried) judge(ctx context.Context, parsed *ptx.Cache) (Survivor, error) {
	s := t.guess(ctx, parsed)
	if s.Equivalent {
		return s, nil
	}
	why, err := s.argued(s.Why)
	if why != "" {
		s.Equivalent, s.Why = true, "by an argument: "+why
	}
	return s, err
}

// runLeft runs the mutant on up to n of the pipelines that execute it and were left out, until one detects it. Faults
// in offsets are run first where the cache, or the block tables, lie far behind, those in widths first where heads are
// longest, since only then do counts and indices exceed 16 bits; others first where it is cheap.
func (t *tried) runLeft(ctx context.Context, n int) {
	far := func(in *input) int { return -(in.Before*in.Config.BlockSize + in.BeforeRows) }
	longest := func(in *input) int { return -slices.Max(in.Inputs.Tokens) }
	slices.SortStableFunc(t.left, func(a, b *input) int {
		switch t.Kind {
		case KindAddress32:
			return cmp.Compare(far(a), far(b))
		case KindWidth:
			return cmp.Compare(longest(a), longest(b))
		}
		return cmp.Compare(a.cost, b.cost)
	})
	for _, in := range t.left[:min(n, len(t.left))] {
		if t.run(ctx, in); t.noticed != "" || ctx.Err() != nil {
			return
		}
	}
}

func (c *Check) progress(n int) {
	for range n {
		if c.Progress != nil {
			c.Progress()
		}
	}
}

// each calls f for 0 to n−1 in parallel.
func each(n int, f func(int)) {
	work.Each(work.Workers(n), n, func(_, i int) { f(i) })
}

// inputs returns the pipelines of n seeds from first on, except those whose cache has a format that
// no mutant's kernel is for. Pipelines with the fewest instructions come first.
func (c *Check) inputs(ctx context.Context, first uint64, n int, mutants []*tried) ([]*input, error) {
	var list []*input
	for seed := first; seed < first+uint64(n) && ctx.Err() == nil; seed++ {
		p, err := validate.RandomPipelineOf(seed, c.Methods)
		if err != nil {
			return nil, err
		}
		edges, err := validate.EdgePipelines(seed, c.Methods)
		if err != nil {
			return nil, err
		}
		for _, p := range append(edges, p) {
			format := strings.TrimPrefix(p.Config.DType.String(), "fp8_")
			if slices.ContainsFunc(mutants, func(t *tried) bool { return t.format() == "" || t.format() == format }) {
				list = append(list, &input{Pipeline: &p, parsed: &c.parsed})
			}
		}
	}
	errs := make([]error, len(list))
	each(len(list), func(i int) {
		if errs[i] = ctx.Err(); errs[i] != nil {
			return
		}
		in := list[i]
		opt := ptx.Options{Coverage: &in.covered, Budget: launchBudget}
		errs[i] = in.run(ctx, opt, nil, &in.cost)
	})
	slices.SortStableFunc(list, func(a, b *input) int { return cmp.Compare(a.cost, b.cost) })
	return list, errors.Join(errs...)
}

const (
	launchBudget = 1 << 22 // warp instructions of a launch, as in kvc validate --random
	// passBytes is so small that prompts take several launches: see kernels.Options.PrefillBytes.
	passBytes = 256 << 10
)

// run runs the pipeline on an engine with some kernels replaced. A difference from the
// reference is an error. If cost is not nil, it is set to the number of thread instructions.
func (in *input) run(ctx context.Context, opt ptx.Options, replaced map[string]kernels.Replacement, cost *int64) (err error) {
	defer work.Recover(&err) // the host may panic on data written by a wrong kernel
	opt.Cache = in.parsed
	var dev *ptx.Device
	engine := &watched{}
	outcome, err := in.Pipeline.Run(ctx, func(cfg ref.Config, open func(kv.SeqID) (trace.Tensors, error), observe func(ref.Event)) (validate.Engine, error) {
		dev = ptx.New(opt)
		var err error
		engine.Engine, err = kernels.New(dev, cfg, open, observe, kernels.Options{Context: ctx, Kernels: replaced, PrefillBytes: passBytes, FreshBuffers: true})
		return engine, err
	}, validate.Tolerance{})
	if dev != nil {
		if cost != nil {
			*cost = dev.Instructions()
		}
		err = errors.Join(err, dev.Close())
	}
	if unsupported := (*ref.UnsupportedError)(nil); errors.As(err, &unsupported) {
		return nil
	}
	if outcome.Divergence != nil {
		return errors.Join(outcome.Divergence, engine.failed)
	}
	return err
}

// watched is an engine that stores the last error of a kernel. The error of a divergence has only its text.
type watched struct {
	*kernels.Engine
	failed error
}

func (w *watched) note(err error) error {
	if report := (*ptx.Report)(nil); errors.As(err, &report) && w.failed == nil {
		w.failed = report
	}
	return err
}

// Prefill calls the engine's Prefill and stores its error.
func (w *watched) Prefill(id kv.SeqID, n int) error { return w.note(w.Engine.Prefill(id, n)) }

// Decode calls the engine's Decode and stores its error.
func (w *watched) Decode(batch []kv.SeqID) error { return w.note(w.Engine.Decode(batch)) }

// Compress calls the engine's Compress and stores its error.
func (w *watched) Compress(id kv.SeqID) (ref.Compressed, error) {
	result, err := w.Engine.Compress(id)
	return result, w.note(err)
}

// run runs the mutant on an input.
func (t *tried) run(ctx context.Context, in *input) {
	opt := ptx.Options{Checks: ptx.AllChecks(), Budget: min(launchBudget, 2*in.cost+1e5)}
	err := in.run(ctx, opt, t.replaces(t.Alone()), nil)
	if ctx.Err() != nil {
		return // the error may be the context's
	}
	if err != nil {
		t.noticed = err.Error()
		return
	}
	t.inputs = append(t.inputs, in.Pipeline)
}

// shows reports whether an input takes a branch direction of the kernel that no earlier input took.
func (t *tried) shows(took []uint8) bool {
	for i, directions := range took {
		if i >= len(t.took) || directions&^t.took[i] != 0 {
			return true
		}
	}
	return false
}

// see records the branch directions that an input took.
func (t *tried) see(took []uint8) {
	t.took = append(t.took, make([]uint8, max(0, len(took)-len(t.took)))...)
	for i, directions := range took {
		t.took[i] |= directions
	}
}

// replaces returns the replacement of the engine's kernel by the one in a PTX text.
func (t *tried) replaces(text []byte) map[string]kernels.Replacement {
	return map[string]kernels.Replacement{t.Kernel: {File: t.module.Name, PTX: text, Entry: t.Kernel}}
}

// format returns the format of the cache that a mutant's kernel is for; "" for any.
func (t *tried) format() string {
	return strings.TrimPrefix(strings.TrimPrefix(t.Kernel, EngineGroup(t.Kernel)), "_")
}

// maxProbes is the largest number of inputs on which guess compares the instruction's results.
const maxProbes = 40

// guess guesses whether an undetected mutant is equivalent.
func (t *tried) guess(ctx context.Context, parsed *ptx.Cache) Survivor {
	s := Survivor{Mutant: t.Mutant, Runs: len(t.inputs)}
	if len(t.inputs) == 0 {
		s.Why = "no pipeline executes the instruction"
		expected, err := coverage.Expectations()
		if err != nil {
			s.Why += ": " + err.Error()
			return s
		}
		for i := range expected {
			if expected[i].Holds(path.Clean(t.File), t.SourceLine, t.Kernel) {
				s.Equivalent, s.Why = true, "it is not executed: "+expected[i].Why
			}
		}
		return s
	}
	probe := t.Probe()
	if probe == nil {
		s.Why = "what it does differs, and nothing shows it"
		return s
	}
	inputs := slices.Clone(t.inputs)
	rand.New(rand.NewPCG(1, 0)).Shuffle(len(inputs), func(i, j int) { inputs[i], inputs[j] = inputs[j], inputs[i] })
	inputs = inputs[:min(len(inputs), maxProbes)]
	differs := t.runs(ctx, parsed, inputs, probe, ptx.Options{Budget: launchBudget})
	switch {
	case ctx.Err() != nil:
		return s
	case differs == nil && t.Kind == KindAddress32:
		s.Why = fmt.Sprintf("32 bits held the offset wherever it was computed, in %d pipelines", len(inputs))
		t.judgeOffset(ctx, parsed, inputs, &s)
		return s
	case differs == nil:
		s.Equivalent, s.Why = true, fmt.Sprintf("its result was the same wherever it was executed, in %d pipelines", len(inputs))
		return s
	}
	s.Why = "its result differs, and nothing that follows does"
	taint := t.Taint()
	if taint == nil {
		return s
	}
	used := t.runs(ctx, parsed, inputs, taint, ptx.Options{Checks: ptx.Checks{Uninit: true, Registers: true}, Budget: launchBudget})
	if report := (*ptx.Report)(nil); ctx.Err() != nil {
		return s
	} else if errors.As(used, &report) {
		s.Why += fmt.Sprintf(", though what differs is used, first at %s:%d", path.Clean(report.File), report.Line)
	} else if used != nil {
		s.Why += ": " + used.Error()
	} else {
		s.Equivalent, s.Why = true, fmt.Sprintf("nothing uses the bits of its result that differ, in %d pipelines", len(inputs))
	}
	return s
}

// judgeOffset decides from the array that is accessed whether an offset may need more than 32 bits.
func (t *tried) judgeOffset(ctx context.Context, parsed *ptx.Cache, inputs []*validate.Pipeline, s *Survivor) {
	astray := t.Astray()
	if astray == nil {
		return
	}
	used := t.runs(ctx, parsed, inputs, astray, ptx.Options{Budget: launchBudget})
	name := array(used)
	bound := size(t.Kernel, name)
	switch {
	case ctx.Err() != nil:
	case used == nil:
		s.Equivalent = true
		s.Why += ", and nothing is accessed by it"
	case bound != "":
		s.Equivalent = true
		s.Why += fmt.Sprintf(": it is of %q, of at most 2 GiB: %s", name, bound)
	case strings.HasSuffix(name, " memory"):
		s.Equivalent = true
		s.Why += ": it is of " + name
	case name == "":
		s.Why += ", but it decides what a thread does"
	default:
		s.Why += fmt.Sprintf(": it is of %q, which may have more than 2 GiB", name)
	}
}

// runs runs inputs with the mutant's kernel replaced by the one in a text, until one returns an error.
func (t *tried) runs(ctx context.Context, parsed *ptx.Cache, inputs []*validate.Pipeline, text []byte, opt ptx.Options) error {
	for _, p := range inputs {
		in := &input{Pipeline: p, parsed: parsed}
		if err := in.run(ctx, opt, t.replaces(text), nil); err != nil || ctx.Err() != nil {
			return err
		}
	}
	return nil
}
