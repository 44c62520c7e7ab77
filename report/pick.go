package report

import "slices"

// pick chooses at most n of the rows 0 to total−1 to show, ascending. The classes list rows of
// interest, the most important class first; each may fill half of the rows that are left. The
// remaining rows are evenly spaced.
func pick(total, n int, classes ...[]int) []int {
	if total <= n {
		all := make([]int, total)
		for i := range all {
			all[i] = i
		}
		return all
	}
	chosen := make(map[int]bool, n)
	take := func(rows []int, room int) {
		rows = slices.DeleteFunc(slices.Clone(rows), func(row int) bool { return chosen[row] })
		for _, row := range thin(rows, room) {
			chosen[row] = true
		}
	}
	take([]int{0, total - 1}, n)
	for _, class := range classes {
		take(class, (n-len(chosen)+1)/2)
	}
	// Each further row goes into the widest gap: even spacing over all rows would place some next
	// to chosen ones.
	rows := sorted(chosen)
	for n > 1 && len(rows) < n {
		widest := 0
		for i := range len(rows) - 1 {
			if rows[i+1]-rows[i] > rows[widest+1]-rows[widest] {
				widest = i
			}
		}
		rows = slices.Insert(rows, widest+1, (rows[widest]+rows[widest+1])/2)
	}
	return rows
}

// thin returns at most n of the rows, evenly spaced, with the first and the last.
func thin(rows []int, n int) []int {
	if len(rows) <= n {
		return rows
	}
	if n <= 1 {
		return rows[:max(n, 0)]
	}
	out := make([]int, n)
	for i := range out {
		out[i] = rows[i*(len(rows)-1)/(n-1)]
	}
	return out
}

func sorted(set map[int]bool) []int {
	rows := make([]int, 0, len(set))
	for row := range set {
		rows = append(rows, row)
	}
	slices.Sort(rows)
	return rows
}
