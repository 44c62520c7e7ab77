package sim

// line is the order in which [policy.choose] looks at the running sequences, kept from one
// compression to the next: those left out of most compressions since their last come first, and
// of equal ones the latest to arrive.
//
// A sequence that was compressed in round r waits since then, so an order by round, the
// earliest first, stays right while rounds pass. Only who was never compressed does not fit
// in: it counts as if it were compressed in the last round. So there are two lists: old, by
// round and then by arrival, the latest first, and never, by arrival, the latest first. choose
// looks at old as far as its rounds are before the last, and from there on at both by arrival.
// Sequences that can never be chosen again are in neither.
type line struct {
	old, never lineList
	built      bool
	chosen     []*sequence // scratch, as are
	merged     []*sequence
}

// lineList is a list of sequences that are linked by their line fields.
type lineList struct{ first, last *sequence }

// linePlace is a sequence's place in a list; no list for one that is in none.
type linePlace struct {
	list       *lineList
	prev, next *sequence
}

// insert puts a sequence behind another; behind none at the front.
func (l *lineList) insert(q, after *sequence) {
	next := l.first
	if after != nil {
		next = after.line.next
		after.line.next = q
	} else {
		l.first = q
	}
	if next != nil {
		next.line.prev = q
	} else {
		l.last = q
	}
	q.line = linePlace{l, after, next}
}

// leaveLine takes a sequence out of the list that it is in, if any.
func (q *sequence) leaveLine() {
	at := q.line
	if at.list == nil {
		return
	}
	if at.prev != nil {
		at.prev.line.next = at.next
	} else {
		at.list.first = at.next
	}
	if at.next != nil {
		at.next.line.prev = at.prev
	} else {
		at.list.last = at.prev
	}
	q.line = linePlace{}
}

// join has a sequence that runs, or that was compressed, take its place.
func (l *line) join(q *sequence) {
	switch {
	case q.once && q.attempted:
	case q.round == 0:
		var before *sequence
		for at := l.never.first; at != nil && at.id > q.id; at = at.line.next {
			before = at
		}
		l.never.insert(q, before)
	default:
		before := l.old.last
		for before != nil && (before.round > q.round || before.round == q.round && before.id < q.id) {
			before = before.line.prev
		}
		l.old.insert(q, before)
	}
}

// build takes in the running sequences.
func (l *line) build(running *runningList) {
	for q := running.head; q != nil; q = q.next {
		l.join(q)
	}
	l.built = true
}

// cursor goes along a line.
type cursor struct {
	old, never *sequence
	round      int // the last
}

func (l *line) start(round int) cursor { return cursor{l.old.first, l.never.first, round} }

// next returns the sequence that is looked at next; nil after the last.
func (c *cursor) next() *sequence {
	q := c.old
	if q == nil || c.never != nil && q.round == c.round && q.id < c.never.id {
		if q = c.never; q != nil {
			c.never = q.line.next
		}
		return q
	}
	c.old = q.line.next
	return q
}

// moveUp has the chosen ones take their places after a round, the latest.
func (l *line) moveUp(round int) {
	l.sortChosen()
	for _, q := range l.chosen {
		q.round = round
		if !q.once {
			q.leaveLine()
			l.old.insert(q, l.old.last)
		}
	}
}

// sortChosen puts the chosen ones in order of arrival, the latest first. They come in a few
// parts that are in order, one of each round, which are merged.
func (l *line) sortChosen() {
	for sorted := 0; sorted < len(l.chosen); {
		from := sorted
		for sorted++; sorted < len(l.chosen) && l.chosen[sorted-1].id > l.chosen[sorted].id; sorted++ {
		}
		if from == 0 {
			continue
		}
		first, second := l.chosen[:from], l.chosen[from:sorted]
		merged := l.merged[:0]
		for len(first) > 0 && len(second) > 0 {
			if first[0].id > second[0].id {
				merged, first = append(merged, first[0]), first[1:]
			} else {
				merged, second = append(merged, second[0]), second[1:]
			}
		}
		merged = append(append(merged, first...), second...)
		copy(l.chosen, merged)
		l.merged = merged
	}
}
