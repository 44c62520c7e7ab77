package sim

import (
	"cmp"
	"math"
	"slices"

	"kvcompress/kv"
	"kvcompress/ref"
)

// compressWithin compresses a sequence if it holds at most most blocks. held is the number of
// blocks before the compression, or 0 if the method asks the sequence for nothing. done is the
// result of Compress, nil if the sequence was not compressed; it is valid until the next call.
func (l *Ledger) compressWithin(id kv.SeqID, a *account, most int) (held int, done *ref.Compressed, err error) {
	if a.settled.level > 0 {
		done = &l.scratch.done
		held, asked, known := l.compressSettled(a, most, done)
		switch {
		case !known:
		case asked == 0:
			return 0, nil, nil
		case held > most:
			return held, nil, nil
		default:
			return held, done, nil
		}
	}
	var t *outcome
	if a.stage != nil {
		t = a.stage.outcome(a.tokens + l.steps - a.stage.tokens)
	}
	if t == nil {
		t = l.predict(id, a)
	}
	if t == nil || t.count == 0 {
		return 0, nil, nil
	}
	if held = t.held; held > most {
		return held, nil, nil
	}
	t, err = l.apply(id, a, t)
	return held, &t.done, err
}

// compressesQuickly reports whether the server compresses by level or with cached outcomes.
func (s *Server) compressesQuickly() bool {
	return s.Skip && s.ledger != nil && (s.ledger.courses != nil || s.ledger.levels != nil)
}

// compressQuickly is policy.run by level or with cached outcomes. It chooses and compresses sequences in
// one pass, because the demand on a sequence does not depend on what other sequences lose. Without
// a limit, the order does not matter; with one, it is the order of the line. As policy.run, it adds
// to the step's work and, with Batch, appends each compression in the order of admission.
func (s *Server) compressQuickly(step *Step) (err error) {
	p := &s.policy
	p.prefilled, p.decodes, p.newTokens = false, 0, 0
	if p.MaxKVPerCompression == 0 {
		for q := s.running.head; q != nil && err == nil; q = q.next {
			if !q.once || !q.attempted {
				_, err = s.compressOne(step, q, math.MaxInt)
			}
		}
	} else {
		err = s.compressLine(step)
	}
	return err
}

// compressOne compresses a sequence unless it holds more slots than limit. It returns the number
// of slots before the compression, or 0 if the method asks the sequence for nothing.
func (s *Server) compressOne(step *Step, q *sequence, limit int) (slots int, err error) {
	if q.compressedAt == s.steps {
		return 0, nil
	}
	q.attempted = true
	if q.account == nil {
		q.account = s.ledger.seqs.of(q.id)
	}
	most := limit / s.policy.blockSize
	held, done, err := s.ledger.compressWithin(q.id, q.account, most)
	slots = held * s.policy.blockSize
	if done == nil || err != nil {
		return slots, err
	}
	q.compressedAt = s.steps
	s.policy.work(&step.Work, slots, done)
	if s.Batch {
		step.Compression = append(step.Compression, s.policy.entry(q.id, done))
	}
	return slots, nil
}

// compressLine compresses sequences in the order of the line, up to the limit of slots.
func (s *Server) compressLine(step *Step) error {
	p := &s.policy
	l := &p.line
	if !l.built {
		l.build(&s.running)
	}
	l.chosen = l.chosen[:0]
	first := len(step.Compression)
	at := l.start(p.rounds)
	for q, left := at.next(), p.MaxKVPerCompression; q != nil; q = at.next() {
		limit := left
		if len(l.chosen) == 0 && !p.Strict {
			limit = math.MaxInt
		}
		slots, err := s.compressOne(step, q, limit)
		if err != nil {
			return err
		}
		if q.once && q.attempted {
			q.leaveLine()
		}
		if slots == 0 {
			continue
		}
		if slots > limit {
			break
		}
		left -= slots
		l.chosen = append(l.chosen, q)
	}
	if s.Batch {
		admitted := make(map[kv.SeqID]int, len(l.chosen))
		for _, q := range l.chosen {
			admitted[q.id] = q.order
		}
		slices.SortFunc(step.Compression[first:], func(a, b Compression) int {
			return cmp.Compare(admitted[a.Seq], admitted[b.Seq])
		})
	}
	if len(l.chosen) > 0 {
		p.rounds++
		l.moveUp(p.rounds)
	}
	return nil
}
