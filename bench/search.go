package bench

import (
	"fmt"
	"sort"

	"kvcompress/internal/ceil"
	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/sim"
)

// Setting is the configuration by which a row reaches a budget.
type Setting struct {
	Config   ref.Config
	Text     string  // "2 whole heads, max_cache_tokens 61"
	Bytes    float64 // expected bytes of the blocks held, mean over the steps
	Streamed bool    // the prompt is read through the compressed cache
	Kept     int     // tokens that a context is shortened to before prefill; 0 is all

	drop    dropRule // rule of Kept
	decoder decoder  // what decodes the answer in place of an engine's cache; nil is none
}

// UnreachableError says that a row cannot be brought to a budget.
type UnreachableError struct {
	Row    string
	Budget Budget
	Needs  float64 // the least fraction of the full cache's bytes that it needs; 0 if unknown
	Why    string  // if Needs is unknown
}

func (e *UnreachableError) Error() string {
	if e.Needs > 0 {
		return fmt.Sprintf("%s cannot reach %v: it needs %.2f", e.Row, e.Budget, e.Needs)
	}
	return fmt.Sprintf("%s cannot reach %v: %s", e.Row, e.Budget, e.Why)
}

// request is the load that one run puts on a cache. It has fed steps, and one more if recompute
// is set.
type request struct {
	prompt    int  // tokens
	fed       int  // tokens fed after the prompt
	recompute bool // the prompt's last token is computed once more before any is fed
}

// mean returns the mean of a number of bytes or blocks, held after some tokens, over the steps.
func (c *request) mean(held func(tokens int) float64) float64 {
	sum, n := 0.0, 0
	first := c.prompt + 1
	if c.recompute {
		first = c.prompt
	}
	for tokens := first; tokens <= c.prompt+c.fed; tokens++ {
		sum += held(tokens)
		n++
	}
	return sum / float64(n)
}

// knobSearch searches the settings for requests of one length to one model.
type knobSearch struct {
	base    ref.Config // with the model's shape
	heads   Heads
	request request

	context     int                             // tokens of the context
	recall      bool                            // the tasks are in the recall vocabulary
	blockBytes  int                             // of a cache that keeps every KV
	headLengths func(ref.Config) ([]int, error) // measures the KVs of each head after the prompt was compressed
}

// search finds the setting of a row that holds the most bytes within the budget, as the mean
// over the steps of the request. A budget that no setting reaches is an [*UnreachableError].
func (ks *knobSearch) search(r *Row, budget Budget) (Setting, error) {
	full := float64(ks.blockBytes) * denseBlocks(ks.base.Shape.Heads(), ks.base.BlockSize, ks.request)
	limit := full * budget.Part()
	if r.linear != "" {
		return ks.linear(r, budget, full)
	}
	if r.drop != "" {
		return ks.shorten(r, budget, full)
	}
	missed := &UnreachableError{Row: r.Name, Budget: budget}
	for _, c := range r.choose(ks) {
		s, least, err := ks.largest(r, c, limit)
		if err != nil {
			return Setting{}, err
		}
		switch {
		case s != nil:
			return *s, nil
		case least > 0 && (missed.Needs == 0 || least/full < missed.Needs):
			missed.Needs = least / full
		case least == 0 && missed.Why == "":
			missed.Why = ks.refused(r, c)
		}
	}
	switch {
	case missed.Needs > 0:
		missed.Why = ""
	case missed.Why == "":
		missed.Why = "its options leave no choice for this model"
	}
	return Setting{}, missed
}

// refused says why no number of a choice is valid: the error of the largest.
func (ks *knobSearch) refused(r *Row, c choice) string {
	most := 0
	if c.tunable.max != nil {
		most = c.tunable.max(ks.request)
	}
	if _, err := r.config(ks.base, c, most); err != nil {
		return err.Error()
	}
	return ""
}

// denseBlocks returns the mean number of blocks of a number of heads over the steps of a request,
// when nothing is evicted.
func denseBlocks(heads, size int, c request) float64 {
	return c.mean(func(tokens int) float64 { return float64(heads * ceil.Div(tokens, size)) })
}

// largest finds the largest number of a choice that stays within a limit of bytes. If there is
// none it returns nil and the bytes of the smallest number, or 0 if no number is valid.
func (ks *knobSearch) largest(r *Row, c choice, limit float64) (*Setting, float64, error) {
	if c.tunable.set == nil {
		cfg, err := r.config(ks.base, c, 0)
		if err != nil {
			return nil, 0, nil // the model has no use for these options
		}
		bytes, err := ks.bytes(r, cfg)
		if err != nil || bytes > limit {
			return nil, bytes, err
		}
		return &Setting{Config: cfg, Text: c.text, Bytes: bytes}, 0, nil
	}
	valid := func(n int) bool {
		_, err := r.config(ks.base, c, n)
		return err == nil
	}
	most := c.tunable.max(ks.request)
	least := 1 + sort.Search(most, func(i int) bool { return valid(i + 1) })
	if least > most {
		return nil, 0, nil
	}
	var failed error
	at := func(n int) (ref.Config, float64) {
		cfg, err := r.config(ks.base, c, n)
		if err != nil {
			failed = err
			return cfg, 0
		}
		bytes, err := ks.bytes(r, cfg)
		if err != nil {
			failed = err
		}
		return cfg, bytes
	}
	// The number before the first beyond the limit is the largest within it.
	beyond := least + sort.Search(most+1-least, func(i int) bool { _, bytes := at(least + i); return bytes > limit })
	if failed != nil {
		return nil, 0, failed
	}
	if beyond == least {
		_, bytes := at(least)
		return nil, bytes, failed
	}
	cfg, bytes := at(beyond - 1)
	text := c.tunable.text(beyond - 1)
	if c.text != "" {
		text = c.text + ", " + text
	}
	s := &Setting{Config: cfg, Text: text, Bytes: bytes, Streamed: r.streamed}
	if r.Method == infLLM {
		s.decoder = &lookup{cfg}
	}
	return s, 0, failed
}

// shorten finds the largest number of whole blocks of the context with which a cache that keeps
// every KV stays within the budget.
func (ks *knobSearch) shorten(r *Row, budget Budget, full float64) (Setting, error) {
	cfg, err := r.config(ks.base, choice{}, 0)
	if err != nil {
		return Setting{}, err
	}
	bytes := func(kept int) float64 {
		c := ks.request
		c.prompt -= ks.context - kept
		return float64(cfg.BlockBytes()) * denseBlocks(cfg.Shape.Heads(), cfg.BlockSize, c)
	}
	size := cfg.BlockSize
	blocks := sort.Search(ks.context/size, func(i int) bool { return bytes((i+1)*size) > full*budget.Part() })
	if blocks == 0 {
		return Setting{}, &UnreachableError{Row: r.Name, Budget: budget, Needs: bytes(size) / full}
	}
	kept := blocks * size
	return Setting{Config: cfg, Text: fmt.Sprintf("%d tokens of the context", kept), Bytes: bytes(kept), Kept: kept, drop: r.drop}, nil
}

// bytes returns the mean bytes of the blocks held over the request's steps: counted by a
// ledger, or for a measured row by compressing the prompt.
func (ks *knobSearch) bytes(r *Row, cfg ref.Config) (float64, error) {
	if r.measured {
		lengths, err := ks.headLengths(cfg)
		if err != nil {
			return 0, err
		}
		sum := 0.0
		for _, n := range lengths {
			sum += denseBlocks(1, cfg.BlockSize, request{n, ks.request.fed, ks.request.recompute})
		}
		return float64(cfg.BlockBytes()) * sum, nil
	}
	return heldBytes(cfg, ks.request)
}

// heldBytes returns the mean bytes that a method holds over a request, of a configuration with the shape
// of its cache.
func heldBytes(cfg ref.Config, c request) (float64, error) {
	if cfg.Method == infLLM {
		return infLLMBytes(cfg, c)
	}
	blocks, err := countBlocks(cfg, c)
	return float64(cfg.BlockBytes()) * blocks, err
}

// countBlocks returns the mean number of blocks that a ledger holds over a request.
func countBlocks(cfg ref.Config, c request) (float64, error) {
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
	if c.recompute {
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
