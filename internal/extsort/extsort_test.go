package extsort

import (
	"cmp"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
)

type row struct {
	key   int32
	added uint32
}

var rows = Format[row]{
	Sort: func(run []row) {
		slices.SortStableFunc(run, func(a, b row) int { return cmp.Compare(a.key, b.key) })
	},
	Less: func(a, b row) bool { return a.key < b.key },
	Size: 8,
	Put: func(raw []byte, r row) {
		binary.LittleEndian.PutUint32(raw, uint32(r.key))
		binary.LittleEndian.PutUint32(raw[4:], r.added)
	},
	Get: func(raw []byte) row {
		return row{int32(binary.LittleEndian.Uint32(raw)), binary.LittleEndian.Uint32(raw[4:])}
	},
}

func sorterOf(t *testing.T, maxRows int, all []row) *Sorter[row] {
	t.Helper()
	s := New(rows, maxRows)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, r := range all {
		if err := s.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// TestSorted compares with a stable sort in memory, for every number of rows around the lengths
// of runs, and reads the rows twice.
func TestSorted(t *testing.T) {
	for n := range 70 {
		random := rand.New(rand.NewPCG(1, uint64(n)))
		all := make([]row, n)
		for i := range all {
			all[i] = row{int32(random.IntN(12) - 6), uint32(i)}
		}
		s := sorterOf(t, 8, all)
		want := slices.Clone(all)
		rows.Sort(want)
		for range 2 {
			r, err := s.Sorted()
			if err != nil {
				t.Fatal(err)
			}
			var got []row
			for {
				next, err := r.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, next)
			}
			if !slices.Equal(got, want) || s.Len() != n {
				t.Fatalf("%v of %d rows, want %v", got, s.Len(), want)
			}
			if _, err := r.Next(); err != io.EOF {
				t.Errorf("%v after the last row, want io.EOF", err)
			}
		}
	}
}

func TestErrors(t *testing.T) {
	s := sorterOf(t, 8, make([]row, 20))
	for _, size := range []int64{100, 60} { // in the second run, in the first
		if err := s.file.Truncate(size); err != nil {
			t.Fatal(err)
		}
		r, err := s.Sorted()
		for err == nil {
			_, err = r.Next()
		}
		if err == io.EOF {
			t.Errorf("no error for a file cut off at byte %d", size)
		}
	}
	t.Setenv("TMPDIR", os.DevNull)
	full := New(rows, 1)
	if err := full.Add(row{}); err != nil {
		t.Fatal(err)
	}
	if err := full.Add(row{}); err == nil {
		t.Error("no error without a folder for temporary files")
	}
}
