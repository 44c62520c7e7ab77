package ptx

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"kvcompress/internal/words"
)

// A launch can continue after a report (Options.MaxFindings). Findings are counted by kind and place, and the
// launch's error at its end has all of them. Then an out-of-bounds access is skipped (a load leaves its
// register unchanged), an undefined value counts as defined, and a block that cannot continue ends;
// everything else happens as without the check. A trap ends its launch.

// Finding is a report, and how often a launch has found the same: a problem of one kind at one place, or
// between two places. A place is an opcode and a line of the source, or of the PTX if the source is unknown.
// The report is the first one.
type Finding struct {
	*Report
	Times int64
}

// Findings is the error of a launch that went on after a report ([Options].MaxFindings).
type Findings struct {
	List []Finding // in order of first occurrence
	// Stopped reports whether the launch ended because it reached MaxFindings.
	Stopped bool
}

// Error returns the first report and the summary on one line.
func (f *Findings) Error() string {
	if len(f.List) == 1 && f.List[0].Times == 1 {
		return f.List[0].Error()
	}
	return fmt.Sprintf("%s (%s)", f.List[0].Error(), f.Summary())
}

// Unwrap returns the reports.
func (f *Findings) Unwrap() []error {
	var errs []error
	for _, one := range f.List {
		errs = append(errs, one.Report)
	}
	return errs
}

// Summary counts the findings by kind: "3 findings: 2 race (64 times), 1 out of bounds
// (1 time)".
func (f *Findings) Summary() string {
	count, times := map[Kind]int{}, map[Kind]int64{}
	var kinds []Kind
	for _, one := range f.List {
		if count[one.Kind]++; count[one.Kind] == 1 {
			kinds = append(kinds, one.Kind)
		}
		times[one.Kind] += one.Times
	}
	var parts []string
	for _, k := range kinds {
		parts = append(parts, fmt.Sprintf("%d %s (%s)", count[k], k, words.Count(times[k], "time")))
	}
	text := fmt.Sprintf("%s: %s", words.Count(len(f.List), "finding"), strings.Join(parts, ", "))
	if f.Stopped {
		text += "; the launch ended at the last one"
	}
	return text
}

// findingKey identifies equal findings.
type findingKey struct {
	kind      Kind
	at, other findingPlace
}

// findingPlace is a line and an opcode.
type findingPlace struct {
	file, op string
	line     int
}

func placeOf(a *Access) findingPlace {
	if a.File == "" {
		return findingPlace{a.PTX, a.Op, a.PTXLine}
	}
	return findingPlace{a.File, a.Op, a.Line}
}

// findingLines identifies reports that a Suppression treats alike.
type findingLines struct {
	kind      Kind
	at, other int // lines of the PTX; 0 is none
}

// findings are those of a launch so far.
type findings struct {
	all   Findings
	known map[findingKey]int   // index in all
	lines map[findingLines]int // index in all; -1: suppressed
}

// errEndBlock ends a block after its finding is recorded.
var errEndBlock = errors.New("the block ends")

// again counts a finding that is already known, which avoids making a report.
func (l *launch) again(kind Kind, at, other *instr) bool {
	lines := findingLines{kind: kind, at: int(at.line)}
	if other != nil {
		lines.other = int(other.line)
	}
	n, ok := l.findings.lines[lines]
	if !ok {
		return false
	}
	l.count(n)
	return true
}

func (l *launch) count(n int) {
	if n >= 0 {
		l.findings.all.List[n].Times++
	} else {
		l.device.suppressed++
	}
}

// found records a report. It returns nil if the launch continues, else the launch's error. Other errors are
// returned unchanged.
func (l *launch) found(err error) error {
	r, ok := err.(*Report)
	if !ok {
		return err
	}
	key, lines := findingKey{kind: r.Kind, at: placeOf(&r.Access)}, findingLines{kind: r.Kind, at: r.PTXLine}
	if r.Other != nil {
		key.other, lines.other = placeOf(r.Other), r.Other.PTXLine
	}
	f := &l.findings
	if n, ok := f.lines[lines]; ok {
		l.count(n)
		return nil
	}
	if f.known == nil {
		f.known, f.lines = map[findingKey]int{}, map[findingLines]int{}
	}
	most := l.device.opt.MaxFindings
	switch {
	case l.device.suppresses(r):
		f.lines[lines] = -1
		l.device.suppressed++
		return nil
	case most <= 1:
		return r
	}
	if n, ok := f.known[key]; ok {
		f.lines[lines] = n
		l.count(n)
		return nil
	}
	f.known[key], f.lines[lines] = len(f.all.List), len(f.all.List)
	f.all.List = append(f.all.List, Finding{r, 1})
	if len(f.all.List) == most {
		f.all.Stopped = true
		return errEndLaunch
	}
	return nil
}

// errEndLaunch ends a launch after its findings are recorded.
var errEndLaunch = errors.New("the launch ends")

// foundFatal is found for a report after which the block cannot continue.
func (l *launch) foundFatal(r *Report) error {
	if err := l.found(r); err != nil {
		return err
	}
	return errEndBlock
}

// trapped ends the launch.
func (l *launch) trapped(r *Report) error {
	if err := l.found(r); err != nil {
		return err
	}
	return errEndLaunch
}

// outcome returns the launch's error, given the error that ended it.
func (l *launch) outcome(err error) error {
	if err == errEndLaunch {
		err = nil
	}
	if len(l.findings.all.List) == 0 {
		return err
	}
	if all := l.findings.all; err != nil {
		return errors.Join(&all, err)
	}
	return &l.findings.all
}

// Suppressed returns how many findings [Options].Suppress has suppressed.
func (d *Device) Suppressed() int64 { return d.suppressed }

func (d *Device) suppresses(r *Report) bool {
	return slices.ContainsFunc(d.opt.Suppress, func(s Suppression) bool { return s.covers(r) })
}

// suppressesKind reports whether a kind is suppressed everywhere.
func (d *Device) suppressesKind(k Kind) bool {
	return slices.ContainsFunc(d.opt.Suppress, func(s Suppression) bool { return s.File == "" && (s.Any || s.Kind == k) })
}

// Suppression says which findings are not reported.
type Suppression struct {
	Any  bool // all kinds
	Kind Kind
	File string // "" for all places; else the name of a source or PTX file, or the end of its path
	Line int    // 0 for all lines of the file
}

// ParseSuppression parses KIND, KIND@FILE or KIND@FILE:LINE. KIND is the kind of a report, with hyphens, or
// any; FILE is a source or PTX file: "race@scan.cu:88", "out-of-bounds@k.ptx:412", "any@vendor.cuh".
func ParseSuppression(text string) (Suppression, error) {
	kind, place, placed := strings.Cut(text, "@")
	s := Suppression{Any: kind == "any"}
	n := slices.IndexFunc(kindNames[:], func(name string) bool { return strings.ReplaceAll(name, " ", "-") == kind || name == kind })
	if n < 0 && !s.Any {
		var names []string
		for _, name := range kindNames {
			names = append(names, strings.ReplaceAll(name, " ", "-"))
		}
		return Suppression{}, fmt.Errorf("ptx: unknown kind of finding %q: want any, %s", kind, strings.Join(names, ", "))
	}
	if n >= 0 {
		s.Kind = Kind(n)
	}
	if !placed {
		return s, nil
	}
	s.File = place
	if i := strings.LastIndexByte(place, ':'); i >= 0 {
		line, err := strconv.Atoi(place[i+1:])
		if err != nil || line < 1 {
			return Suppression{}, fmt.Errorf("ptx: %q: the line after the colon is a number from 1 on", text)
		}
		s.File, s.Line = place[:i], line
	}
	if s.File == "" {
		return Suppression{}, fmt.Errorf("ptx: %q: want KIND, KIND@FILE or KIND@FILE:LINE", text)
	}
	return s, nil
}

// covers reports whether the suppression covers a report. Of two accesses either may match, because which
// comes second depends on the order of execution.
func (s *Suppression) covers(r *Report) bool {
	if !s.Any && s.Kind != r.Kind {
		return false
	}
	return s.File == "" || s.at(&r.Access) || r.Other != nil && s.at(r.Other)
}

func (s *Suppression) at(a *Access) bool {
	is := func(file string, line int) bool {
		named := file == s.File || strings.HasSuffix(file, "/"+s.File)
		return named && (s.Line == 0 || s.Line == line)
	}
	return is(a.File, a.Line) || is(a.PTX, a.PTXLine)
}

// sameStored reports whether memory already holds the value that a lane is about to store. The last write
// there was a store, so this is that store's value.
func (a *raceAccess) sameStored(lane int) bool {
	off := a.addr[lane] - a.base
	if off+uint64(a.size) > uint64(len(a.memory)) {
		return false
	}
	lo, hi := a.values.stored(lane)
	for i := range a.size {
		word := lo
		if i >= 8 {
			word = hi
		}
		if a.memory[off+uint64(i)] != byte(word>>(8*(i%8))) {
			return false
		}
	}
	return true
}

// raceAll checks an access like races.check, and after a race continues with the following lanes.
func (c *checks) raceAll(a *access, ra *raceAccess, s *raceShadow, al *allocation) error {
	for {
		lane, with := c.races.check(s, ra)
		if lane < 0 {
			return nil
		}
		l := a.w.block.launch
		kind, other := Race, (*instr)(nil)
		if e := l.entry; with.pc() != pcUnknown && with.pc() < len(e.code) {
			other = &e.code[with.pc()]
		}
		if a.in.nonCoherent() && with.writes() {
			kind = NonCoherent
		}
		if !l.again(kind, a.in, other) {
			block := ra.other
			if !ra.grid {
				block = c.races.blockOf(with)
			}
			if err := l.found(c.race(a, lane, al, with, block)); err != nil {
				return err
			}
		}
		c.races.settle(s, ra, lane)
		if ra.mask &= allLanes << lane << 1; ra.mask == 0 {
			return nil
		}
		ra.row, ra.same = false, false
	}
}

// settle records a lane's access that was a race.
func (r *races) settle(s *raceShadow, a *raceAccess, lane int) {
	if a.grid {
		histories := r.histories(s, a, lane)
		for i := range histories {
			r.remember(&histories[i], a.stamp|stamp(lane)<<stampLaneShift)
		}
		return
	}
	off, shift := a.addr[lane]-a.base, uint(bits.TrailingZeros32(a.size))
	page := r.pool.page(s, off>>racePageShift, shift)
	first := off & (racePageBytes - 1) >> page.shift
	st := a.stamp | stamp(lane)<<stampLaneShift
	granules := page.granules[first : first+1<<(shift-page.shift)]
	for i := range granules {
		switch g := &granules[i]; st.kind() {
		case accessStore:
			*g = granule{write: st}
		case accessAtomic:
			g.strong, g.since[0] = st, st
		default:
			g.since[0] = st
		}
	}
}
