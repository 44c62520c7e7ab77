package sim

import (
	"errors"
	"fmt"

	"kvcompress/ref"
	"kvcompress/trace"
)

// checkOwn returns an error, which names the request, if one has options of compression
// that a run of this configuration cannot give it.
func checkOwn(cfg *ref.Config, requests []trace.Request) error {
	for i := range requests {
		if _, err := cfg.With(requests[i].Compression); err != nil {
			return fmt.Errorf("sim: request %q: %w", requests[i].ID, err)
		}
	}
	return nil
}

// followOwn has a sequence that arrives follow its request's own options of compression,
// or the run's. From the first request on that is to be compressed, the server compresses.
func (s *Server) followOwn(q *sequence, own *trace.Compression) error {
	q.own, q.once = own, s.policy.Once
	if own == nil {
		return nil
	}
	_, whole := s.rules.(*vllm06Whole)
	_, chunked := s.rules.(*vllm06Chunks)
	switch {
	case chunked:
		return errors.New("options of compression and chunked prefill exclude each other")
	case s.ledger != nil && s.ledger.prefixes != nil, s.sharesBlocks():
		return errors.New("options of compression and cached prefixes exclude each other")
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

// enter prefills n tokens of a sequence, which then follows its own options if it has any.
func (s *Server) enter(q *sequence, n int) error {
	if q.own != nil {
		if err := s.cache.Configure(q.id, q.own); err != nil {
			return err
		}
	}
	return s.cache.Prefill(q.id, n)
}
