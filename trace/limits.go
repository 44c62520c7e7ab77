package trace

import (
	"errors"
	"fmt"

	"kvcompress/internal/ceil"
	"kvcompress/strictjson"
)

// Bounds of a trace, in addition to those of a [kv.Shape]. The readers, the writer and the checker all
// enforce them.
const (
	MaxTokens    = 1 << 24 // prompt and output of one request together
	MaxArrivalNS = 1 << 62 // 146 years: larger than nanoseconds since 1970
	MaxID        = 128     // bytes
	MaxSession   = 1024    // bytes

	MaxMetaBytes = 1 << 20 // trace.json
	MaxLineBytes = 4 << 20 // one line of requests.jsonl
)

// The kinds of Source.
const (
	Recorded  = "recorded"  // every request has tensors
	Synthetic = "synthetic" // none has stored tensors; they are computed from Meta.Synth
	Imported  = "imported"  // each request may have tensors or not
	Generated = "generated" // none has tensors: requests were drawn at random
)

// Check returns the first error of m: an unknown format version, a shape out of bounds, a dtype that tensors
// cannot have, no shape although there are tensors, a wrong or misplaced rotary embedding, an unknown kind of
// source, or a recipe that is missing, misplaced or wrong.
func (m Meta) Check() error {
	return first(m.problems())
}

func (m Meta) problems() []error {
	if m.FormatVersion != FormatVersion {
		return []error{fmt.Errorf("format_version is %d, and only %d is known", m.FormatVersion, FormatVersion)}
	}
	var errs []error
	if !m.RequestsOnly() || !mayLackTensors(m.Source.Kind) {
		errs = m.Shape.Problems()
		if err := checkStored(m.DType); err != nil {
			errs = append(errs, err)
		}
	}
	if m.Rope != nil {
		errs = append(errs, m.ropeProblems()...)
	}
	if m.PrefixBlockTokens < 0 || m.PrefixBlockTokens > MaxTokens {
		errs = append(errs, fmt.Errorf("prefix_block_tokens is %d, want 1 to %d", m.PrefixBlockTokens, MaxTokens))
	}
	switch m.Source.Kind {
	case Recorded, Imported, Generated:
		if m.Synth != nil {
			errs = append(errs, fmt.Errorf("synth: a recipe in a trace whose source.kind is %s", m.Source.Kind))
		}
	case Synthetic:
		if m.Synth == nil {
			errs = append(errs, errors.New("synth: a trace whose source.kind is synthetic needs a recipe"))
		}
	default:
		errs = append(errs, fmt.Errorf("source.kind is %q, want %s, %s, %s or %s", strictjson.Excerpt(m.Source.Kind), Recorded, Synthetic, Imported, Generated))
	}
	if m.Synth != nil {
		errs = append(errs, m.Synth.problems()...)
	}
	return errs
}

// ropeProblems returns what is wrong with the rotary embedding of the trace.
func (m Meta) ropeProblems() []error {
	switch {
	case m.RequestsOnly() && mayLackTensors(m.Source.Kind):
		return []error{errors.New("rope: a trace whose trace.json gives no shape has no keys")}
	case m.Source.Kind == Synthetic:
		return []error{errors.New("rope: synthetic keys have no rotary embedding")}
	}
	errs := m.Rope.problems()
	if len(errs) == 0 && m.Shape.Check() == nil && m.Rope.RotarySize > m.Shape.HeadSize {
		errs = append(errs, fmt.Errorf("rope: rotary_size is %d, want at most the head_size of %d", m.Rope.RotarySize, m.Shape.HeadSize))
	}
	return errs
}

// mayLackTensors reports whether a trace of this kind may have requests without tensors.
func mayLackTensors(kind string) bool { return kind == Imported || kind == Generated }

// storesNone reports whether a trace of this kind never has stored tensors.
func storesNone(kind string) bool { return kind == Synthetic || kind == Generated }

var errShapeless = errors.New("a trace whose trace.json gives no shape stores no tensors")

// Check returns the first error of r by itself: an id that is not a file name, a negative time, a number of
// tokens out of bounds, or wrong compression options.
func (r Request) Check() error {
	return first(r.problems())
}

func (r Request) problems() []error {
	var errs []error
	if err := checkID(r.ID); err != nil {
		errs = append(errs, err)
	}
	if r.ArrivalNS < 0 || r.ArrivalNS > MaxArrivalNS {
		errs = append(errs, fmt.Errorf("arrival_ns is %d, want 0 to 2^62", r.ArrivalNS))
	}
	tokens := func(name string, n int) bool {
		if n < 1 || n > MaxTokens {
			errs = append(errs, fmt.Errorf("%s is %d, want 1 to %d", name, n, MaxTokens))
			return false
		}
		return true
	}
	prompt, output := tokens("prompt_tokens", r.PromptTokens), tokens("output_tokens", r.OutputTokens)
	if prompt && output && r.PromptTokens+r.OutputTokens > MaxTokens {
		errs = append(errs, fmt.Errorf("prompt_tokens + output_tokens is %d, want at most %d",
			r.PromptTokens+r.OutputTokens, MaxTokens))
	}
	if len(r.Session) > MaxSession {
		errs = append(errs, fmt.Errorf("session has %d bytes, want at most %d", len(r.Session), MaxSession))
	}
	if r.Compression != nil {
		for _, err := range r.Compression.problems() {
			errs = append(errs, fmt.Errorf("compression: %w", err))
		}
	}
	return errs
}

// checkPrefix returns an error if r has more prefix hashes than its prompt has blocks. block is a block's
// length in tokens.
func (r Request) checkPrefix(block int) error {
	if block <= 0 {
		return nil
	}
	if most := ceil.Div(r.PromptTokens, block); len(r.PrefixHashes) > most {
		return fmt.Errorf("there are %d prefix_hashes, want at most %d for %d prompt_tokens in blocks of %d",
			len(r.PrefixHashes), most, r.PromptTokens, block)
	}
	return nil
}

// checkID accepts ids that are file names on every system.
func checkID(id string) error {
	if id == "" {
		return errors.New("id is empty")
	}
	if len(id) > MaxID {
		return fmt.Errorf("id has %d bytes, want at most %d", len(id), MaxID)
	}
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-':
		case c == '.' && i > 0:
		default:
			return fmt.Errorf("id %q: want letters, digits, '.', '_' and '-', and no '.' at the beginning", id)
		}
	}
	return nil
}

func first(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	return errs[0]
}
