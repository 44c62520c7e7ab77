// Package bench measures the quality of KV cache compression: how well a model answers tasks
// through a compressed cache, by method and category of task, at equal bytes.
//
// A [Plan] says what is run. Each method has a knob ([Row]), an option that sets how much it
// keeps. It is set so that the blocks that the method holds over a generation, with their
// columns and owners, take on average no more than the budget's fraction of the full cache's
// bytes. Then the model runs live through the cache ([kvcompress/bench/live]), and its answers
// are scored.
//
// Every task is asked in two modes: with the question in the prompt, where the method may
// observe its attention ([Aware]), and after the compression ([Agnostic]). The modes differ
// more than the methods do.
//
// A unit of work is one context of one model, with all its questions, methods and budgets.
// Results do not depend on how many units run in parallel.
package bench

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"kvcompress/bench/prompt"
	"kvcompress/bench/task"
	"kvcompress/internal/near"
	"kvcompress/kv"
	"kvcompress/ref"
)

// Budget is a fraction of the full cache's bytes, 1/n; its value is n.
type Budget int

// Part returns 1/n.
func (b Budget) Part() float64 { return 1 / float64(b) }

// String writes the budget as [ParseBudget] reads it: 1, 1/2, 1/4.
func (b Budget) String() string {
	if b == 1 {
		return "1"
	}
	return "1/" + strconv.Itoa(int(b))
}

// MaxBudget is the largest n of a budget.
const MaxBudget = 1024

// ParseBudget reads 1/n, or 1.
func ParseBudget(s string) (Budget, error) {
	n := 1
	text, part := strings.CutPrefix(s, "1/")
	var err error
	if part || s != "1" {
		n, err = strconv.Atoi(text)
	}
	if err != nil || !part && s != "1" || n < 1 || n > MaxBudget {
		return 0, fmt.Errorf("bench: budget %.20q: want 1 or 1/n with n up to %d", s, MaxBudget)
	}
	return Budget(n), nil
}

// MarshalText implements [encoding.TextMarshaler].
func (b Budget) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (b *Budget) UnmarshalText(text []byte) (err error) {
	*b, err = ParseBudget(string(text))
	return err
}

// Mode says whether the question is in the prompt that the method compresses.
type Mode string

// The modes.
const (
	Aware    Mode = "query-aware"    // the question is in the prompt
	Agnostic Mode = "query-agnostic" // the question is fed after the compression
)

// Modes returns both modes.
func Modes() []Mode { return []Mode{Aware, Agnostic} }

// Plan is what a bench runs. The results are a function of the plan and the models' weights.
type Plan struct {
	Models     []string `json:"models"`     // names of [models], or paths
	Length     int      `json:"length"`     // tokens of a context
	Prompts    int      `json:"prompts"`    // contexts for each model
	Seed       uint64   `json:"seed"`       // of the first context; each further one has the next
	Categories []string `json:"categories"` // of package task
	Methods    []string `json:"methods"`    // names of rows
	Budgets    []Budget `json:"budgets"`    // the largest fraction first
	Modes      []Mode   `json:"modes"`
	BlockSize  int      `json:"block_size"`
	Texts      *Texts   `json:"texts,omitempty"`
	Grid       *Grid    `json:"grid,omitempty"` // with a grid Length is 0, and needle the only category
}

// DefaultPlan returns the plan of kvc bench without flags, which takes some minutes on two cores.
func DefaultPlan() Plan {
	p := Plan{
		Models:     []string{"recall-0", "recall-1"},
		Length:     512,
		Prompts:    12,
		Seed:       1,
		Categories: task.Categories(),
		Budgets:    []Budget{2, 4, 8, 16},
		Modes:      Modes(),
		BlockSize:  8,
	}
	for _, r := range Rows() {
		p.Methods = append(p.Methods, r.Name)
	}
	return p
}

// The bounds of a plan.
const (
	MaxPrompts = 100_000
	MaxLength  = 1 << 16
	minLength  = 64
	maxUnits   = 100 * MaxPrompts
)

// repeated returns the first name that is also earlier in the list.
func repeated[T ~string](names []T) (name T, ok bool) {
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return name, true
		}
	}
	return "", false
}

// Check returns every error of the plan, joined.
func (p *Plan) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("bench: "+format, args...)) }
	if len(p.Models) == 0 || len(p.Models) > 100 {
		bad("%d models: want 1 to 100", len(p.Models))
	}
	// A model that is given twice would count its contexts twice, and make every interval too narrow.
	if twice, ok := repeated(p.Models); ok {
		bad("model %q is given twice", twice)
	}
	if twice, ok := repeated(p.Categories); ok {
		bad("category %q is given twice", twice)
	}
	if twice, ok := repeated(p.Modes); ok {
		bad("mode %q is given twice", twice)
	}
	switch {
	case p.Grid != nil:
		errs = append(errs, p.Grid.check(p.mostDigits())...)
		if p.Length != 0 || !slices.Equal(p.Categories, []string{task.Needle}) {
			bad("a grid has lengths of its own, and needle as its only category")
		}
	case p.Length == 0 && p.ofFile():
	case p.Length < minLength || p.Length > MaxLength:
		bad("length %d: want %d to %d tokens", p.Length, minLength, MaxLength)
	}
	if p.Texts != nil {
		if p.Grid != nil && (p.ofFile() || p.Texts.Digits != 0) {
			bad("a grid has passkeys with digits of its own, and no tasks of a file")
		}
		if err := p.Texts.check(); err != nil {
			errs = append(errs, err)
		}
	}
	if p.Prompts < 1 || p.Prompts > MaxPrompts {
		bad("%d prompts: want 1 to %d", p.Prompts, MaxPrompts)
	}
	if n := p.Units(); n > maxUnits {
		bad("%d contexts: want %d at most", n, maxUnits)
	}
	for _, c := range p.Categories {
		if !slices.Contains(task.Categories(), c) {
			bad("there is no category %q%s: there are %s", c, near.Hint(c, task.Categories()), strings.Join(task.Categories(), ", "))
		}
	}
	for _, m := range p.Modes {
		if !slices.Contains(Modes(), m) {
			bad("there is no mode %q: there are %s and %s", m, Aware, Agnostic)
		}
	}
	if _, err := FindRows(p.Methods); err != nil {
		errs = append(errs, err)
	}
	for i, b := range p.Budgets {
		if b < 1 || b > MaxBudget || i > 0 && b <= p.Budgets[i-1] {
			bad("budgets %v: want different fractions, the largest first", p.Budgets)
			break
		}
	}
	for name, n := range map[string]int{"categories": len(p.Categories), "modes": len(p.Modes), "methods": len(p.Methods), "budgets": len(p.Budgets)} {
		if n == 0 {
			bad("no %s", name)
		}
	}
	if !slices.Contains(kv.BlockSizes(), p.BlockSize) {
		bad("block size %d: want one of %v", p.BlockSize, kv.BlockSizes())
	}
	return errors.Join(errs...)
}

// ofFile reports whether the tasks are those of a file.
func (p *Plan) ofFile() bool { return p.Texts != nil && p.Texts.File != "" }

// mostDigits returns how many digits a passkey may have.
func (p *Plan) mostDigits() int {
	if p.Texts != nil {
		return prompt.MaxDigits
	}
	return maxDigits
}

// Units returns the number of units: contexts, over all models.
func (p *Plan) Units() int {
	n := len(p.Models) * p.Prompts
	if p.Grid != nil {
		n *= len(p.Grid.Lengths) * p.Grid.Depths
	}
	return n
}

// unit is a context of a model.
type unit struct {
	model         string
	seed          uint64
	length, depth int // indices of a grid
	options       task.Options
}

// unit returns the i-th unit. The model varies fastest; with a grid, then the depth, the length
// and the prompt.
func (p *Plan) unit(i int) unit {
	u := unit{model: p.Models[i%len(p.Models)]}
	i /= len(p.Models)
	u.seed = p.Seed + uint64(i)
	u.options = task.Options{Length: p.Length, Seed: u.seed}
	if g := p.Grid; g != nil {
		u.depth, i = i%g.Depths, i/g.Depths
		u.length, i = i%len(g.Lengths), i/len(g.Lengths)
		depth := g.Depth(u.depth)
		u.options.Length, u.options.Depth, u.options.Digits = g.Lengths[u.length], &depth, g.Digits[i%len(g.Digits)]
	}
	return u
}

// unitsWithDigits returns the number of units of one model and one length whose passkey has this many
// digits. Without a grid it is all units of a model.
func (p *Plan) unitsWithDigits(digits int) int {
	if p.Grid == nil {
		return p.Prompts
	}
	n := 0
	for i := range p.Prompts {
		if p.Grid.Digits[i%len(p.Grid.Digits)] == digits {
			n += p.Grid.Depths
		}
	}
	return n
}

// shapes returns the options of one context for each length and number of digits in the plan.
// Units with the same two have prompts and answers of the same number of tokens.
func (p *Plan) shapes() []task.Options {
	at := task.Options{Length: p.Length, Seed: p.Seed + calibration}
	if p.Grid == nil {
		return []task.Options{at}
	}
	var all []task.Options
	for _, length := range p.Grid.Lengths {
		for i, digits := range p.Grid.Digits {
			if at.Length, at.Digits = length, digits; !slices.Contains(p.Grid.Digits[:i], digits) {
				all = append(all, at)
			}
		}
	}
	return all
}

// base returns the configuration that rows add their options to.
func (p *Plan) base(m *Model) ref.Config {
	cfg := ref.Default()
	model := m.Llama.Config()
	cfg.BlockSize, cfg.Rope, cfg.Shape, cfg.Blocks = p.BlockSize, model.RopeWithin(model.MaxPositions), model.Shape(), 1
	return cfg
}

// blockBytes returns the bytes of a block of a cache that keeps every KV.
func (p *Plan) blockBytes(m *Model) int {
	cfg := p.base(m)
	return cfg.Config.BlockBytes(nil)
}
