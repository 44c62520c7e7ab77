package longbench

// Ratio returns the similarity of Ratcliff and Obershelp, 2·M/T, as Python's
// difflib.SequenceMatcher(None, a, b).ratio() computes it. T is len(a) + len(b) in
// characters. M is the total length of the matching blocks: the longest common substring,
// and recursively those of the texts left of it and right of it. It is not symmetric. If b
// has 200 characters or more, a block does not begin with a character that makes up more
// than 1 % of b (difflib's autojunk). Two empty texts have ratio 1.
//
// The time is up to len(a)·len(b) for each run.
func Ratio(a, b string) float64 {
	m := newMatcher([]rune(a), []rune(b))
	if len(m.a)+len(m.b) == 0 {
		return 1
	}
	return 2 * float64(m.matches()) / float64(len(m.a)+len(m.b))
}

// matcher finds the matching blocks (runs of equal characters) of two texts.
type matcher struct {
	a, b []rune
	at   map[rune][]int // indices in b of each character that a run may begin with, ascending
	runs []int          // for each j, the length of the run that ends at b[j]
	next []int
}

func newMatcher(a, b []rune) *matcher {
	m := &matcher{a: a, b: b, at: map[rune][]int{}, runs: make([]int, len(b)+1), next: make([]int, len(b)+1)}
	for j, c := range b {
		m.at[c] = append(m.at[c], j)
	}
	if len(b) >= 200 {
		for c, places := range m.at {
			if len(places) > len(b)/100+1 {
				delete(m.at, c)
			}
		}
	}
	return m
}

// matches returns the total length of all matching blocks.
func (m *matcher) matches() int {
	type pair struct{ a0, a1, b0, b1 int }
	sum, todo := 0, []pair{{0, len(m.a), 0, len(m.b)}}
	for len(todo) > 0 {
		p := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		i, j, n := m.longest(p.a0, p.a1, p.b0, p.b1)
		if n == 0 {
			continue
		}
		sum += n
		if p.a0 < i && p.b0 < j {
			todo = append(todo, pair{p.a0, i, p.b0, j})
		}
		if i+n < p.a1 && j+n < p.b1 {
			todo = append(todo, pair{i + n, p.a1, j + n, p.b1})
		}
	}
	return sum
}

// longest returns the longest run of equal characters in a[a0:a1] and b[b0:b1] that are all in
// at; of equally long ones the first in a, then the first in b. The run is then extended in both
// directions by equal characters that are not in at.
func (m *matcher) longest(a0, a1, b0, b1 int) (i, j, n int) {
	i, j = a0, b0
	for x := a0; x < a1; x++ {
		for _, y := range m.at[m.a[x]] {
			if y < b0 {
				continue
			}
			if y >= b1 {
				break
			}
			length := 1
			if y > b0 {
				length += m.runs[y-1]
			}
			m.next[y] = length
			if length > n {
				i, j, n = x-length+1, y-length+1, length
			}
		}
		if x > a0 { // forget the runs that ended at a[x-1]
			for _, y := range m.at[m.a[x-1]] {
				m.runs[y] = 0
			}
		}
		for _, y := range m.at[m.a[x]] {
			m.runs[y] = m.next[y]
			m.next[y] = 0
		}
	}
	if a1 > a0 {
		for _, y := range m.at[m.a[a1-1]] {
			m.runs[y] = 0
		}
	}
	for i > a0 && j > b0 && m.a[i-1] == m.b[j-1] {
		i, j, n = i-1, j-1, n+1
	}
	for i+n < a1 && j+n < b1 && m.a[i+n] == m.b[j+n] {
		n++
	}
	return i, j, n
}
