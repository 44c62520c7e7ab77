package sim

import (
	"errors"
	"fmt"

	"kvcompress/kv"
	"kvcompress/ref"
	"kvcompress/trace"
)

// compressor has the configuration and method by which a sequence is compressed.
type compressor struct {
	cfg    *ref.Config
	method ref.Method
}

// Configure sets the compression options of a single sequence, from before its prefill (or reservation)
// until its release.
func (l *Ledger) Configure(id kv.SeqID, own *trace.Compression) error {
	if own == nil {
		return errors.New("sim: configure: no options")
	}
	if l.seqs.of(id) != nil {
		return fmt.Errorf("sim: sequence %d is already in the ledger", id)
	}
	method, err := l.cfg.OwnMethod(own, l.method)
	if err != nil {
		return fmt.Errorf("sim: sequence %d: %w", id, err)
	}
	cfg, err := l.cfg.With(own)
	if err != nil {
		return fmt.Errorf("sim: sequence %d: %w", id, err)
	}
	l.own[id] = &compressor{&cfg, method}
	return nil
}

// hasOwn reports whether a sequence has options of its own.
func (l *Ledger) hasOwn(id kv.SeqID) bool { return len(l.own) > 0 && l.own[id] != nil }

// rulesFor returns the compressor of a sequence.
func (l *Ledger) rulesFor(id kv.SeqID) compressor {
	if r := l.own[id]; r != nil {
		return *r
	}
	return compressor{&l.cfg, l.method}
}

// byTokens reports whether every sequence has a budget of tokens, so that the KVs that it may keep do not
// depend on its number of tokens.
func (l *Ledger) byTokens() bool {
	for _, r := range l.own {
		if r.cfg.Compression.MaxCacheTokens == 0 {
			return false
		}
	}
	return l.cfg.Compression.MaxCacheTokens > 0 || len(l.own) == l.seqs.len()
}
