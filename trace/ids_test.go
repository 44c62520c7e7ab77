package trace

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// TestIDSet holds sets against a map: with no bound, and with few ids in memory, where those that
// occur again are found at the end, each on its line.
func TestIDSet(t *testing.T) {
	for _, most := range []int{0, 1, 100, 100_000} {
		set := idSet{most: most}
		defer set.close()
		want := make(map[string]int)
		again := make(map[repeatedID]bool)
		var file strings.Builder
		for i := range 20_000 {
			key := derive(5, uint64(i))
			var id string
			switch key % 4 {
			case 0:
				id = fmt.Sprint(below(derive(key, 0), 30_000))
			case 1:
				id = fmt.Sprint(below(derive(key, 0), 2_000_000_000))
			case 2:
				id = fmt.Sprintf("%05d", below(derive(key, 0), 3_000))
			case 3:
				id = fmt.Sprintf("r%d", below(derive(key, 0), 3_000))
			}
			fmt.Fprintf(&file, `{"id":%q,"arrival_ns":0,"prompt_tokens":1,"output_tokens":1}`+"\n", id)
			before, there := want[id]
			if got := set.has(id); got && !there || !got && there && most == 0 {
				t.Fatalf("most %d: %q: the set has it: %t", most, id, got)
			} else if !got {
				if there {
					again[repeatedID{id, i + 1, before}] = true
				}
				if err := set.add(id); err != nil {
					t.Fatal(err)
				}
			}
			if !there {
				want[id] = i + 1
			}
		}
		if n := len(set.named); most > 0 && n > most {
			t.Errorf("most %d: %d in memory", most, n)
		}
		if found := len(again) > 0; found != (most > 0 && most < 100_000) {
			t.Errorf("most %d: %d ids are repeated on disk", most, len(again))
		}
		last := 0
		for r, err := range set.repeated(context.Background(), fstest.MapFS{requestsFile: {Data: []byte(file.String())}}) {
			if err != nil || !again[r] || r.line <= last {
				t.Fatalf("most %d: %+v after line %d, %v", most, r, last, err)
			}
			last = r.line
			delete(again, r)
		}
		if len(again) > 0 {
			t.Errorf("most %d: %d ids are not found again", most, len(again))
		}
	}
}

// TestIDSetOfRows: the ids of a log's rows take little memory, although the rows are reordered.
func TestIDSetOfRows(t *testing.T) {
	var ids idSet
	const rows, near = 1 << 20, 1 << 10
	for i := range rows {
		row := i/near*near + (i*7)%near // of each near rows, all once
		if id := strconv.Itoa(row); ids.has(id) {
			t.Fatalf("row %d occurs twice", row)
		} else if err := ids.add(id); err != nil {
			t.Fatal(err)
		}
	}
	bits := 0
	for _, b := range ids.blocks {
		bits += len(b.bits)
	}
	if bits != 0 || len(ids.named) != 0 || len(ids.blocks) != rows/idBlockSize || !ids.has("77777") || ids.has(strconv.Itoa(rows)) {
		t.Errorf("%d blocks of %d words, %d named", len(ids.blocks), bits, len(ids.named))
	}
}
