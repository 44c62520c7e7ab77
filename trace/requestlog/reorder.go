package requestlog

import (
	"fmt"
	"time"
)

// Bounds of the window of reorderer.
const (
	windowRows   = 1 << 16
	windowHashes = 1 << 22
)

// reorderer sorts rows by arrival, stably, within a window. A row that is in order costs
// only a copy.
type reorderer struct {
	ring   []row // circular buffer of count rows in order of arrival; head is the first
	head   int
	count  int
	late   []row // a heap of the rows that were read after rows with a later arrival
	hashes int

	popped   int
	lastTime int64
	lastLine int
}

// push adds a row, and reports whether it was in order.
func (w *reorderer) push(r row) bool {
	w.hashes += len(r.PrefixHashes)
	if w.count > 0 && w.ring[(w.head+w.count-1)%len(w.ring)].ArrivalNS > r.ArrivalNS {
		w.late = append(w.late, r)
		for i := len(w.late) - 1; i > 0; {
			parent := (i - 1) / 2
			if !before(&w.late[i], &w.late[parent]) {
				break
			}
			w.late[i], w.late[parent] = w.late[parent], w.late[i]
			i = parent
		}
		return false
	}
	if w.count == len(w.ring) {
		grown := make([]row, max(64, 2*w.count))
		n := copy(grown, w.ring[w.head:])
		copy(grown[n:], w.ring[:w.head])
		w.ring, w.head = grown, 0
	}
	w.ring[(w.head+w.count)%len(w.ring)] = r
	w.count++
	return true
}

func (w *reorderer) len() int { return w.count + len(w.late) }

// full reports whether a row has to be popped before the next push.
func (w *reorderer) full() bool { return w.len() >= windowRows || w.hashes >= windowHashes }

// pop removes the first row. It returns an error if the row arrived before one that was
// popped already.
func (w *reorderer) pop() (row, error) {
	var r row
	if w.count > 0 && (len(w.late) == 0 || before(&w.ring[w.head], &w.late[0])) {
		r = w.ring[w.head]
		w.ring[w.head] = row{}
		w.head = (w.head + 1) % len(w.ring)
		w.count--
	} else {
		r = w.popLate()
	}
	w.hashes -= len(r.PrefixHashes)
	if w.popped > 0 && r.ArrivalNS < w.lastTime {
		return r, fmt.Errorf("it arrives %v before the request of line %d, more than %d rows above: sort the log by arrival first",
			time.Duration(w.lastTime-r.ArrivalNS), w.lastLine, w.len())
	}
	w.popped++
	w.lastTime, w.lastLine = r.ArrivalNS, r.line
	return r, nil
}

func (w *reorderer) popLate() row {
	r := w.late[0]
	last := len(w.late) - 1
	w.late[0] = w.late[last]
	w.late[last] = row{}
	w.late = w.late[:last]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if before(&w.late[child], &w.late[least]) {
				least = child
			}
		}
		if least == i {
			return r
		}
		w.late[i], w.late[least] = w.late[least], w.late[i]
		i = least
	}
}

func before(a, b *row) bool {
	if a.ArrivalNS != b.ArrivalNS {
		return a.ArrivalNS < b.ArrivalNS
	}
	return a.number < b.number
}
