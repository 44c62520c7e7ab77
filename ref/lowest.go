package ref

import (
	"cmp"
	"slices"
)

// lowestSorted returns the indices of the n lowest keys, in no particular order; ties go to the lower index.
// It is the specification of lowest.
func lowestSorted(keys []uint32, n int) []int32 {
	order := make([]int32, len(keys))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int { return cmp.Or(cmp.Compare(keys[a], keys[b]), cmp.Compare(a, b)) })
	return order[:n]
}

// lowest returns what [lowestSorted] returns, without sorting. A radix select finds the n-th lowest key digit
// by digit, highest digit first: a histogram of the next digit, over the keys that share the digits found so
// far, gives the next one. A last pass takes the keys below it, and the first of the keys equal to it.
func lowest(keys []uint32, n int) []int32 {
	if n == 0 {
		return nil
	}
	var threshold uint32 // the digits of the n-th lowest key found so far
	equal := n           // how many of the keys that share those digits are among the n lowest
	for shift := 24; shift >= 0; shift -= 8 {
		var counts [256]int
		for _, k := range keys {
			if uint64(k)>>(shift+8) == uint64(threshold)>>(shift+8) {
				counts[k>>shift&255]++
			}
		}
		digit := 0
		for equal > counts[digit] {
			equal -= counts[digit]
			digit++
		}
		threshold |= uint32(digit) << shift
	}
	taken := make([]int32, 0, n)
	for i, k := range keys {
		if k == threshold && equal > 0 {
			equal--
			taken = append(taken, int32(i))
		} else if k < threshold {
			taken = append(taken, int32(i))
		}
	}
	return taken
}
