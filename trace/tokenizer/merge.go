package tokenizer

import "container/heap"

// mergePairs joins neighbouring symbols, the pair of the lowest rank first and
// the leftmost of those, until no pair can be joined. pair says what two symbols
// give, and at what rank; it must not depend on anything but them.
//
// It does what this loop does, but takes n·log n steps for n symbols, not n²:
//
//	for {
//		find the i with the lowest (rank of symbols[i], symbols[i+1]; i)
//		if there is none { return symbols }
//		replace symbols[i], symbols[i+1] by what they give
//	}
func mergePairs(symbols []int, pair func(a, b int) (id int, rank float64, ok bool)) []int {
	list := make([]symbol, len(symbols))
	for i, id := range symbols {
		list[i] = symbol{id: id, prev: i - 1, next: i + 1}
	}
	var queue mergeQueue
	consider := func(left int) {
		if left < 0 || list[left].next >= len(list) {
			return
		}
		a, b := list[left].id, list[list[left].next].id
		if id, rank, ok := pair(a, b); ok {
			heap.Push(&queue, merge{rank: rank, left: left, a: a, b: b, id: id})
		}
	}
	for i := range list {
		consider(i)
	}
	for len(queue) > 0 {
		m := heap.Pop(&queue).(merge)
		left := &list[m.left]
		// The queue still has pairs of which a merge has since taken a part.
		if left.id != m.a || left.next >= len(list) || list[left.next].id != m.b {
			continue
		}
		right := &list[left.next]
		right.id = gone
		left.id, left.next = m.id, right.next
		if left.next < len(list) {
			list[left.next].prev = m.left
		}
		consider(left.prev)
		consider(m.left)
	}
	merged := symbols[:0]
	for i := 0; i < len(list); i = list[i].next {
		merged = append(merged, list[i].id)
	}
	return merged
}

// symbol is an element of a doubly linked list that lies in a slice.
type symbol struct {
	id, prev, next int
}

// gone is the id of a symbol that was merged into the one on its left.
const gone = -1

// merge is a pair that can be joined: symbols a and b, of which a is the element
// left of the list, become id.
type merge struct {
	rank     float64
	left     int
	a, b, id int
}

// mergeQueue is a heap of merges, the next one first.
type mergeQueue []merge

func (q mergeQueue) Len() int { return len(q) }

func (q mergeQueue) Less(i, j int) bool {
	if q[i].rank != q[j].rank {
		return q[i].rank < q[j].rank
	}
	return q[i].left < q[j].left
}

func (q mergeQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *mergeQueue) Push(x any) { *q = append(*q, x.(merge)) }

// Pop implements heap.Interface.
func (q *mergeQueue) Pop() any {
	last := len(*q) - 1
	m := (*q)[last]
	*q = (*q)[:last]
	return m
}
