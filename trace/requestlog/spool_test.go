package requestlog

import (
	"cmp"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"kvcompress/internal/extsort"
)

// TestByArrival compares rows sorted in memory and on disk with a sort in memory by arrival and then by the order in which they were added.
func TestByArrival(t *testing.T) {
	for _, n := range []int{0, 1, 1000, sortedRows, sortedRows + 1, 3*sortedRows + 17} {
		random := rand.New(rand.NewPCG(1, uint64(n)))
		want := make([]spooled, n)
		s := extsort.New(byArrival, sortedRows)
		for i := range want {
			want[i] = spooled{random.Int64N(1 << 16), int32(i), random.Int32(), i%3 == 0} // prompt is the order in which rows are added
			if err := s.Add(want[i]); err != nil {
				t.Fatal(err)
			}
		}
		slices.SortFunc(want, func(a, b spooled) int {
			return cmp.Or(cmp.Compare(a.arrival, b.arrival), cmp.Compare(a.prompt, b.prompt))
		})
		sorted, err := s.Sorted()
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range want {
			if got, err := sorted.Next(); err != nil || got != w {
				t.Fatalf("%d rows: row %d: %+v, %v, want %+v", n, i, got, err, w)
			}
		}
		if _, err := sorted.Next(); err != io.EOF {
			t.Errorf("%d rows: %v after the last", n, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestColumn(t *testing.T) {
	for _, width := range []int{1, 4, 8} {
		c := column{width: width}
		const n = columnBytes/4 + 1000
		at := func(i int) int64 { return int64(i*i) & (1<<(8*width-1) - 1) }
		for i := range n {
			if err := c.append(at(i)); err != nil {
				t.Fatal(err)
			}
		}
		r := c.reader()
		for i := range n {
			if v, err := r.next(); err != nil || v != at(i) {
				t.Fatalf("width %d: number %d is %d, %v, want %d", width, i, v, err, at(i))
			}
		}
		if _, err := r.next(); err == nil {
			t.Error("there is a number behind the last")
		}
		if err := c.close(); err != nil {
			t.Error(err)
		}
	}
}
