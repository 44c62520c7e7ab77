package trace

import (
	"fmt"
	"testing"
)

// TestIDLines holds idLines against a map.
func TestIDLines(t *testing.T) {
	var ids idLines
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
		if !ok {
			ids.add(id, i+1)
			want[id] = i + 1
		}
	}
	if len(ids.numbered) > 4*20_000+1025 || len(ids.named) == 0 {
		t.Errorf("%d numbered, %d named", len(ids.numbered), len(ids.named))
	}
}
