package trace

import (
	"fmt"
	"strconv"
	"testing"
)

// TestIDLines holds idLines against a map.
func TestIDLines(t *testing.T) {
	var ids idLines
	var set idSet
	want := make(map[string]int)
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
		line, ok := ids.line(id)
		if wantLine, wantOK := want[id]; line != wantLine || ok != wantOK {
			t.Fatalf("%q: line %d, %t; want %d, %t", id, line, ok, wantLine, wantOK)
		}
		if set.has(id) != ok {
			t.Fatalf("%q: the set has it: %t", id, !ok)
		}
		if !ok {
			set.add(id)
			ids.add(id, i+1)
			want[id] = i + 1
		}
	}
	if len(ids.numbered) > 4*20_000+1025 || len(ids.named) == 0 {
		t.Errorf("%d numbered, %d named", len(ids.numbered), len(ids.named))
	}
}

// TestIDSetOfRows sees that the rows of a log, though they change places, take next to no
// memory.
func TestIDSetOfRows(t *testing.T) {
	var ids idSet
	const rows, near = 1 << 20, 1 << 10
	for i := range rows {
		row := i/near*near + (i*7)%near // of each near rows, all once
		if id := strconv.Itoa(row); ids.has(id) {
			t.Fatalf("row %d occurs twice", row)
		} else {
			ids.add(id)
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
