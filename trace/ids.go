package trace

import "math"

// idLines knows on which line each id stands. Most traces number their requests;
// those ids take four bytes each, and only others a place in a map.
type idLines struct {
	numbered []uint32 // lines by number, 0 where there is none
	named    map[string]int
}

// line returns the line of an id, if it was added.
func (l *idLines) line(id string) (int, bool) {
	if n, ok := idNumber(id); ok && n < len(l.numbered) && l.numbered[n] > 0 {
		return int(l.numbered[n]), true
	}
	line, ok := l.named[id]
	return line, ok
}

// add notes an id that was not added before.
func (l *idLines) add(id string, line int) {
	// The slice grows only as far as the lines do, whatever the numbers are.
	if n, ok := idNumber(id); ok && n <= 4*line+1024 && line <= math.MaxUint32 {
		for n >= len(l.numbered) {
			l.numbered = append(l.numbered, 0)
		}
		l.numbered[n] = uint32(line)
		return
	}
	if l.named == nil {
		l.named = make(map[string]int)
	}
	l.named[id] = line
}

// idNumber returns the number that the id is the usual way to write, if it is one.
func idNumber(id string) (int, bool) {
	if id == "" || len(id) > 9 || id[0] == '0' && len(id) > 1 {
		return 0, false
	}
	n := 0
	for i := range len(id) {
		c := id[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, true
}
