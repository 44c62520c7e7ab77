package sim

import (
	"errors"
	"fmt"

	"kvcompress/ref"
	"kvcompress/trace"
)

// checkOwn returns an error that names a request with compression options of its own that are invalid with
// this configuration.
func checkOwn(cfg *ref.Config, requests []trace.Request) error {
	for i := range requests {
		if _, err := cfg.With(requests[i].Compression); err != nil {
			return fmt.Errorf("sim: request %q: %w", requests[i].ID, err)
		}
	}
	return nil
}

// followOwn sets the compression options of an arriving sequence: those of its request, or the run's. The
// first request that is to be compressed turns compression on.
func (s *Server) followOwn(q *sequence, own *trace.Compression) error {
	q.own, q.once = own, s.policy.Once
	if own == nil {
		return nil
	}
	_, whole := s.rules.(*vllm06Whole)
	_, chunked := s.rules.(*vllm06Chunks)
	switch {
	case chunked:
		return errors.New("compression options of a request and chunked prefill exclude each other")
	case s.ledger != nil && s.ledger.prefixes != nil, s.sharesBlocks():
		return errors.New("compression options of a request and prefix caching exclude each other")
	case s.ledger != nil && !s.ledger.alike():
		return errors.New("compression options of a request are defined for models whose layers all hold every token")
	case whole:
		return errCompressed
	}
	with, err := s.cfg.With(own)
	if err != nil {
		return err
	}
	if own.CompressOnce != nil {
		q.once = *own.CompressOnce
		s.policy.ownOnce = s.policy.ownOnce || q.once != s.policy.Once
	}
	if !s.policy.enabled && with.Compresses() {
		s.policy.enable(&s.cfg)
	}
	return nil
}

// enter prefills n tokens of a sequence, with its own compression options if it has any.
func (s *Server) enter(q *sequence, n int) error {
	if q.own != nil {
		if err := s.cache.Configure(q.id, q.own); err != nil {
			return err
		}
	}
	return s.cache.Prefill(q.id, n)
}
