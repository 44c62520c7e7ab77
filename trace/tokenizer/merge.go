package tokenizer

import "container/heap"

// mergePairs merges adjacent symbols until no pair can be merged: the pair with the
// lowest rank first, of equal ranks the leftmost. pair returns the symbol that two
// symbols merge into and its rank, which depend on these two symbols only.
//
// It is equivalent to this loop, but takes n·log n steps for n symbols, not n²:
//
//	for {
//		find the i with the lowest (rank of symbols[i], symbols[i+1]; i)
//		if there is none { return symbols }
//		replace symbols[i], symbols[i+1] by the merged symbol
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
		// Skip a pair if one of its symbols has been merged since it was queued.
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

// symbol is an element of a doubly linked list stored in a slice.
type symbol struct {
	id, prev, next int
}

// gone is the id of a symbol that was merged into the one on its left.
const gone = -1

// merge is a pair that can be merged: symbols a and b become id. a is element left of
// the list.
type merge struct {
	rank     float64
	left     int
	a, b, id int
}

// mergeQueue is a heap of merges; the next one to do is first.
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
