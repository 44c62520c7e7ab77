package journal_test

import (
	"fmt"
	"os"

	"kvcompress/journal"
)

type square struct{ N, Square int }

func (s square) Place() int { return s.N }

// A job of four items in two shards.
func Example() {
	dir, err := os.MkdirTemp("", "journal")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	kind := journal.Kind{Name: "squares", Item: "number", Command: "the example", Version: 1, Most: 100, MaxLine: 1 << 10}
	var files []*journal.File[square]
	for i := range 2 {
		shard := journal.Shard{I: i, N: 2}
		j, err := journal.Open[square](dir, shard, &kind, journal.Header{Digest: "abc", Items: 4})
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, n := range shard.Indices(4) {
			if j.Done(n) == nil {
				if err := j.Add(&square{n, n * n}); err != nil {
					fmt.Println(err)
					return
				}
			}
		}
		path, err := j.Finish()
		if err != nil {
			fmt.Println(err)
			return
		}
		f, err := journal.ReadFile[square](path, &kind)
		if err != nil {
			fmt.Println(err)
			return
		}
		files = append(files, f)
	}
	all, err := journal.Merge(&kind, files)
	fmt.Println(all.Items, err)
	_, err = journal.Merge(&kind, files[:1])
	fmt.Println(err)
	// Output:
	// [{0 0} {1 1} {2 4} {3 9}] <nil>
	// squares: 2 numbers are missing, the first is 1; no file, or an unfinished one, of shards [1/2]
}
