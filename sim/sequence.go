package sim

import (
	"slices"

	"kvcompress/kv"
	"kvcompress/trace"
)

// sequence is a request between its arrival and its end.
type sequence struct {
	id             kv.SeqID
	prompt, output int // tokens
	generated      int // output tokens, while it waits: see Server.generated
	hashes         []uint64
	table          blockTable         // for vLLM V1's prefix caching
	priority       int                // smaller is served first, if the scheduler has priorities
	own            *trace.Compression // its own compression options; nil for the run's
	once           bool               // compress it only once
	session        string             // whose turn it is, if any
	attempted      bool               // a compression has considered it
	round          int                // policy.rounds at its last compression; 0 for never
	result         Result

	// While its prompt is computed.
	toFill int // tokens of the prompt
	filled int // those that were computed or cached
	cached int // those that were cached

	// While it runs.
	order        int  // of admission
	finishAt     int  // value of Server.decodes at which it has all its output
	startedAt    int  // step in which its prompt was completed
	compressedAt int  // step of its last compression since its admission; or never
	chosen       bool // for the compression that is about to run
	heapIndex    int
	account      *account // in a ledger, once a compression has looked it up
	line         linePlace
	prev, next   *sequence // in the order of admission
}

// queue is a double-ended queue.
type queue[T any] struct {
	ring  []T // its length is a power of two
	first int
	n     int
}

func (q *queue[T]) at(i int) *T { return &q.ring[(q.first+i)&(len(q.ring)-1)] }

func (q *queue[T]) front() T { return *q.at(0) }

func (q *queue[T]) pop() T {
	var none T
	s := *q.at(0)
	*q.at(0) = none
	q.first++
	q.n--
	return s
}

func (q *queue[T]) pushBack(s T) {
	q.grow()
	*q.at(q.n) = s
	q.n++
}

func (q *queue[T]) pushFront(s T) {
	q.grow()
	q.first--
	q.n++
	*q.at(0) = s
}

func (q *queue[T]) grow() {
	if q.n < len(q.ring) {
		return
	}
	ring := make([]T, max(16, 2*q.n))
	for i := range q.n {
		ring[i] = *q.at(i)
	}
	q.ring, q.first = ring, 0
}

// sort sorts the queue stably.
func (q *queue[T]) sort(compare func(a, b T) int) {
	sorted := true
	for i := 1; i < q.n && sorted; i++ {
		sorted = compare(*q.at(i - 1), *q.at(i)) <= 0
	}
	if sorted {
		return
	}
	line := make([]T, len(q.ring))
	for i := range q.n {
		line[i] = *q.at(i)
	}
	slices.SortStableFunc(line[:q.n], compare)
	q.ring, q.first = line, 0
}

// runningList has the running sequences, as a linked list in the order of admission and as a heap by the
// step in which they finish. So adding and removing a sequence are fast with any number of sequences.
type runningList struct {
	head, tail *sequence
	heap       []finish // the first to finish comes first; of equal ones the first admitted
}

// finish is an entry of the heap: the step in which a sequence finishes, and its order of admission.
type finish struct {
	at, order int
	*sequence
}

// before reports whether f comes before o.
func (f *finish) before(o *finish) bool { return f.at < o.at || f.at == o.at && f.order < o.order }

// first returns the sequence that finishes first. The list must not be empty.
func (l *runningList) first() *sequence { return l.heap[0].sequence }

// nextFinish returns the decode step in which the first sequence finishes.
func (l *runningList) nextFinish() int { return l.heap[0].at }

func (l *runningList) len() int { return len(l.heap) }

func (l *runningList) push(s *sequence) {
	s.prev, s.next = l.tail, nil
	if l.tail == nil {
		l.head = s
	} else {
		l.tail.next = s
	}
	l.tail = s
	l.heap = append(l.heap, finish{})
	l.up(len(l.heap)-1, finish{s.finishAt, s.order, s})
}

// insert is push for a sequence that may have been admitted before others in the list.
func (l *runningList) insert(s *sequence) {
	l.push(s)
	for s.prev != nil && s.prev.order > s.order {
		// … before, other, s, after … becomes … before, s, other, after …
		other, after := s.prev, s.next
		before := other.prev
		s.prev, s.next, other.prev, other.next = before, other, s, after
		if before == nil {
			l.head = s
		} else {
			before.next = s
		}
		if after == nil {
			l.tail = other
		} else {
			after.prev = other
		}
	}
}

// sooner makes a sequence finish one decode step earlier.
func (l *runningList) sooner(s *sequence) {
	s.finishAt--
	l.up(s.heapIndex, finish{s.finishAt, s.order, s})
}

func (l *runningList) remove(s *sequence) {
	if s.prev == nil {
		l.head = s.next
	} else {
		s.prev.next = s.next
	}
	if s.next == nil {
		l.tail = s.prev
	} else {
		s.next.prev = s.prev
	}
	s.prev, s.next = nil, nil
	if s.line.list != nil {
		s.leaveLine()
	}

	i, last := s.heapIndex, len(l.heap)-1
	moved := l.heap[last]
	l.heap[last] = finish{}
	l.heap = l.heap[:last]
	switch {
	case i == last:
	case i > 0 && moved.before(&l.heap[(i-1)/2]):
		l.up(i, moved)
	default:
		l.down(i, moved)
	}
}

// set sets an entry of the heap.
func (l *runningList) set(i int, f finish) {
	l.heap[i] = f
	f.heapIndex = i
}

// up puts an entry at a free place of the heap or above it.
func (l *runningList) up(i int, f finish) {
	for i > 0 && f.before(&l.heap[(i-1)/2]) {
		l.set(i, l.heap[(i-1)/2])
		i = (i - 1) / 2
	}
	l.set(i, f)
}

// down puts an entry at a free place of the heap or below it.
func (l *runningList) down(i int, f finish) {
	for {
		child := 2*i + 1
		if child+1 < len(l.heap) && l.heap[child+1].before(&l.heap[child]) {
			child++
		}
		if child >= len(l.heap) || !l.heap[child].before(&f) {
			l.set(i, f)
			return
		}
		l.set(i, l.heap[child])
		i = child
	}
}
