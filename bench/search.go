package bench

import (
	"fmt"
	"sort"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
)

// Setting is where a row's knob stands for one budget.
type Setting struct {
	Config   ref.Config
	Text     string  // "max_cache_tokens 61, 2 whole heads"
	Bytes    float64 // mean over the steps of the blocks' bytes, as was found in advance
	Streamed bool    // the prompt is read through the compressed cache
	Kept     int     // tokens of the context that are left before the prompt is read; 0 is all

	by    dropping // if not all
	other *other   // a model that is run in place of the plan's
}

// UnreachableError says that a row cannot be brought to a budget.
type UnreachableError struct {
	Row    string
	Budget Budget
	Needs  float64 // the least part of the full cache's bytes that it can do with; 0 if unknown
	Why    string
}

func (e *UnreachableError) Error() string {
	if e.Needs > 0 {
		return fmt.Sprintf("%s cannot reach %v: it needs %.2f", e.Row, e.Budget, e.Needs)
	}
	return fmt.Sprintf("%s cannot reach %v: %s", e.Row, e.Budget, e.Why)
}

// course is what happens to a cache in one run: a prompt, and tokens that are fed after it.
type course struct {
	prompt int
	fed    int
	again  bool // the prompt's last token is computed once more before any is fed
}

// grid is what a knob is searched over.
type grid struct {
	base   ref.Config // with the model's shape
	heads  Heads
	course course

	context    int                             // tokens of the context
	recall     bool                            // the tasks are in the recall vocabulary
	blockBytes int                             // of a cache that keeps every KV
	lost       func(ref.Config) ([]int, error) // the lengths of heads after the prompt was compressed, of measured rows
}

// search turns the row's knob so that the mean of the bytes held over the course's steps is
// as large as can be, and no more than a budget's part of the full cache's.
func (g *grid) search(r *Row, budget Budget) (Setting, error) {
	full := float64(g.blockBytes) * denseBlocks(g.base.Shape.Heads(), g.base.BlockSize, g.course)
	limit := full * budget.Part()
	if r.other != "" {
		return g.other(r, budget, full)
	}
	if r.by != "" {
		return g.shorten(r, budget, full)
	}
	missed := &UnreachableError{Row: r.Name, Budget: budget}
	for _, c := range r.choose(g.heads) {
		s, least, err := g.turn(r, c, limit)
		if err != nil {
			return Setting{}, err
		}
		switch {
		case s != nil:
			return *s, nil
		case least > 0 && (missed.Needs == 0 || least/full < missed.Needs):
			missed.Needs = least / full
		}
	}
	if missed.Needs == 0 {
		missed.Why = "no setting of its options suits prompts of this length"
	}
	return Setting{}, missed
}

// denseBlocks is the mean number of blocks over a course that nothing is evicted in.
func denseBlocks(heads, size int, c course) float64 {
	sum, n := 0, 0
	first := c.prompt + 1
	if c.again {
		first = c.prompt
	}
	for length := first; length <= c.prompt+c.fed; length++ {
		sum += heads * ((length + size - 1) / size)
		n++
	}
	return float64(sum) / float64(n)
}

// turn sets the number of a choice to the most that stays within a limit of bytes. It
// returns nil where none does, with the least bytes that the choice can do with, 0 where no
// value suits.
func (g *grid) turn(r *Row, c choice, limit float64) (*Setting, float64, error) {
	if c.turn.to == nil {
		cfg, err := r.config(g.base, c, 0)
		if err != nil {
			return nil, 0, nil // not an option for this model
		}
		bytes, err := g.bytes(r, cfg)
		if err != nil || bytes > limit {
			return nil, bytes, err
		}
		return &Setting{Config: cfg, Text: c.text, Bytes: bytes}, 0, nil
	}
	valid := func(n int) bool {
		_, err := r.config(g.base, c, n)
		return err == nil
	}
	most := c.turn.most(g.course)
	least := 1 + sort.Search(most, func(i int) bool { return valid(i + 1) })
	if least > most {
		return nil, 0, nil
	}
	var failed error
	at := func(n int) (ref.Config, float64) {
		cfg, err := r.config(g.base, c, n)
		if err != nil {
			failed = err
			return cfg, 0
		}
		bytes, err := g.bytes(r, cfg)
		if err != nil {
			failed = err
		}
		return cfg, bytes
	}
	// The first beyond the limit, so the one before is the largest within it.
	beyond := least + sort.Search(most+1-least, func(i int) bool { _, bytes := at(least + i); return bytes > limit })
	if failed != nil {
		return nil, 0, failed
	}
	if beyond == least {
		_, bytes := at(least)
		return nil, bytes, failed
	}
	cfg, bytes := at(beyond - 1)
	text := c.turn.text(beyond - 1)
	if c.text != "" {
		text = c.text + ", " + text
	}
	return &Setting{Config: cfg, Text: text, Bytes: bytes, Streamed: r.streamed}, 0, failed
}

// shorten sets how many tokens of the context are left, in whole blocks: the most with which
// a cache that keeps every KV stays within the budget.
func (g *grid) shorten(r *Row, budget Budget, full float64) (Setting, error) {
	cfg, err := r.config(g.base, choice{}, 0)
	if err != nil {
		return Setting{}, err
	}
	bytes := func(kept int) float64 {
		c := g.course
		c.prompt -= g.context - kept
		return float64(cfg.BlockBytes()) * denseBlocks(cfg.Shape.Heads(), cfg.BlockSize, c)
	}
	size := cfg.BlockSize
	blocks := sort.Search(g.context/size, func(i int) bool { return bytes((i+1)*size) > full*budget.Part() })
	if blocks == 0 {
		return Setting{}, &UnreachableError{Row: r.Name, Budget: budget, Needs: bytes(size) / full}
	}
	kept := blocks * size
	return Setting{Config: cfg, Text: fmt.Sprintf("%d tokens of the context", kept), Bytes: bytes(kept), Kept: kept, by: r.by}, nil
}

// bytes returns the mean bytes of the blocks held over the course's steps.
func (g *grid) bytes(r *Row, cfg ref.Config) (float64, error) {
	per := float64(cfg.BlockBytes())
	if r.measured {
		lengths, err := g.lost(cfg)
		if err != nil {
			return 0, err
		}
		sum := 0.0
		for _, n := range lengths {
			sum += denseBlocks(1, cfg.BlockSize, course{n, g.course.fed, g.course.again})
		}
		return per * sum, nil
	}
	blocks, err := countBlocks(cfg, g.course)
	return per * blocks, err
}

// countBlocks returns the mean number of blocks that a ledger holds over a course.
func countBlocks(cfg ref.Config, c course) (float64, error) {
	cfg.Blocks = kv.MaxBlocks
	l, err := sim.NewLedger(&cfg, nil)
	if err != nil {
		return 0, err
	}
	const id = kv.SeqID(0)
	if err := l.Prefill(id, c.prompt); err != nil {
		return 0, err
	}
	sum, n := 0, 0
	compress := func() error {
		if l.Count(id) == 0 {
			return nil
		}
		_, err := l.Compress(id)
		return err
	}
	if c.again {
		if err := compress(); err != nil {
			return 0, err
		}
		sum, n = l.Held(id), 1
	}
	for range c.fed {
		if err := compress(); err != nil {
			return 0, err
		}
		if err := l.Decode([]kv.SeqID{id}); err != nil {
			return 0, err
		}
		sum, n = sum+l.Held(id), n+1
	}
	return float64(sum) / float64(n), nil
}
