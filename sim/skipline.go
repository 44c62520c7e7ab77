package sim

// line is the order in which [policy.choose] visits the running sequences, maintained from one
// compression to the next: the sequence with the most rounds since its last compression first; of
// equal ones, the latest to arrive first. A round is a compression of running sequences.
//
// Sorted by the round of their last compression, sequences stay in order as rounds pass, except
// those never compressed: they count as compressed in the latest round. So there are two lists:
// old, by round and then by arrival, the latest first, and never, by arrival, the latest first. The
// order is all of old before the latest round, and then the rest of both lists merged by arrival.
// Sequences that can never be chosen again are in neither list.
type line struct {
	old, never lineList
	built      bool
	chosen     []*sequence // scratch, like merged
	merged     []*sequence
}

// lineList is a list of sequences linked by their line fields.
type lineList struct{ first, last *sequence }

// linePlace is a sequence's place in a list; list is nil for a sequence in no list.
type linePlace struct {
	list       *lineList
	prev, next *sequence
}

// insert inserts a sequence after another, or at the front if after is nil.
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

// leaveLine removes a sequence from its list, if it is in one.
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

// join inserts a running sequence into its list, in order.
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

// build inserts all running sequences into the lists.
func (l *line) build(running *runningList) {
	for q := running.head; q != nil; q = q.next {
		l.join(q)
	}
	l.built = true
}

// cursor is a position in a line.
type cursor struct {
	old, never *sequence
	round      int // the latest round
}

func (l *line) start(round int) cursor { return cursor{l.old.first, l.never.first, round} }

// next returns the next sequence; nil after the last.
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

// moveUp moves the sequences chosen in the given round to their new places.
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

// sortChosen sorts the chosen sequences by arrival, the latest first. They consist of a few
// sorted parts, one of each round, which are merged.
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
